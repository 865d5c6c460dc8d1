"""A data subject's link: two secrets, kept as digests; guessing ends soon; only one is good."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from core import certificates, requests, status_links
from core.backend import Backend
from core.errors import NotFound
from core.records import ErasureRequest, StatusLink
from core.status_links import MOST_WRONG, Made, Standing, Tried
from tests.factories import submit, with_model
from tests.integration.core.helpers import at_once, events_of, settle


def made(backend: Backend, request_id: str) -> Made:
    with backend.db.transaction() as tx:
        return status_links.make(tx, backend.identities, request_id)


def tried(backend: Backend, secret: str, code: str) -> Tried:
    with backend.db.transaction() as tx:
        return status_links.unlock(tx, backend.identities, secret, code)


def standing(backend: Backend, secret: str) -> Standing:
    with backend.db.reading() as session:
        link = status_links.find(session, backend.identities, secret)
        return status_links.standing(session, link)


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 10**8:08}"


def test_neither_part_is_kept(backend: Backend) -> None:
    with_model(backend)
    request_id = submit(backend).request.id
    with backend.db.reading() as session:
        assert status_links.made_for(session, request_id) is None
    link = made(backend, request_id)
    assert len(link.secret) >= 43
    assert len(link.code) == 8
    with backend.db.reading() as session:
        row = status_links.made_for(session, request_id)
        assert row is not None
        text = str([getattr(row, column.key) for column in StatusLink.__table__.columns])
    assert link.secret not in text
    assert link.code not in text
    assert tried(backend, link.secret, f" {link.code[:4]}-{link.code[4:]} ").good
    with pytest.raises(NotFound, match="no erasure request"):
        made(backend, "era_none")
    assert events_of(backend, "erasure_request", request_id)[-1] == "status link made"


def test_a_new_link_ends_the_one_before(backend: Backend) -> None:
    with_model(backend)
    request_id = submit(backend).request.id
    old, new = made(backend, request_id), made(backend, request_id)
    with pytest.raises(NotFound, match="not known, or a newer one"):
        tried(backend, old.secret, old.code)
    assert not tried(backend, new.secret, wrong(new.code)).good
    assert tried(backend, new.secret, new.code).good


def test_guessing_ends(backend: Backend) -> None:
    with_model(backend)
    request_id = submit(backend).request.id
    link = made(backend, request_id)
    left = [tried(backend, link.secret, wrong(link.code)).left for _ in range(MOST_WRONG - 1)]
    assert left == [*range(MOST_WRONG - 1, 0, -1)]
    assert tried(backend, link.secret, link.code).good  # and the count begins anew
    for _ in range(MOST_WRONG):
        assert not tried(backend, link.secret, wrong(link.code)).good
    assert tried(backend, link.secret, link.code) == Tried(good=False, left=0)
    assert events_of(backend, "erasure_request", request_id)[-1] == "status link shut"
    again = made(backend, request_id)
    assert tried(backend, again.secret, again.code).good
    settle(backend)


def test_guessing_side_by_side_gains_nothing(backend: Backend) -> None:
    with_model(backend)
    link = made(backend, submit(backend).request.id)
    calls = [lambda: tried(backend, link.secret, wrong(link.code)) for _ in range(4)]
    found = at_once(*calls)
    assert sorted(each.left for each in found if isinstance(each, Tried)) == [6, 7, 8, 9]


def test_where_a_request_stands(sqlite_backend: Backend) -> None:
    with_model(sqlite_backend)
    request = submit(sqlite_backend).request
    link = made(sqlite_backend, request.id)
    at_first = standing(sqlite_backend, link.secret)
    assert (at_first.state, at_first.outcome, at_first.certified) == ("scheduled", None, False)
    assert (at_first.due_at, at_first.moved_from, at_first.ended_at) == (request.due_at, None, None)
    with sqlite_backend.db.transaction() as tx:
        later = request.due_at + timedelta(days=30)
        requests.extend(tx, request.id, later, "many requests at once")
        requests.extend(tx, request.id, later + timedelta(days=1), "one more day")
    moved = standing(sqlite_backend, link.secret)
    assert (moved.due_at, moved.moved_from) == (later + timedelta(days=1), request.due_at)


def test_the_certificate_at_the_end(sqlite_backend: Backend) -> None:
    with_model(sqlite_backend)
    request = submit(sqlite_backend, "nobody-at-all").request
    link = made(sqlite_backend, request.id)
    found = standing(sqlite_backend, link.secret)
    assert (found.state, found.outcome, found.certified) == ("completed", "no_data_found", True)
    assert found.ended_at is not None
    with sqlite_backend.db.reading() as session:
        text = requests.certificate_of(session, request.id)
        assert session.scalars(select(ErasureRequest.id)).all() == [request.id]
    certificates.verify(text, sqlite_backend.signer.public_pem)
