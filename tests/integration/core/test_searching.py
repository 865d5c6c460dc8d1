"""Requests as people look for them, in each order, page by page; what the overview counts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from core import holding, overview, requests, searching
from core.backend import Backend
from core.errors import Invalid
from core.figures import DAY
from core.records import ErasureRequest
from core.searching import SORTS, Search
from tests import factories

SUBJECTS = 7


@pytest.fixture
def posted(backend: Backend) -> list[str]:
    """Ids of requests, oldest first; the second is cancelled, the last ones are due first."""
    factories.with_model(backend)
    ids = [
        factories.submit(backend, f"subject-{i}", external_id=f"ticket-{i}").request.id
        for i in range(SUBJECTS)
    ]
    with backend.db.transaction() as tx:
        requests.end(tx, ids[1], "cancelled", "a mistake")
        for number, request_id in enumerate(ids):
            due_at = tx.now + timedelta(days=3.5 - number)
            changed = update(ErasureRequest).where(ErasureRequest.id == request_id)
            tx.session.execute(changed.values(due_at=due_at))
    return ids


def ids_of(backend: Backend, wanted: Search, limit: int = 50) -> list[str]:
    """Of all pages, each of `limit` requests."""
    found: list[str] = []
    after: str | None = None
    with backend.db.reading() as session:
        while True:
            page = searching.search(session, wanted, after=after, limit=limit)
            assert len(page.requests) <= limit
            found += [request.id for request in page.requests]
            after = page.following
            if after is None:
                return found


def test_every_order_shows_each_request_once(backend: Backend, posted: list[str]) -> None:
    expected = {"newest": posted[::-1], "oldest": posted, "due": posted[::-1]}
    assert expected.keys() == SORTS.keys()
    for sort, ids in expected.items():
        for limit in (3, SUBJECTS, 50):
            assert ids_of(backend, Search(sort=sort), limit) == ids


def test_filters_find_what_they_say(backend: Backend, posted: list[str]) -> None:
    assert ids_of(backend, Search(state="cancelled")) == [posted[1]]
    assert ids_of(backend, Search(state="open", sort="oldest")) == [posted[0], *posted[2:]]
    assert ids_of(backend, Search(state="overdue", sort="oldest")) == posted[4:]
    assert ids_of(backend, Search(external_id="ticket-2")) == [posted[2]]
    assert ids_of(backend, Search(model="digits", state="cancelled")) == [posted[1]]
    hashed = backend.identities.subject("subject-4").raw
    assert ids_of(backend, Search(subject=hashed)) == [posted[4]]


def test_what_does_not_exist_is_invalid(sqlite_backend: Backend) -> None:
    wrong = [
        (Search(state="lost"), None),
        (Search(sort="random"), None),
        (Search(sort="due"), "er_x"),
        (Search(sort="due"), "2026-01-01~er_x"),
    ]
    for wanted, after in wrong:
        with sqlite_backend.db.reading() as session, pytest.raises(Invalid):
            searching.search(session, wanted, after=after)


def test_the_overview_counts_what_there_is(backend: Backend, posted: list[str]) -> None:
    held = holding.claim(backend.db, "a test", backend.settings)
    assert held is not None
    with backend.db.transaction() as tx:
        holding.give_to_person(tx, holding.check(tx, held), "look at this")
    held = holding.claim(backend.db, "a test", backend.settings)
    assert held is not None
    with backend.db.transaction() as tx:
        taken = timedelta(days=3)
        for request_id, weeks in ((posted[5], 0), (posted[6], 5)):
            ended = tx.now - timedelta(weeks=weeks, hours=1)
            changed = update(ErasureRequest).where(ErasureRequest.id == request_id)
            values = {"state": "completed", "outcome": "erased", "completed_at": ended}
            tx.session.execute(changed.values(received_at=ended - taken, **values))
    with backend.db.reading() as session:
        sight = overview.sight(session, 7.0)
        weeks = overview.weeks(session)
    assert (sight.decisions_count, len(sight.decisions), len(sight.running)) == (1, 1, 1)
    assert sight.waiting == SUBJECTS - 3
    assert sight.open == SUBJECTS - 3
    assert sight.overdue + sight.due_soon == sight.open
    assert [each.request.id for each in sight.due] == sorted(
        (posted[0], posted[2], posted[3], posted[4]), reverse=True
    )
    assert len(weeks) == overview.WEEKS
    assert [week.erased for week in weeks] == [0] * 6 + [1] + [0] * 4 + [1]
    assert weeks[-1].mean == pytest.approx(3 * DAY, abs=60)
    assert weeks[-1].longest == pytest.approx(3 * DAY, abs=60)
    assert weeks[0].mean is None
