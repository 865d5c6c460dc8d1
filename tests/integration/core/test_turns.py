"""Turns on the records: fair shares, classes, memory, due dates that press; cheap when thousands
wait."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from core import claims, deadlines, figures, holding, registry, workers
from core.backend import Backend, open_backend
from core.db import database_now
from core.demands import Offer
from core.holding import Held
from core.queue import QUEUE, queue_of
from core.records import Job, Share
from tests.factories import make_dataset, make_model, other, submit, with_model
from tests.integration.core.helpers import advance, set_job
from tests.integration.core.test_queue import received

SMALL = {"kind": "mlp", "input_shape": [1, 8, 8], "hidden": 16, "latent": 8}
LARGE = {"kind": "resnet18", "input_shape": [3, 32, 32], "hidden": 512, "latent": 147}


def models(backend: Backend, **architectures: dict[str, Any]) -> None:
    """Models of one data set that serve nothing yet but for the one asked for."""
    dataset = make_dataset(backend)
    for seed, (name, architecture) in enumerate(architectures.items()):
        make_model(backend, dataset, name, seed=seed)
        change(backend, name, architecture=architecture)


def change(backend: Backend, name: str, **values: Any) -> None:
    with backend.db.transaction() as tx:
        model = registry.model_named(tx.session, name)
        for column, value in values.items():
            setattr(model, column, value)


def next_model(backend: Backend, offer: Offer | None = None) -> str | None:
    """The model whose job a worker takes now; the job ends at once."""
    held = claim(backend, offer)
    if held is None:
        return None
    with backend.db.reading() as session:
        name = next(m.name for m in registry.models(session) if m.id == held.model_id)
    advance(backend, held, ["verifying", "publishing", "destroying", "succeeded"])
    return name


def claim(backend: Backend, offer: Offer | None = None) -> Held | None:
    return holding.claim(backend.db, "worker-1", backend.settings, offer or Offer())


def test_a_busy_model_lets_others_pass_until_due_dates_press(backend: Backend) -> None:
    models(backend, busy=SMALL, quiet=SMALL)
    for number in range(3):
        submit(backend, f"subject-{number}", model="busy")
    with backend.db.transaction() as tx:
        quiet = registry.model_named(tx.session, "quiet").id
        kept = tx.session.scalars(
            sa.select(Job.id).where(Job.model_id == quiet).order_by(Job.id.desc())
        ).first()
        drop = sa.update(Job).where(Job.model_id == quiet, Job.id != kept)
        tx.session.execute(drop.values(state="failed"))
    assert [next_model(backend) for _ in range(2)] == ["busy", "quiet"]
    submit(backend, "subject-9", model="busy")
    with backend.db.reading() as session:
        soon = database_now(session) + timedelta(seconds=30)
        job = session.scalars(sa.select(Job).where(Job.state == "queued", Job.model_id != quiet))
        pressing = max(each.id for each in job)
        assert claims.pressing(session, database_now(session)) == 0
    set_job(backend, pressing, due_at=soon)
    held = claim(backend)
    assert held is not None
    assert held.job_id == pressing, "although it is the turn of the quiet one"
    set_job(backend, pressing, state="queued")
    with backend.db.reading() as session:
        assert claims.pressing(session, database_now(session)) == 1
        words = figures.standing(session).warnings()
    assert any(
        "1 queued job is due before all that is queued may be done" in each for each in words
    )


def test_tenants_share_and_not_models(sqlite_backend: Backend) -> None:
    backend = sqlite_backend
    models(backend, a1=SMALL, a2=SMALL, b=SMALL)
    for name in ("a1", "a2"):
        change(backend, name, policy={"scheduling": {"tenant": "acme"}})
    for number in range(4):
        submit(backend, f"subject-{number}", model="b")
    turns = [next_model(backend) for _ in range(6)]
    assert turns.count("b") == 3, turns
    with backend.db.reading() as session:
        finish = dict(session.execute(sa.select(Share.tenant, Share.finish)).all())
    assert finish["acme"] == 3 * 60.0
    assert finish[claims.VIRTUAL] == 120.0


def test_a_worker_takes_its_classes_and_what_fits(backend: Backend) -> None:
    models(backend, little=SMALL, large=LARGE)
    submit(backend, model="little")
    assert next_model(backend, Offer(frozenset({"none"}))) is None
    assert next_model(backend, Offer(frozenset({"gpu"}), memory_mb=1000)) is None
    assert next_model(backend, Offer(frozenset({"gpu", "none"}), memory_mb=20_000)) == "large"
    submit(backend, "subject-1", model="large")
    change(backend, "large", costs={"memory_mb": 900}, policy={"scheduling": {"class": "own"}})
    assert next_model(backend, Offer(frozenset({"own"}), memory_mb=1000)) == "large"
    assert next_model(backend, Offer(memory_mb=600)) == "little"


def test_what_no_live_worker_takes_is_said(sqlite_backend: Backend) -> None:
    backend = sqlite_backend
    models(backend, little=SMALL, large=LARGE)
    submit(backend, model="little")

    def said() -> list[str]:
        with backend.db.reading() as session:
            return figures.standing(session).warnings()

    assert [each[:20] for each in said()] == ["no worker is running"]
    workers.beat(backend.db, "a:1", 30, Offer(frozenset({"small"})))
    (words,) = said()
    assert words.startswith("1 queued job is of class 'gpu', which no live worker serves")
    workers.beat(backend.db, "b:1", 30, Offer(None, 700))
    (words,) = said()
    assert "MB, more than any live worker of their class has" in words
    with backend.db.reading() as session:
        assert workers.fleet(session) == Offer(None, None)
    workers.beat(backend.db, "b:1", 30, Offer(frozenset({"gpu"}), 20_000))
    workers.beat(backend.db, "a:1", 30, Offer(frozenset({"small"}), 500))
    with backend.db.reading() as session:
        assert workers.fleet(session) == Offer(frozenset({"gpu", "small"}), 20_000)
    workers.beat(backend.db, "a:1", 30, Offer(frozenset({"small"}), 5000))
    assert said() == []


def test_a_wake_up_goes_where_it_is_heard(sqlite_backend: Backend) -> None:
    backend = open_backend(sqlite_backend.settings)
    with_model(backend)
    change(backend, "digits", policy={"scheduling": {"class": "own"}})
    (job_id,) = submit(backend).job_ids
    assert received(backend.settings) == [("lethe.work", [job_id])], "nobody is alive: all may hear"

    def heard() -> list[str]:
        with backend.db.reading() as session:
            return claims.queues(session, job_id)

    workers.beat(backend.db, "a:1", 30, Offer(frozenset({"own", "small"})))
    assert heard() == [queue_of("own")]
    backend.db.wake(job_id)
    assert received(backend.settings) == []
    assert received(backend.settings, queue_of("own")) == [("lethe.work", [job_id])]
    workers.beat(backend.db, "b:1", 30)
    assert heard() == [QUEUE, queue_of("own")]
    workers.beat(backend.db, "a:1", -1, Offer(frozenset({"own"})))
    assert heard() == [QUEUE]
    backend.close()


def test_a_full_job_waits_no_longer_and_none_gathers_past_half_its_time(
    sqlite_backend: Backend,
) -> None:
    backend = sqlite_backend
    full = Backend(**vars(backend) | {"settings": other(
        backend.settings, batch_seconds=90 * 86_400, batch_requests=2
    )})  # fmt: skip
    with_model(full)
    (first,) = submit(full).job_ids
    with full.db.reading() as session:
        job = session.get_one(Job, first)
        waits, there_is = job.not_before - job.queued_at, job.due_at - job.queued_at
    assert abs(waits - there_is / 2) < timedelta(seconds=5)
    assert claim(full) is None
    assert submit(full, "subject-1").job_ids == [first]
    held = claim(full)
    assert held is not None
    assert held.job_id == first
    assert submit(full, "subject-2").job_ids != [first]


def test_a_window_that_leaves_no_time_is_warned_of() -> None:
    assert deadlines.gathers_too_long(86_400.0) is None
    assert "LETHE_BATCH_SECONDS=1.3e+06 is longer" in str(deadlines.gathers_too_long(1.3e6))


def test_a_claim_stays_cheap_with_ten_thousand_queued(postgres_backend: Backend) -> None:
    """What is read is an index of the queue, and one row of each model: never every job."""
    backend = postgres_backend
    with_model(backend)
    (job_id,) = submit(backend).job_ids
    copied = ", ".join(
        column.name for column in Job.__table__.columns if column.name not in ("id", "due_at")
    )
    with backend.db.engine.begin() as connection:
        connection.execute(
            sa.text(
                f"INSERT INTO jobs (id, due_at, {copied}) SELECT 'job_' || n, "
                f"due_at + n * interval '1 second', {copied} FROM jobs, generate_series(1, 10000) n"
            )
        )
        connection.execute(sa.text("ANALYZE jobs"))
    plans: list[str] = []

    @sa.event.listens_for(backend.db.engine, "before_cursor_execute")
    def explain(
        connection: Any, cursor: Any, statement: str, values: Any, context: Any, many: bool
    ) -> None:
        if statement.startswith("SELECT") and "jobs" in statement and "FOR UPDATE" not in statement:
            cursor.execute("EXPLAIN " + statement, values)
            plans.append("\n".join(row[0] for row in cursor.fetchall()))

    with backend.db.reading() as session:
        in_order = claims.found(session, database_now(session)).in_order
    sa.event.remove(backend.db.engine, "before_cursor_execute", explain)
    assert [each.job_id for each in in_order] == [job_id]
    assert len(plans) >= 4
    heads = [plan for plan in plans if "Limit" in plan]
    assert heads
    assert all("ix_jobs_queued" in plan and "Sort" not in plan for plan in heads), heads
    held = claim(backend)
    assert held is not None
    assert held.job_id == job_id
    assert claim(backend) is None


@pytest.mark.parametrize("given", [None, {"scheduling": {"tenant": "x", "weight": 2}}])
def test_shares_last_as_tags_only_grow(sqlite_backend: Backend, given: Any) -> None:
    with_model(sqlite_backend)
    change(sqlite_backend, "digits", policy=given or {}, costs={"erase": 8.0})
    tenant = "x" if given else claims_tenant(sqlite_backend)
    finishes = []
    for number in range(3):
        submit(sqlite_backend, f"subject-{number}")
        assert next_model(sqlite_backend) == "digits"
        with sqlite_backend.db.reading() as session:
            finishes.append(session.get_one(Share, tenant).finish)
    assert finishes == ([4.0, 8.0, 12.0] if given else [8.0, 16.0, 24.0])


def claims_tenant(backend: Backend) -> str:
    with backend.db.reading() as session:
        return registry.model_named(session, "digits").id
