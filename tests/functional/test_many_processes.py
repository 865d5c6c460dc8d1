"""Several processes behind one port: each answers for all, and health says who works."""

from __future__ import annotations

import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.functional.deployment import Deployment


def scraped(url: str, name: str) -> dict[tuple[str, ...], float]:
    """A new connection each time, so that any of the processes may answer."""
    answer = httpx.get(f"{url}/metrics")
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == name
    }


@pytest.mark.timeout(600)
def test_each_process_answers_for_all(embedded: Deployment) -> None:
    embedded.serve("--workers", "2")
    key = (embedded.home / "api-key").read_text().strip()
    image = [[[0.5] * 8] * 8]
    for _ in range(12):
        answer = httpx.post(
            f"{embedded.url}/predict",
            json={"inputs": [image, image]},
            headers={"Authorization": f"Bearer {key}"},
        )
        assert answer.status_code == 200, answer.text
    for _ in range(8):
        assert scraped(embedded.url, "lethe_predictions_total") == {("digits",): 24}
        assert scraped(embedded.url, "lethe_prediction_seconds_count") == {("digits",): 12}
    versions = scraped(embedded.url, "lethe_replica_version")
    assert [model for model, _ in versions] == ["digits", "digits"]
    assert set(versions.values()) == {1}


@pytest.mark.timeout(600)
def test_that_no_worker_runs_is_seen(embedded: Deployment) -> None:
    embedded.serve()
    embedded.ok("erase", "digits", "--subject", "subject-3")
    done = embedded.lethe("jobs")
    assert "no worker is running and 1 job waits: start one with `lethe worker`" in done.stderr
    worker = embedded.start("worker")
    until = time.monotonic() + 60
    while scraped(embedded.url, "lethe_workers") != {(): 1}:
        assert time.monotonic() < until, worker.text
        time.sleep(0.2)
    assert "no worker" not in embedded.lethe("jobs").stderr
    worker.end()
    assert scraped(embedded.url, "lethe_workers") == {(): 0}
