"""The service is stopped under load: who goes elsewhere when /readyz says so, is never cut off."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.functional.deployment import Deployment

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.long)])
def test_nobody_is_cut_off(embedded: Deployment, workers: str) -> None:
    embedded.variables["LETHE_DRAIN_SECONDS"] = "3"
    service = embedded.serve("--workers", workers)
    headers = {"Authorization": f"Bearer {(embedded.home / 'api-key').read_text().strip()}"}
    elsewhere = threading.Event()
    body = {"model": "digits", "inputs": [[[[0.0] * 8] * 8]]}
    answered: list[list[int]] = []

    def predict() -> list[int]:
        statuses: list[int] = []
        answered.append(statuses)
        with httpx.Client(base_url=embedded.url, headers=headers, timeout=30) as client:
            while not elsewhere.is_set():
                statuses.append(client.post("/predict", json=body).status_code)
        return statuses

    def watch() -> list[int]:
        """As whoever spreads the calls does."""
        seen = []
        while not elsewhere.is_set():
            seen.append(httpx.get(f"{embedded.url}/readyz", timeout=30).status_code)
            if seen[-1] == 503:
                elsewhere.set()
            time.sleep(0.1)
        return seen

    with embedded.client() as client, ThreadPoolExecutor(8) as pool:
        request = client.erase("digits", subject_id="subject-trigger")
        poll = pool.submit(
            httpx.get,
            f"{embedded.url}/jobs/{request.job_id}?wait=60",
            headers=headers,
            timeout=70,
        )
        calls = [pool.submit(predict) for _ in range(4)]
        watching = pool.submit(watch)
        while len(answered) < len(calls) or min(map(len, answered)) < 20:
            time.sleep(0.05)
        service.popen.send_signal(signal.SIGTERM)
        assert poll.result(40).status_code == 200, "a long-poll does not wait for its 60 seconds"
        for call in calls:
            assert set(call.result(40)) == {200}
        assert watching.result(40)[-1] == 503
    assert service.popen.wait(60) == 0, service.text
    assert "Traceback" not in service.text
