"""Every call of the service's API, once: what to ask, and what the answer means.

`lethe.client` makes methods of these for both clients. Each function is a flow or a stream
(lethe.flow); its docstring is the method's.
"""

from __future__ import annotations

import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from core.errors import LetheError
from lethe.answers import (
    Answer,
    BulkAnswer,
    Delivery,
    ErasureRequest,
    ErasureRequestDetail,
    Job,
    Key,
    LegalHold,
    MadeKey,
    Model,
    Page,
    Predictions,
    Readiness,
    StatusLink,
    Version,
    WebhookSecret,
)
from lethe.flow import ApiError, Ask, Flow, Give, Pause, Stream

T = TypeVar("T")
A = TypeVar("A", bound=Answer)

_POLL = 20.0  # seconds that one long-poll waits
_BULK = 270.0  # seconds that thousands may take on top


# Erasure requests


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
    body = _given(
        model=model,
        subject_id=subject_id,
        sample_ids=list(sample_ids) if sample_ids is not None else None,
        strategy=strategy,
        external_id=external_id,
        regulation=regulation,
        callback_url=callback_url,
    )
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    return _one(ErasureRequest, Ask("POST", "/erasure-requests", json=body, headers=headers))


def erase_many(
    items: Iterable[Mapping[str, Any]], *, idempotency_key: str | None = None
) -> Flow[BulkAnswer]:
    """Ask for up to 5,000 erasures at once: `items` have the fields that `erase` takes.

    Each has its own result: what is wrong with one takes no other along.

        done = lethe.erase_many([{"model": "digits", "subject_id": "subject-7"}])
        print(done.accepted, [item.problem for item in done.items if item.problem])
    """
    body = {"items": [_given(**item) for item in items]}
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    ask = Ask("POST", "/erasure-requests/bulk", json=body, headers=headers, extra_time=_BULK)
    return _one(BulkAnswer, ask)


def erasure_request(request_id: str) -> Flow[ErasureRequestDetail]:
    """One request, as it stands, with its history."""
    return _one(ErasureRequestDetail, Ask("GET", f"/erasure-requests/{_in_path(request_id)}"))


def erasure_requests(
    *, status: str | None = None, model: str | None = None, overdue: bool | None = None
) -> Stream[ErasureRequest]:
    """Requests, newest first."""
    params = {"status": status, "model": model, "overdue": overdue}
    return _pages(ErasureRequest, "/erasure-requests", params)


def cancel(request_id: str, reason: str) -> Flow[ErasureRequest]:
    """Call a request off, while its job has not published."""
    return _decided(ErasureRequest, f"/erasure-requests/{_in_path(request_id)}/cancel", reason)


def reject(request_id: str, reason: str, *, refusal: str = "other") -> Flow[ErasureRequest]:
    """Refuse a request that has not begun, or is in review; `refusal`: why, as programs know it."""
    path = f"/erasure-requests/{_in_path(request_id)}/reject"
    return _decided(ErasureRequest, path, reason, refusal=refusal)


def extend(request_id: str, due_at: datetime, reason: str) -> Flow[ErasureRequest]:
    """Move the due date later; `due_at` has a time zone."""
    path = f"/erasure-requests/{_in_path(request_id)}/extend"
    return _decided(ErasureRequest, path, reason, due_at=due_at.isoformat())


def answer(request_id: str) -> Flow[str]:
    """The answer to the person, ready to send: what was done, why, and how to complain."""
    return _text(f"/erasure-requests/{_in_path(request_id)}/answer")


def certificate(request_id: str) -> Flow[str]:
    """The signed certificate of a completed request, byte for byte."""
    return _text(f"/erasure-requests/{_in_path(request_id)}/certificate")


def certificate_page(request_id: str) -> Flow[str]:
    """The same as a page of HTML, for people."""
    return _text(f"/certificates/{_in_path(request_id)}/page")


def certificate_key() -> Flow[str]:
    """The public key that certificates are checked with, as PEM."""
    return _text("/certificates/key")


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
    path = f"/erasure-requests/{_in_path(request_id)}/status-link"
    return _one(StatusLink, Ask("POST", path, repeatable=False))


# Legal holds


def hold(
    model: str,
    reason: str,
    *,
    subject_id: str | None = None,
    sample_ids: Sequence[str] | None = None,
) -> Flow[LegalHold]:
    """Keep a subject's samples, or those named, from being erased until the hold is released."""
    named = list(sample_ids) if sample_ids is not None else None
    body = _given(model=model, subject_id=subject_id, sample_ids=named)
    return _decided(LegalHold, "/legal-holds", reason, **body)


def holds(*, in_force: bool | None = None) -> Stream[LegalHold]:
    """Legal holds, newest first, the released ones too."""
    return _pages(LegalHold, "/legal-holds", {"in_force": in_force})


def release_hold(hold_id: str, reason: str) -> Flow[LegalHold]:
    """End a hold. What was refused because of it is not taken up again: ask anew."""
    return _decided(LegalHold, f"/legal-holds/{_in_path(hold_id)}/release", reason)


# Jobs


def job(job_id: str) -> Flow[Job]:
    """One job, as it stands."""
    return _one(Job, Ask("GET", f"/jobs/{_in_path(job_id)}"))


def jobs(*, status: str | None = None, model: str | None = None) -> Stream[Job]:
    """Jobs, newest first."""
    return _pages(Job, "/jobs", {"status": status, "model": model})


def follow(job_id: str, timeout: float | None = None) -> Stream[Job]:
    """The job each time that it changes, until it is over.

    Raises `LetheError` after `timeout` seconds.
    """
    end = None if timeout is None else time.monotonic() + timeout
    etag: str | None = None
    while True:
        left = _POLL if end is None else min(_POLL, end - time.monotonic())
        if left <= 0:
            raise LetheError(f"job {job_id} is not over yet: the time to wait is up")
        answer = yield Ask(
            "GET",
            f"/jobs/{_in_path(job_id)}",
            params={"wait": round(left, 1)} if etag else None,
            headers={"If-None-Match": etag} if etag else None,
            extra_time=left,
        )
        if answer.status_code == 304:
            continue
        etag = answer.headers.get("ETag")
        found = Job.model_validate(answer.json())
        yield Give(found)
        if found.over:
            return


def approve_job(job_id: str, reason: str) -> Flow[Job]:
    """Publish the candidate of a job in review, or let one begin that erases very much."""
    return _decided(Job, f"/jobs/{_in_path(job_id)}/approve", reason)


def reject_job(job_id: str, reason: str) -> Flow[Job]:
    """Refuse the candidate of a job in review; its requests stay in review."""
    return _decided(Job, f"/jobs/{_in_path(job_id)}/reject", reason)


def retry_job(job_id: str) -> Flow[Job]:
    """Run a failed job, or one in review, again."""
    return _one(Job, Ask("POST", f"/jobs/{_in_path(job_id)}/retry", repeatable=False))


def cancel_job(job_id: str, reason: str) -> Flow[Job]:
    """Cancel a job and the requests that it carries out."""
    return _decided(Job, f"/jobs/{_in_path(job_id)}/cancel", reason)


# Models


def predict(
    model: str | None = None,
    inputs: Any = None,
    *,
    images: Sequence[bytes] | None = None,
    version: int | None = None,
    samples: int | None = None,
) -> Flow[Predictions]:
    """Predictions for `inputs` (nested lists N x C x H x W in 0..1), or `images` (PNG, JPEG).

    Without `model`: the service's only one; without `version`: the one that serves. samples:
    draws of z behind the uncertainty.
    """
    body = _given(
        model=model,
        version=version,
        samples=samples,
        inputs=inputs,
        images=[b64encode(image).decode() for image in images] if images else None,
    )
    return _one(Predictions, Ask("POST", "/predict", json=body))


def models() -> Flow[list[Model]]:
    """Every model."""
    return _all(_pages(Model, "/models", {}))


def model(name: str) -> Flow[Model]:
    """One model: what it serves, and where."""
    return _one(Model, Ask("GET", f"/models/{_in_path(name)}"))


def versions(name: str) -> Flow[list[Version]]:
    """The versions of a model, newest first."""
    return _all(_pages(Version, f"/models/{_in_path(name)}/versions", {}))


def change_policy(name: str, **settings: Any) -> Flow[Model]:
    """Change a model's policy, from its next job on: inconclusive, relearning, thresholds,
    budget. What is named is set, None resets it; in thresholds and budget as well.

        lethe.change_policy("digits", inconclusive="review", thresholds={"auc_band": 0.05})
    """
    return _one(Model, Ask("PATCH", f"/models/{_in_path(name)}/policy", json=settings))


def rollback(name: str, version: int, reason: str) -> Flow[Model]:
    """Serve an earlier version again, if it has forgotten the same requests."""
    return _decided(Model, f"/models/{_in_path(name)}/rollback", reason, version=version)


# Keys


def api_keys() -> Flow[list[Key]]:
    """Every API key, newest first, the revoked ones too; never a secret."""
    return _all(_pages(Key, "/keys", {}))


def create_key(
    name: str, scopes: Sequence[str], *, days: int | None = None, model: str | None = None
) -> Flow[MadeKey]:
    """Make a key, for one model or for every one; its text is in this answer and nowhere else."""
    body = _given(name=name, scopes=list(scopes), days=days, model=model)
    return _one(MadeKey, Ask("POST", "/keys", json=body, repeatable=False))


def rotate_key(
    key_id: str, *, overlap_seconds: int = 86_400, days: int | None = None
) -> Flow[MadeKey]:
    """Give a key a new secret; the old one stays good for `overlap_seconds`."""
    body = _given(overlap_seconds=overlap_seconds, days=days)
    path = f"/keys/{_in_path(key_id)}/rotate"
    return _one(MadeKey, Ask("POST", path, json=body, repeatable=False))


def revoke_key(key_id: str) -> Flow[Key]:
    """End a key at once; doing so twice changes nothing."""
    return _one(Key, Ask("DELETE", f"/keys/{_in_path(key_id)}"))


# Callbacks


def deliveries(*, status: str | None = None) -> Stream[Delivery]:
    """Callbacks of all requests, newest first; "given_up" are those that never arrived."""
    return _pages(Delivery, "/deliveries", {"status": status})


def deliveries_of(request_id: str) -> Stream[Delivery]:
    """Callbacks of one request, newest first, with every attempt."""
    return _pages(Delivery, f"/erasure-requests/{_in_path(request_id)}/deliveries", {})


def replay_delivery(delivery_id: str) -> Flow[Delivery]:
    """Send a callback again at once, with the same id and body."""
    path = f"/deliveries/{_in_path(delivery_id)}/replay"
    return _one(Delivery, Ask("POST", path, repeatable=False))


def webhook_secret(key_id: str) -> Flow[WebhookSecret]:
    """What signs the callbacks of requests posted with this key (Standard Webhooks)."""
    return _one(WebhookSecret, Ask("GET", f"/keys/{_in_path(key_id)}/webhook-secret"))


def rotate_webhook_secret(key_id: str) -> Flow[WebhookSecret]:
    """Put a new secret in force. For a day callbacks carry the signatures of both."""
    path = f"/keys/{_in_path(key_id)}/webhook-secret/rotate"
    return _one(WebhookSecret, Ask("POST", path, repeatable=False))


# The service


def alive() -> Flow[bool]:
    """Does the process answer?"""
    return _well("/livez")


def ready() -> Flow[bool]:
    """Does the service say that it can answer?"""
    return _well("/readyz")


def readiness() -> Flow[Readiness]:
    """What is there, what is not, and what somebody must see to; `ApiError` while not ready."""
    return _one(Readiness, Ask("GET", "/readyz"))


def warnings() -> Flow[list[str]]:
    """What somebody must see to: no worker runs, requests are overdue."""
    try:
        found = yield from readiness()
    except ApiError:  # not ready: nothing is known of the rest
        return []
    return found.warnings


def metrics() -> Flow[str]:
    """The metrics, in Prometheus' text format."""
    return _text("/metrics")


# What they are made of


def heard(stream: Stream[T], tell: Callable[[T], object]) -> Flow[None]:
    """A stream as a flow: what it gives is told to `tell`."""
    resume: Callable[[], Ask | Pause | Give[T]] = partial(next, stream)
    while True:
        try:
            step = resume()
        except StopIteration:
            return
        if isinstance(step, Give):
            tell(step.item)
            resume = partial(next, stream)
            continue
        try:
            answer = yield step
        except LetheError as error:
            resume = partial(stream.throw, error)
        else:
            resume = partial(stream.send, answer)


def _one(kind: type[A], ask: Ask) -> Flow[A]:
    answer = yield ask
    return kind.model_validate(answer.json())


def _text(path: str) -> Flow[str]:
    answer = yield Ask("GET", path)
    return answer.text


def _well(path: str) -> Flow[bool]:
    try:
        answer = yield Ask("GET", path)
    except ApiError:
        return False
    return answer.status_code == 200


def _decided(kind: type[A], path: str, reason: str, **more: Any) -> Flow[A]:
    """A decision: not made twice."""
    return _one(kind, Ask("POST", path, json={"reason": reason, **more}, repeatable=False))


def _pages(kind: type[A], path: str, params: Mapping[str, Any]) -> Stream[A]:
    cursor: str | None = None
    while True:
        answer = yield Ask("GET", path, params={**params, "cursor": cursor})
        page = Page.model_validate(answer.json())
        for item in page.items:
            yield Give(kind.model_validate(item))
        if page.next is None:
            return
        cursor = page.next


def _all(stream: Stream[A]) -> Flow[list[A]]:
    found: list[A] = []
    yield from heard(stream, found.append)
    return found


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _in_path(name: str) -> str:
    """A name as one part of a path: whatever it holds, it is not another path."""
    return quote(name, safe="")
