"""Two deciders at once, on PostgreSQL, where they really overlap: one wins, nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from core import datasets, holding, jobs, registry, requests
from core.backend import Backend
from core.book import Book
from core.db import Transaction
from core.errors import Conflict, LetheError
from core.intake import Asked, NewRequest
from core.records import Version
from tests.factories import make_dataset, make_model, submit, with_model
from tests.integration.core.helpers import advance, at_once, claimed, job_of, request_of, settle


def while_open(
    backend: Backend, first: Callable[[Transaction], object], then: Callable[[], Any]
) -> Any:
    """What `then` returns, or raises, when it starts while `first` has not committed."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(then())
        except LetheError as error:
            result.append(error)

    thread = threading.Thread(target=run)
    with backend.db.transaction() as tx:
        first(tx)
        tx.session.flush()
        thread.start()
        time.sleep(0.3)
    thread.join(timeout=20)
    assert result, "it neither returned nor raised a named error"
    return result[0]


def test_a_request_that_meets_a_cancellation_gets_a_job_of_its_own(
    postgres_backend: Backend,
) -> None:
    backend = postgres_backend
    with_model(backend)
    one = submit(backend)
    two = while_open(
        backend,
        lambda tx: requests.end(tx, one.request.id, "cancelled", "mistake"),
        lambda: submit(backend),
    )
    assert two.job_ids != one.job_ids
    assert job_of(backend, two.job_ids[0]).state == "queued"


def test_a_request_that_meets_the_end_of_a_job_gets_a_job_of_its_own(
    postgres_backend: Backend,
) -> None:
    backend = postgres_backend
    with_model(backend)
    one = submit(backend)
    held = claimed(backend)
    advance(backend, held, ["verifying", "publishing", "destroying"])
    two = while_open(
        backend, lambda tx: holding.advance(tx, held, "succeeded"), lambda: submit(backend)
    )
    assert two.job_ids != one.job_ids


def test_a_cancellation_that_meets_a_joining_request_lets_it_be(
    postgres_backend: Backend,
) -> None:
    """The job is no longer the cancelled request's alone."""
    backend = postgres_backend
    with_model(backend)
    one = submit(backend)
    joined: list[str] = []

    def join(tx: Transaction) -> None:
        asked = Asked(NewRequest(model="digits", subject_id="subject-0"))
        book = Book(tx, backend, [asked])
        joined.append(book.enter(asked, []).request.id)
        book.store()

    def cancel() -> str:
        with backend.db.transaction() as tx:
            return requests.end(tx, one.request.id, "cancelled", "mistake").state

    assert while_open(backend, join, cancel) == "cancelled"
    job = job_of(backend, one.job_ids[0])
    assert job.state == "queued"
    with backend.db.reading() as session:
        assert jobs.request_ids(session, job.id) == joined


def test_a_claim_that_meets_a_cancellation_waits_for_nobody(postgres_backend: Backend) -> None:
    backend = postgres_backend
    with_model(backend)
    one = submit(backend)
    got = while_open(
        backend,
        lambda tx: requests.end(tx, one.request.id, "cancelled", "mistake"),
        lambda: holding.claim(backend.db, "worker-1", backend.settings),
    )
    assert got is None
    assert job_of(backend, one.job_ids[0]).state == "cancelled"


def test_a_cancellation_that_meets_a_publication_comes_too_late(
    postgres_backend: Backend,
) -> None:
    backend = postgres_backend
    model = with_model(backend)
    one = submit(backend)
    held = claimed(backend)
    advance(backend, held, ["verifying"])

    def publish(tx: Transaction) -> None:
        registry.lock_model(tx, model.id)
        holding.advance(tx, held, "publishing")

    def cancel() -> None:
        with backend.db.transaction() as tx:
            requests.end(tx, one.request.id, "cancelled", "mistake")

    assert isinstance(while_open(backend, publish, cancel), Conflict)
    assert request_of(backend, one.request.id).outcome is None


def test_a_submission_and_a_publication_take_turns(postgres_backend: Backend) -> None:
    """The new version is tainted by the request that came while it was being published."""
    backend = postgres_backend
    model = with_model(backend)
    with backend.db.transaction() as tx:
        registry.lock_model(tx, model.id)
        new = registry.add_version(tx, model, digest="b" * 64, metrics={})

    def publish(tx: Transaction) -> None:
        registry.lock_model(tx, model.id)
        registry.publish(tx, tx.session.get_one(Version, new.id))

    done = while_open(backend, publish, lambda: submit(backend))
    with backend.db.reading() as session:
        found = registry.taints(session, [v.id for v in registry.versions(session, model.id)])
    assert list(found.values()) == [[done.request.id]] * 2


def test_everything_at_once_ends_without_a_deadlock(postgres_backend: Backend) -> None:
    """Submit, claim, heartbeat, hand back, extend and cancel over two models, all overlapping."""
    backend = postgres_backend
    dataset = make_dataset(backend)
    for i in range(2):
        make_model(backend, dataset, f"model-{i}", seed=i)
    until = time.monotonic() + 4
    ids: list[str] = []

    def loop(step: Callable[[int], object]) -> int:
        n = 0
        while time.monotonic() < until:
            try:
                step(n)
            except LetheError:  # refused by name: that is an answer
                time.sleep(0.001)
            n += 1
        return n

    def post(n: int) -> None:
        ids.append(submit(backend, f"subject-{n % 3}", model=f"model-{n % 2}").request.id)

    def work(n: int) -> None:
        held = holding.claim(backend.db, f"worker-{n}", backend.settings)
        if held is not None:
            holding.heartbeat(backend.db, held, 30)
            holding.report(backend.db, held, {"step": n})
            holding.hand_back(backend.db, held, "a test")

    def stop(n: int) -> None:
        if not ids:
            time.sleep(0.001)  # spinning would leave the posters no time
        else:
            with backend.db.transaction() as tx:
                requests.end(tx, ids[n % len(ids)], "cancelled", "mistake")

    def extend(n: int) -> None:
        if not ids:
            time.sleep(0.001)
        else:
            with backend.db.transaction() as tx:
                request = requests.get(tx.session, ids[n % len(ids)])
                due = request.due_at + timedelta(seconds=1)
                requests.extend(tx, request.id, due, "complex")

    counts = at_once(*[lambda s=s: loop(s) for s in (post, post, work, work, stop, extend)])
    assert not [each for each in counts if isinstance(each, Exception)], counts
    assert all(count > 3 for count in counts), counts  # type: ignore[operator]
    settle(backend)
    with backend.db.reading() as session:
        for request in requests.listed(session, limit=10_000):
            states = {job.state for job in requests.jobs_of(session, request.id)}
            if request.state in ("scheduled", "in_progress"):
                assert states - {"cancelled"}, f"{request.id} belongs to nobody"


@pytest.mark.parametrize("decisions", ["both cancel", "cancel and reject"])
def test_of_two_decisions_on_one_request_one_wins(
    postgres_backend: Backend, decisions: str
) -> None:
    backend = postgres_backend
    with_model(backend)
    one = submit(backend)

    def end(to: str) -> str:
        with backend.db.transaction() as tx:
            return requests.end(tx, one.request.id, to, "decided").state

    second = "cancelled" if decisions == "both cancel" else "rejected"
    done = at_once(lambda: end("cancelled"), lambda: end(second))
    assert sum(isinstance(each, Conflict) for each in done) == 1
    settle(backend)


def test_two_jobs_put_the_same_person_on_the_denylist(postgres_backend: Backend) -> None:
    """Of two data sets, at once: neither job fails for the other's row."""
    backend = postgres_backend

    def deny(tx: Transaction, *hashes: str) -> None:
        datasets.deny(tx, "subject", hashes)

    def then() -> str:
        with backend.db.transaction() as tx:
            deny(tx, "d" * 64, "b" * 64, "a" * 64)
        return "denied"

    assert while_open(backend, lambda tx: deny(tx, "c" * 64, "a" * 64), then) == "denied"
    with backend.db.reading() as session:
        assert len(datasets.denied(session, [letter * 64 for letter in "abcd"])) == 4
