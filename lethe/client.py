"""The Python client: `from lethe import Client`."""

from __future__ import annotations

import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import httpx

from core.errors import LetheError
from lethe.answers import ErasureRequest, Job, Model, Page, Predictions, Version
from lethe.home import api_key as default_key
from lethe.home import service_url
from lethe.transport import ApiError, Transport

__all__ = ["ApiError", "Client"]

_POLL = 20.0  # seconds that one long-poll waits


class Client:
    """A Lethe service, over HTTP.

    url: by default LETHE_URL, or http://127.0.0.1:8000. api_key: by default LETHE_API_KEY, or
    the key that the embedded mode keeps under LETHE_HOME. Calls are repeated where that is
    safe; each erasure request carries an Idempotency-Key, so it is.

        with Client() as lethe:
            request = lethe.erase("digits", subject_id="subject-7")
            print(lethe.wait(request).outcome)

    Every method raises `lethe.ApiError` when the service refuses, and
    `core.errors.Unavailable` when it does not answer.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 4,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._transport = Transport(
            url or service_url(),
            api_key if api_key is not None else default_key(),
            timeout=timeout,
            retries=retries,
            transport=transport,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._transport.close()

    def erase(
        self,
        model: str,
        *,
        subject_id: str | None = None,
        sample_ids: Sequence[str] | None = None,
        strategy: str | None = None,
        external_id: str | None = None,
        regulation: str | None = None,
        callback_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> ErasureRequest:
        """Ask that `model` forget a subject, or the samples named.

        Every other model that was trained on these samples forgets them as well.
        """
        body = {
            "model": model,
            "subject_id": subject_id,
            "sample_ids": list(sample_ids) if sample_ids is not None else None,
            "strategy": strategy,
            "external_id": external_id,
            "regulation": regulation,
            "callback_url": callback_url,
        }
        answer = self._transport.call(
            "POST",
            "/erasure-requests",
            json={name: value for name, value in body.items() if value is not None},
            headers={"Idempotency-Key": idempotency_key or str(uuid.uuid4())},
        )
        return ErasureRequest.model_validate(answer.json())

    def erasure_request(self, request_id: str) -> ErasureRequest:
        """One request, as it stands."""
        answer = self._transport.call("GET", f"/erasure-requests/{request_id}")
        return ErasureRequest.model_validate(answer.json())

    def erasure_requests(
        self, *, status: str | None = None, model: str | None = None
    ) -> Iterator[ErasureRequest]:
        """Requests, newest first."""
        for item in self._pages("/erasure-requests", {"status": status, "model": model}):
            yield ErasureRequest.model_validate(item)

    def cancel(self, request_id: str, reason: str) -> ErasureRequest:
        """Call a request off, while its job has not published."""
        answer = self._transport.call(
            "POST", f"/erasure-requests/{request_id}/cancel", json={"reason": reason}, safe=False
        )
        return ErasureRequest.model_validate(answer.json())

    def certificate(self, request_id: str) -> str:
        """The signed certificate of a completed request, byte for byte."""
        return self._transport.call("GET", f"/erasure-requests/{request_id}/certificate").text

    def certificate_key(self) -> str:
        """The public key that certificates are checked with, as PEM."""
        return self._transport.call("GET", "/certificates/key").text

    def job(self, job_id: str) -> Job:
        """One job, as it stands."""
        return Job.model_validate(self._transport.call("GET", f"/jobs/{job_id}").json())

    def jobs(self, *, status: str | None = None, model: str | None = None) -> Iterator[Job]:
        """Jobs, newest first."""
        for item in self._pages("/jobs", {"status": status, "model": model}):
            yield Job.model_validate(item)

    def follow(self, job_id: str, timeout: float | None = None) -> Iterator[Job]:
        """The job each time that it changes, until it is over.

        Raises `LetheError` after `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        etag: str | None = None
        while True:
            left = _POLL if end is None else min(_POLL, end - time.monotonic())
            if left <= 0:
                raise LetheError(f"job {job_id} is not over yet: the time to wait is up")
            answer = self._transport.call(
                "GET",
                f"/jobs/{job_id}",
                params={"wait": round(left, 1)} if etag else None,
                headers={"If-None-Match": etag} if etag else None,
                extra_time=left,
            )
            if answer.status_code == 304:
                continue
            etag = answer.headers.get("ETag")
            job = Job.model_validate(answer.json())
            yield job
            if job.over:
                return

    def wait(
        self,
        request: ErasureRequest | str,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Job], None] | None = None,
    ) -> ErasureRequest:
        """Wait until the request is over: completed, rejected, cancelled, or with a reviewer.

        `on_progress` is called at every change of its jobs. Raises `LetheError` after
        `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        found = self.erasure_request(request if isinstance(request, str) else request.id)
        for job_id in found.job_ids:
            left = None if end is None else end - time.monotonic()
            for job in self.follow(job_id, left):
                if on_progress is not None:
                    on_progress(job)
        while not (found := self.erasure_request(found.id)).over:
            # Its jobs are over, and it will be within moments.
            if end is not None and time.monotonic() >= end:
                raise LetheError(f"request {found.id} is not over yet: the time to wait is up")
            time.sleep(0.1)
        return found

    def predict(
        self,
        model: str | None = None,
        inputs: Any = None,
        *,
        images: Sequence[bytes] | None = None,
    ) -> Predictions:
        """Predictions for `inputs` (nested lists N x C x H x W in 0..1), or `images` (PNG, JPEG).

        Without `model`: the service's only one.
        """
        body = {
            "model": model,
            "inputs": inputs,
            "images": [b64encode(image).decode() for image in images] if images else None,
        }
        body = {name: value for name, value in body.items() if value is not None}
        return Predictions.model_validate(
            self._transport.call("POST", "/predict", json=body).json()
        )

    def models(self) -> list[Model]:
        """Every model."""
        return [Model.model_validate(item) for item in self._pages("/models", {})]

    def model(self, name: str) -> Model:
        """One model: what it serves, and where."""
        return Model.model_validate(self._transport.call("GET", f"/models/{name}").json())

    def change_policy(self, name: str, **settings: Any) -> Model:
        """Change a model's policy, from its next job on: inconclusive, relearning, thresholds,
        budget. What is named is set, None resets it; in thresholds and budget as well.

            lethe.change_policy("digits", inconclusive="review", thresholds={"auc_band": 0.05})
        """
        answer = self._transport.call("PATCH", f"/models/{name}/policy", json=settings)
        return Model.model_validate(answer.json())

    def versions(self, name: str) -> list[Version]:
        """The versions of a model, newest first."""
        return [
            Version.model_validate(item) for item in self._pages(f"/models/{name}/versions", {})
        ]

    def warnings(self) -> list[str]:
        """What somebody must see to: no worker runs, requests are overdue."""
        try:
            answer = self._transport.call("GET", "/readyz")
        except ApiError:  # not ready: nothing is known of the rest
            return []
        found: list[str] = answer.json().get("warnings", [])
        return found

    def ready(self) -> bool:
        """Does the service say that it can answer?"""
        try:
            return self._transport.call("GET", "/readyz").status_code == 200
        except ApiError:
            return False

    def _pages(self, path: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            answer = self._transport.call("GET", path, params={**params, "cursor": cursor})
            page = Page.model_validate(answer.json())
            yield from page.items
            if page.next is None:
                return
            cursor = page.next
