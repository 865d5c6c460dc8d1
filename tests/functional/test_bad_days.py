"""What a deployment depends on goes away for a while: the outcome is as on a good day."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from core import audit, registry
from core.backend import open_backend
from core.settings import Settings
from lethe.answers import ErasureRequest
from tests.functional.deployment import Deployment
from tests.functional.test_stopping import retraining, slow
from tests.servers import start_redis

pytestmark = pytest.mark.timeout(600)
__all__ = ["slow"]  # a fixture


def settled(deployment: Deployment, request: ErasureRequest) -> None:
    """Completed once, by one job without a failed attempt, and one version serves."""
    with deployment.client() as client:
        assert client.wait(request, timeout=150).status == "completed"
        assert request.job_id is not None
        job = client.job(request.job_id)
        assert (job.status, job.attempts) == ("succeeded", 0)


def test_a_worker_that_sleeps_past_its_lease_writes_nothing_when_it_wakes(
    slow: Deployment,
) -> None:
    slow.variables["LETHE_LEASE_SECONDS"] = "2"
    slow.variables["LETHE_SWEEP_SECONDS"] = "0.3"
    slow.variables["LETHE_CHECKPOINT_SECONDS"] = "0.2"
    slow.serve()
    sleeper, request = retraining(slow)
    sleeper.wait_for("kept where job")
    os.killpg(sleeper.popen.pid, signal.SIGSTOP)
    second = slow.start("worker")
    second.wait_for("goes on from step")
    os.killpg(sleeper.popen.pid, signal.SIGCONT)
    sleeper.wait_for("was taken over by another worker")
    settled(slow, request)
    assert sleeper.end() == 0, sleeper.text
    assert second.end() == 0, second.text
    backend = open_backend(Settings(home=slow.home), send=lambda _: None)
    with backend.db.reading() as session:
        model = registry.model_named(session, "digits")
        states = [version.state for version in registry.versions(session, model.id)]
        report = audit.verify_chain(session)
    backend.close()
    assert states.count("serving") == 1
    assert set(states) == {"serving", "destroyed"}
    assert report.broken_at is None


@pytest.mark.long
def test_the_database_goes_away_in_the_middle_of_a_job(
    production: Deployment, postgres_url: str
) -> None:
    """Every connection breaks and none can be made for some seconds, as when it restarts."""
    production.variables["LETHE_LEASE_SECONDS"] = "3"
    production.variables["LETHE_SWEEP_SECONDS"] = "0.3"
    url = production.variables["LETHE_DATABASE_URL"]
    name = make_url(url).database
    assert name is not None
    settings = Settings(
        home=production.home, database_url=url, secret=production.variables["LETHE_SECRET"]
    )
    backend = open_backend(settings, send=lambda _: None)
    with backend.db.transaction() as tx:
        model = registry.model_named(tx.session, "digits")
        model.training = {**model.training, "epochs": model.training["epochs"] * 6}
    backend.close()
    service = production.serve()
    worker, request = retraining(production)
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        time.sleep(5.0)
        server.execute(allow.format(sql.Identifier(name), sql.SQL("true")))
    settled(production, request)
    assert worker.popen.poll() is None, worker.text
    assert service.popen.poll() is None, service.text


@pytest.mark.long
def test_redis_is_gone_for_a_minute_and_forgets_everything(
    production: Deployment, tmp_path: Path
) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    first, url = start_redis(folder)
    again: subprocess.Popen[bytes] | None = None
    try:
        production.variables["LETHE_BROKER_URL"] = url
        production.variables["LETHE_SWEEP_SECONDS"] = "0.3"
        production.serve()
        worker = production.start("worker")
        worker.wait_for("ready")
        first.kill()  # nothing is saved
        first.wait()
        with production.client() as client:
            request = client.erase("digits", subject_id="subject-trigger")
            time.sleep(60.0)
            assert request.job_id is not None
            assert client.job(request.job_id).status == "queued"
        arguments = list(first.args)  # type: ignore[arg-type]
        again = subprocess.Popen(
            arguments, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        settled(production, request)
        assert worker.end() == 0, worker.text
    finally:
        production.close()
        for process in (first, again):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(10)
