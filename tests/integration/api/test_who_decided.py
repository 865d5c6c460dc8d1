"""The audit chain names the key that decided; what follows by itself has nobody's."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from fastapi.testclient import TestClient
from sqlalchemy import select

from core import audit
from core.backend import Backend
from core.records import AuditEvent
from tests.integration.api.conftest import SignIn
from tests.integration.api.hand import Hand, posted

BECAUSE = {"reason": "asked for"}


def events(backend: Backend, after: int = 0) -> list[AuditEvent]:
    with backend.db.reading() as session:
        query = select(AuditEvent).where(AuditEvent.seq > after)
        return list(session.scalars(query.order_by(AuditEvent.seq)))


def head(backend: Backend) -> int:
    return events(backend)[-1].seq


def test_every_decision_over_http_names_its_key(
    api: TestClient, api_backend: Backend, api_hand: Hand
) -> None:
    mine = api.headers["Authorization"].removeprefix("Bearer ").partition(".")[0]
    first, second, third = (posted(api, f"subject-{n}")["id"] for n in range(3))
    api_hand.give_to_person(api_hand.claim())
    posted_by_now = head(api_backend)
    named = [each for each in events(api_backend) if each.noun != "key" and "by" in each.data]
    assert [(each.event, each.data["by"]) for each in named] == [("received", mine)] * 3
    later = (datetime.now(UTC) + timedelta(days=60)).isoformat()
    key = {"name": "shop", "scopes": ["read"]}
    made = api.post("/keys", json=key).json()["id"]
    held = {"model": "digits", "subject_id": "subject-2", **BECAUSE}
    [job_id] = {each["id"] for each in api.get("/jobs?status=needs_review").json()["items"]}
    hold = api.post("/legal-holds", json=held).json()["id"]
    for method, path, body in (
        ("POST", f"/erasure-requests/{first}/extend", {"due_at": later, **BECAUSE}),
        ("POST", f"/jobs/{job_id}/retry", None),
        ("POST", f"/erasure-requests/{first}/cancel", BECAUSE),
        ("POST", f"/erasure-requests/{second}/reject", BECAUSE),
        ("POST", f"/erasure-requests/{second}/status-link", None),
        ("POST", f"/legal-holds/{hold}/release", BECAUSE),
        ("PATCH", "/models/digits/policy", {"relearning": True}),
        ("POST", f"/keys/{made}/rotate", {}),
        ("POST", f"/keys/{made}/webhook-secret/rotate", None),
        ("DELETE", f"/keys/{made}", None),
    ):
        answer = api.request(method, path, json=body)
        assert answer.status_code < 300, f"{path}: {answer.text}"
    found = events(api_backend, posted_by_now)
    assert {each.data.get("by") for each in found} == {mine}
    assert {each.noun for each in found} == {
        "erasure_request", "job", "key", "legal_hold", "model",
    }  # fmt: skip
    assert {each.data.get("refusal") for each in found if each.noun_id == third} >= {"legal_hold"}
    with api_backend.db.reading() as session:
        assert audit.verify_chain(session).broken_at is None


def test_decisions_on_the_dashboard_name_their_key_and_show_it(
    admin: SignIn, api: TestClient, api_backend: Backend
) -> None:
    client = admin("read", "review")
    [reviewer] = {
        each.noun_id
        for each in events(api_backend)
        if each.data.get("scopes", []) == ["read", "review"]
    }
    first, second = (posted(api, f"subject-{n}")["id"] for n in (1, 2))
    poster = api.headers["Authorization"].removeprefix("Bearer ").partition(".")[0]
    before = head(api_backend)
    page = f"/admin/erasure-requests/{first}"
    fields = {"reason": "a mistake", "typed": first[-6:]}
    assert client.post(f"{page}/cancel", data=fields).status_code == 303
    form = {"action": "cancel", "chosen": second, "reason": "a mistake", "typed": "1"}
    assert client.post("/admin/erasure-requests/bulk/do", data=form).status_code == 303
    found = events(api_backend, before)
    assert {each.noun_id for each in found} >= {first, second}
    assert {each.data.get("by") for each in found} == {reviewer}
    for path in (f"/admin/audit?noun_id={second}", page):
        shown = re.findall(r'title="(key_\w+)"', client.get(path).text)
        assert set(shown) == {reviewer, poster}
    exported = client.get(f"/admin/audit/export?noun_id={second}").text
    assert f'"by":"{reviewer}"' in exported
