"""Worker and service are stopped while they work: nothing is lost, nobody is cut off."""

from __future__ import annotations

import os
import signal

import pytest

from core import registry
from core.backend import open_backend
from core.settings import Settings
from lethe.answers import ErasureRequest
from tests.functional.deployment import Deployment, Process

pytestmark = pytest.mark.timeout(600)

TIMES = 6
"""An exact retraining is made so many times longer, or it would end before anybody stops it."""


@pytest.fixture
def slow(embedded: Deployment) -> Deployment:
    """Retraining takes a while there, a stopping worker has two seconds, a lease lasts."""
    backend = open_backend(Settings(home=embedded.home), send=lambda _: None)
    with backend.db.transaction() as tx:
        model = registry.model_named(tx.session, "digits")
        training = model.training
        model.training = {**training, "epochs": training["epochs"] * TIMES}
    backend.close()
    embedded.variables["LETHE_GRACE_SECONDS"] = "2"
    embedded.variables["LETHE_LEASE_SECONDS"] = "600"
    return embedded


def retraining(deployment: Deployment) -> tuple[Process, ErasureRequest]:
    """A worker in the middle of a long retraining, and the request it is for."""
    worker = deployment.start("worker")
    with deployment.client() as client:
        request = client.erase("digits", subject_id="subject-trigger", strategy="retrain")
        assert request.job_id is not None
        for job in client.follow(request.job_id, timeout=120):
            if job.progress.step:
                break
    return worker, request


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_worker_hands_a_long_job_back_and_another_goes_on(
    slow: Deployment, number: signal.Signals
) -> None:
    slow.serve()
    worker, request = retraining(slow)
    # To every process of the worker, as a terminal or a control group sends it.
    os.killpg(worker.popen.pid, number)
    assert worker.popen.wait(60) == 0, worker.text
    assert "Traceback" not in worker.text
    assert "is handed back" in worker.text
    with slow.client() as client:
        assert request.job_id is not None
        assert client.job(request.job_id).status == "queued"
        second = slow.start("worker")
        assert client.wait(request, timeout=240).status == "completed"
        job = client.job(request.job_id)
        assert (job.status, job.attempts) == ("succeeded", 0)
    assert "goes on from step" in second.text
    assert second.end() == 0


def test_a_worker_that_is_told_twice_hands_back_at_once(slow: Deployment) -> None:
    slow.variables["LETHE_GRACE_SECONDS"] = "600"
    slow.serve()
    worker, request = retraining(slow)
    worker.popen.send_signal(signal.SIGTERM)
    with pytest.raises(AssertionError, match="no 'handed back'"):
        worker.wait_for("handed back", seconds=1.0)
    worker.popen.send_signal(signal.SIGTERM)
    assert worker.popen.wait(60) == 0, worker.text
    with slow.client() as client:
        assert request.job_id is not None
        assert client.job(request.job_id).status == "queued"


@pytest.mark.long
def test_an_idle_worker_stops_at_once(embedded: Deployment) -> None:
    embedded.variables["LETHE_GRACE_SECONDS"] = "600"
    worker = embedded.start("worker")
    worker.wait_for("ready")
    assert worker.end(signal.SIGINT, seconds=60) == 0, worker.text
