"""A client that keeps asking while the model is swapped, and counts what it gets."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any

import httpx

_PAUSE = 0.01  # seconds: steady traffic that leaves the two cores of a laptop to the job


class Traffic:
    """Predictions in a thread, without a single retry: a failure is counted as one."""

    def __init__(self, url: str, key: str, model: str, inputs: list[Any]) -> None:
        self.answered = 0
        self.failed = 0
        self.backward = 0
        self.versions: list[int] = []
        self.first_failure: str | None = None
        self._bodies = [{"model": model, "inputs": [image]} for image in inputs]
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=10.0
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask no more; the answer that is under way is waited for."""
        self._stop.set()
        self._thread.join()
        self._http.close()

    def wait_for(self, version: int, seconds: float) -> bool:
        """Wait until an answer came from this version; False if none did."""
        until = time.monotonic() + seconds
        while version not in self.versions and time.monotonic() < until:
            time.sleep(0.02)
        return version in self.versions

    def _run(self) -> None:
        turn = 0
        while not self._stop.is_set():
            self._ask(self._bodies[turn % len(self._bodies)])
            turn += 1
            self._stop.wait(_PAUSE)

    def _ask(self, body: dict[str, Any]) -> None:
        try:
            response = self._http.post("/predict", json=body)
            response.raise_for_status()
            version = int(response.json()["version"])
        except (httpx.HTTPError, ValueError, KeyError) as error:
            self.failed += 1
            self.first_failure = self.first_failure or str(error)
            return
        self.answered += 1
        if self.versions and version < self.versions[-1]:
            self.backward += 1
        if version not in self.versions:
            self.versions.append(version)
