"""Erasure requests: asking, deciding, waiting, and what the person is told."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from core.errors import LetheError
from lethe.answers import BulkAnswer, ErasureRequest, ErasureRequestDetail, Job, StatusLink
from lethe.calls.asking import decided, given, in_path, one, pages, text
from lethe.calls.jobs import follow
from lethe.flow import Ask, Flow, Pause, Stream, heard

_BULK = 270.0  # seconds that thousands may take on top


def erase(
    model: str,
    *,
    subject_id: str | None = None,
    sample_ids: Sequence[str] | None = None,
    strategy: str | None = None,
    external_id: str | None = None,
    regulation: str | None = None,
    callback_url: str | None = None,
    idempotency_key: str | None = None,
) -> Flow[ErasureRequest]:
    """Ask that `model` forget a subject, or the samples named.

    Every other model that was trained on these samples forgets them as well.
    """
    body = given(
        model=model,
        subject_id=subject_id,
        sample_ids=list(sample_ids) if sample_ids is not None else None,
        strategy=strategy,
        external_id=external_id,
        regulation=regulation,
        callback_url=callback_url,
    )
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    return one(ErasureRequest, Ask("POST", "/erasure-requests", json=body, headers=headers))


def erase_many(
    items: Iterable[Mapping[str, Any]], *, idempotency_key: str | None = None
) -> Flow[BulkAnswer]:
    """Ask for up to 5,000 erasures at once: `items` have the fields that `erase` takes.

    Each has its own result: what is wrong with one takes no other along.

        done = lethe.erase_many([{"model": "digits", "subject_id": "subject-7"}])
        print(done.accepted, [item.problem for item in done.items if item.problem])
    """
    body = {"items": [given(**item) for item in items]}
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    ask = Ask("POST", "/erasure-requests/bulk", json=body, headers=headers, extra_time=_BULK)
    return one(BulkAnswer, ask)


def erasure_request(request_id: str) -> Flow[ErasureRequestDetail]:
    """One request, as it stands, with its history."""
    return one(ErasureRequestDetail, Ask("GET", f"/erasure-requests/{in_path(request_id)}"))


def erasure_requests(
    *, status: str | None = None, model: str | None = None, overdue: bool | None = None
) -> Stream[ErasureRequest]:
    """Requests, newest first."""
    params = {"status": status, "model": model, "overdue": overdue}
    return pages(ErasureRequest, "/erasure-requests", params)


def cancel(request_id: str, reason: str) -> Flow[ErasureRequest]:
    """Call a request off, while its job has not published."""
    return decided(ErasureRequest, f"/erasure-requests/{in_path(request_id)}/cancel", reason)


def reject(request_id: str, reason: str, *, refusal: str = "other") -> Flow[ErasureRequest]:
    """Refuse a request that has not begun, or is in review; `refusal`: why, as programs know it."""
    path = f"/erasure-requests/{in_path(request_id)}/reject"
    return decided(ErasureRequest, path, reason, refusal=refusal)


def extend(request_id: str, due_at: datetime, reason: str) -> Flow[ErasureRequest]:
    """Move the due date later; `due_at` has a time zone."""
    path = f"/erasure-requests/{in_path(request_id)}/extend"
    return decided(ErasureRequest, path, reason, due_at=due_at.isoformat())


def answer(request_id: str) -> Flow[str]:
    """The answer to the person, ready to send: what was done, why, and how to complain."""
    return text(f"/erasure-requests/{in_path(request_id)}/answer")


def certificate(request_id: str) -> Flow[str]:
    """The signed certificate of a completed request, byte for byte."""
    return text(f"/erasure-requests/{in_path(request_id)}/certificate")


def certificate_page(request_id: str) -> Flow[str]:
    """The same as a page of HTML, for people."""
    return text(f"/certificates/{in_path(request_id)}/page")


def certificate_key() -> Flow[str]:
    """The public key that certificates are checked with, as PEM."""
    return text("/certificates/key")


def wait(
    request: ErasureRequest | str,
    *,
    timeout: float | None = None,
    on_progress: Callable[[Job], None] | None = None,
) -> Flow[ErasureRequestDetail]:
    """Wait until the request is over: completed, rejected, cancelled, or with a reviewer.

    `on_progress` is called at every change of its jobs. Raises `LetheError` after
    `timeout` seconds.
    """
    end = None if timeout is None else time.monotonic() + timeout
    found = yield from erasure_request(request if isinstance(request, str) else request.id)
    for job_id in found.job_ids:
        left = None if end is None else end - time.monotonic()
        yield from heard(follow(job_id, left), on_progress or (lambda _: None))
    while not (found := (yield from erasure_request(found.id))).over:
        # Its jobs are over, and it will be within moments.
        if end is not None and time.monotonic() >= end:
            raise LetheError(f"request {found.id} is not over yet: the time to wait is up")
        yield Pause(0.1)
    return found


def status_link(request_id: str) -> Flow[StatusLink]:
    """A link by which the data subject sees where the request stands, and its code.

    Send them by two ways. A link that was made before opens nothing more.
    """
    path = f"/erasure-requests/{in_path(request_id)}/status-link"
    return one(StatusLink, Ask("POST", path, repeatable=False))
