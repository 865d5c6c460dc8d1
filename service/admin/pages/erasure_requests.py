"""Erasure requests: found, followed, cancelled, put off, refused; their certificates."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Form, Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from core import (
    audit,
    certificates,
    deliveries,
    facts,
    refusals,
    registry,
    replies,
    requests,
    searching,
)
from core.backend import Backend
from core.db import database_now
from core.errors import Conflict, Invalid
from core.records import Dataset, Delivery, DeliveryAttempt, ErasureRequest
from core.records import Job as JobRecord
from core.searching import GROUPS, SORTS, Search
from core.states import REQUEST, REQUEST_OPEN
from service.admin import contexts, typed
from service.admin.deps import Caretaker, Reviewer, Viewer
from service.admin.listing import Filter, Listing, names, states
from service.admin.rendering import done, render
from service.deps import BackendDep, Reader, Tx
from service.pages import certificate as certificate_page
from service.paging import Id, ModelFilter, StatusFilter
from service.schemas.common import NO_NUL, Reason

router = APIRouter(prefix="/erasure-requests")

PAGE = 50
PATH = "/admin/erasure-requests"
CursorAt = Annotated[str | None, Query(max_length=200, pattern=NO_NUL)]
ExternalId = Annotated[str | None, Query(max_length=200, pattern=NO_NUL)]
Refusal = Annotated[str, Form(max_length=40)]
Sort = Annotated[str, Query(max_length=20)]


@router.get("")
def index(
    me: Viewer,
    session: Reader,
    status: StatusFilter = None,
    model: ModelFilter = None,
    external_id: ExternalId = None,
    sort: Sort = "newest",
    cursor: CursorAt = None,
) -> Response:
    """Requests, filtered and in an order."""
    wanted = Search(status or None, model or None, external_id or None, sort=sort or "newest")
    found = searching.search(session, wanted, after=cursor or None, limit=PAGE)
    context = contexts.RequestList(
        requests=facts.of_requests(session, found.requests),
        listing=listing_of(session, wanted, found.following, first=not cursor),
        external_id=external_id or "",
        by_subject=False,
        now=database_now(session),
    )
    return render(me, context)


@router.post("/search")
def search(
    me: Viewer,
    session: Reader,
    backend: BackendDep,
    subject: Annotated[str, Form(min_length=1, max_length=1000, pattern=NO_NUL)],
) -> Response:
    """Requests of one subject. The identifier is hashed here and forgotten: it is in no address,
    log or record."""
    wanted = Search(subject=backend.identities.subject(subject).raw)
    found = searching.search(session, wanted, limit=4 * PAGE)
    context = contexts.RequestList(
        requests=facts.of_requests(session, found.requests),
        listing=listing_of(session, Search(), None, first=True),
        external_id="",
        by_subject=True,
        now=database_now(session),
    )
    return render(me, context)


def listing_of(session: Session, wanted: Search, following: str | None, *, first: bool) -> Listing:
    """The list's filters as they are set."""
    options = [("", "All"), *GROUPS.items(), *states(list(REQUEST.moves))[1:]]
    models = names([each.name for each in registry.models(session)])
    return Listing(
        path=PATH,
        filters=[
            Filter("status", "State", options, wanted.state or ""),
            Filter("model", "Model", models, wanted.model or ""),
            Filter("sort", "Order", list(SORTS.items()), wanted.sort),
        ],
        following=following,
        first=first,
        also={"external_id": wanted.external_id or ""},
    )


@router.get("/{request_id}")
def show(me: Viewer, session: Reader, backend: BackendDep, request_id: Id) -> Response:
    """One request."""
    found = facts.of_request(session, request_id)
    request, now = found.request, database_now(session)
    context = contexts.Request(
        found=found,
        now=now,
        jobs=facts.of_jobs(session, requests.jobs_of(session, request_id)),
        classes=_classes(session, backend, request),
        history=audit.history(session, "erasure_request", request_id),
        certificate=_certificate(session, backend, request),
        deliveries=_deliveries(session, request_id),
        decidable=_decidable(session, request),
        ending=typed.ending(request_id),
        refusals=refusals.REASONS,
        reply=replies.text_for(request, contact=backend.settings.contact),
        latest=max(request.due_at, now).date(),
    )
    return render(me, context)


def _classes(session: Session, backend: Backend, request: ErasureRequest) -> dict[str, int]:
    """Samples of each class that are still there; of a subject, for named ones are not kept."""
    if request.subject_id is None or request.state not in REQUEST_OPEN:
        return {}
    dataset = session.get_one(Dataset, request.dataset_id)
    labels = backend.samples.find_subject(dataset.id, [request.subject_id]).labels.tolist()
    return {dataset.classes[label]: labels.count(label) for label in sorted(set(labels))}


def _certificate(
    session: Session, backend: Backend, request: ErasureRequest
) -> contexts.CertificateFacts | None:
    """Its signature, checked anew for each look at the page."""
    try:
        text = requests.certificate_of(session, request.id)
    except Conflict:
        return None
    try:
        document = certificates.verify(text, backend.signer.public_pem)
    except Invalid as error:
        return contexts.CertificateFacts(holds=False, said=str(error), outcome="", issued_by="")
    return contexts.CertificateFacts(
        holds=True,
        said=f"signed by key {_key_id(text)}",
        outcome=certificate_page.OUTCOMES.get(document["outcome"], document["outcome"]),
        issued_by=f"{document['issued_by']['software']} {document['issued_by']['version']}",
    )


def _deliveries(session: Session, request_id: str) -> list[tuple[Delivery, list[DeliveryAttempt]]]:
    """The newest callbacks of the request, each with its attempts."""
    found = deliveries.listed(session, request_id=request_id)
    attempts = deliveries.attempts_of(session, [each.id for each in found])
    return [(each, attempts[each.id]) for each in found]


def _key_id(text: str) -> str:
    """Which key signed this certificate."""
    key_id: str = json.loads(text)["signature"]["key_id"]
    return key_id


def _decidable(session: Session, request: ErasureRequest) -> set[str]:
    """What core would not refuse now."""
    if request.state not in REQUEST_OPEN:
        return set()
    may = {"extend"}
    jobs = requests.jobs_of(session, request.id)
    if not any(_past_stopping(job) for job in jobs):
        may |= {
            action
            for action, to in (("cancel", "cancelled"), ("reject", "rejected"))
            if to in REQUEST.moves[request.state]
        }
    return may


def _past_stopping(job: JobRecord) -> bool:
    return job.published_at is not None or job.state in ("publishing", "destroying", "succeeded")


@router.get("/{request_id}/certificate")
def certificate(_: Viewer, session: Reader, backend: BackendDep, request_id: Id) -> Response:
    """The certificate as a page, to read or print."""
    text = requests.certificate_of(session, request_id)
    shown = certificate_page.render(text, backend.signer.public_pem)
    headers = {"Content-Security-Policy": certificate_page.POLICY}
    return Response(shown, headers=headers, media_type="text/html")


@router.get("/{request_id}/certificate.json")
def download(_: Viewer, session: Reader, request_id: Id) -> Response:
    """The certificate, byte for byte as issued."""
    text = requests.certificate_of(session, request_id)
    disposition = f'attachment; filename="certificate-{request_id}.json"'
    return Response(
        text, headers={"Content-Disposition": disposition}, media_type="application/json"
    )


@router.post("/{request_id}/verify")
def verify(_: Viewer, session: Reader, backend: BackendDep, request_id: Id) -> Response:
    """Check the certificate's signature now."""
    text = requests.certificate_of(session, request_id)
    certificates.verify(text, backend.signer.public_pem)
    said = f"The signature holds: every byte is as key {_key_id(text)} signed it."
    return done(f"{PATH}/{request_id}", said)


@router.post("/{request_id}/cancel")
def cancel(
    _: Reviewer,
    tx: Tx,
    request_id: Id,
    reason: Annotated[Reason, Form()],
    confirmed: typed.Typed = "",
) -> Response:
    """Withdraw a request."""
    typed.check(confirmed, request_id)
    requests.end(tx, request_id, "cancelled", reason)
    return done(f"{PATH}/{request_id}", "The request is cancelled.")


@router.post("/{request_id}/reject")
def reject(
    _: Reviewer,
    tx: Tx,
    request_id: Id,
    reason: Annotated[Reason, Form()],
    confirmed: typed.Typed = "",
    refusal: Refusal = refusals.OTHER,
) -> Response:
    """Refuse a request; `refusal` is why, as programs know it."""
    typed.check(confirmed, request_id)
    requests.end(tx, request_id, "rejected", reason, refusal=refusal)
    return done(f"{PATH}/{request_id}", "The request is refused.")


@router.post("/{request_id}/extend")
def extend(
    _: Reviewer,
    tx: Tx,
    request_id: Id,
    due_on: Annotated[date, Form()],
    reason: Annotated[Reason, Form()],
) -> Response:
    """Move the due date later, to the same time of another day."""
    requests.extend(tx, request_id, later(tx.session, request_id, due_on), reason)
    return done(f"{PATH}/{request_id}", f"The request is due on {due_on} now.")


@router.post("/{request_id}/deliveries/{delivery_id}/replay")
def replay(_: Caretaker, tx: Tx, request_id: Id, delivery_id: Id) -> Response:
    """Send a callback again, however it stands."""
    deliveries.replay(tx, delivery_id)
    return done(f"{PATH}/{request_id}", "The message is sent again.")


def later(session: Session, request_id: str, due_on: date) -> datetime:
    """That day, at the time of day at which the request is due."""
    return datetime.combine(due_on, requests.get(session, request_id).due_at.timetz())
