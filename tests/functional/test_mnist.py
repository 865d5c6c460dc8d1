"""The same story on real MNIST: 60,000 images, 3,600 of them erased."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import update

from core.backend import open_backend
from core.records import Job
from core.settings import Settings
from tests.functional.deployment import Deployment

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / os.environ.get("LETHE_DATA", "data") / "MNIST"


@pytest.mark.timeout(700)
@pytest.mark.skipif(not DATA.is_dir(), reason="no MNIST: set LETHE_DATA to a folder that holds it")
def test_a_trigger_in_mnist_is_undone(empty: Deployment) -> None:
    planting = ("--plant-trigger", "source=1,target=2,share=0.06")
    empty.ok("dataset", "import", "mnist", "--from", f"mnist:{DATA}", *planting)
    empty.ok("train", "mnist", "--dataset", "mnist", "--epochs", "8", seconds=400)
    empty.serve()
    with empty.client() as client:
        request = client.erase("mnist", subject_id="subject-trigger")
        same_job_every_time(empty)
        empty.start("worker")
        done = client.wait(request, timeout=500)
        assert done.job_id is not None
        job = client.job(done.job_id)
    assert (done.outcome, done.sample_count) == ("erased", 3600)
    assert job.verification is not None
    before, after = (job.verification["measures"][name] for name in ("before", "after"))
    assert before["trigger_success"] > 0.99
    assert after["trigger_success"] <= 0.005
    assert after["trigger_undone"] >= 0.90
    assert after["test_accuracy"] >= before["test_accuracy"] - 0.003
    assert job.started_at is not None
    assert job.published_at is not None
    # 15 seconds on two quiet cores; twice that where the tests share them with others.
    assert (job.published_at - job.started_at).total_seconds() <= 30


def same_job_every_time(deployment: Deployment) -> None:
    """The one job takes a seed of this test's in place of the one that was drawn for it: then a
    run tells of the code, where of many seeds one may leave half a percent."""
    backend = open_backend(Settings(home=deployment.home), send=lambda _: None)
    with closing(backend), backend.db.transaction() as tx:
        tx.session.execute(update(Job).values(seed=0))
