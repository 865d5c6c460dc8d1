"""Ctrl-C in the middle of everything leaves nothing half-done."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.functional.deployment import Deployment

pytestmark = pytest.mark.timeout(600)


@pytest.mark.long
def test_an_interrupted_training_leaves_no_model(embedded: Deployment) -> None:
    training = embedded.start("train", "second", "--dataset", "digits", "--epochs", "100000")
    training.wait_for("training")
    assert training.end(signal.SIGINT) == 130
    assert training.text.splitlines()[-1] == "lethe: stopped"
    training = embedded.start("train", "second", "--dataset", "digits", "--epochs", "100000")
    training.wait_for("training")
    assert training.end(signal.SIGTERM) == 143
    assert "Traceback" not in training.text
    embedded.ok("train", "second", "--dataset", "digits", "--epochs", "1")


@pytest.mark.long
def test_an_interrupted_import_leaves_no_data_set(empty: Deployment) -> None:
    source = empty.folder / "source.fifo"
    os.mkfifo(source)  # the import waits, in its middle, for a map that does not come
    importing = empty.start(
        "dataset", "import", "digits", "--from", "digits", "--subjects", str(source)
    )
    time.sleep(2.0)
    assert importing.end(signal.SIGINT) == 130
    assert "Traceback" not in importing.text
    assert empty.json("dataset", "list") == []
    empty.ok("dataset", "import", "digits", "--from", "digits")


def test_ctrl_c_on_the_watcher_alone(embedded: Deployment) -> None:
    """`erase --wait` may be left: the request is kept, and a worker that comes later does it."""
    embedded.serve()
    watching = embedded.start("erase", "digits", "--subject", "subject-trigger", "--wait")
    watching.wait_for("queued")
    assert watching.end(signal.SIGINT) == 130
    assert watching.text.splitlines()[-1] == "lethe: stopped"
    embedded.start("worker")
    with embedded.client() as client:
        [request] = client.erasure_requests()
        assert client.wait(request, timeout=240).outcome == "erased"


def test_ctrl_c_on_a_worker_in_its_job(embedded: Deployment) -> None:
    """It finishes the job, or hands it back to the next worker: no attempt is lost."""
    service = embedded.serve()
    worker = embedded.start("worker")
    with embedded.client() as client:
        request = client.erase("digits", subject_id="subject-trigger", strategy="retrain")
        assert request.job_id is not None
        for job in client.follow(request.job_id, timeout=60):
            if job.status != "queued":
                break
        worker.end(signal.SIGINT)
        assert "Traceback" not in worker.text
        embedded.start("worker")
        assert client.wait(request, timeout=240).status == "completed"
        job = client.job(request.job_id)
        assert (job.status, job.attempts) == ("succeeded", 0)
    assert service.end(signal.SIGINT) == 0
    assert "The service has stopped" in service.text


@pytest.mark.long
def test_several_processes_answer_and_end_together(embedded: Deployment) -> None:
    service = embedded.serve("--workers", "2")
    with embedded.client() as client:
        for _ in range(20):
            assert client.predict("digits", [[[[0.0] * 8] * 8]]).version == 1
    assert service.end(signal.SIGTERM) == 0, service.text
    assert "Traceback" not in service.text
