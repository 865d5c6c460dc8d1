"""Claims: soonest due first, one job a model, taken over when the holder goes silent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Lock

import pytest
from sqlalchemy import select

from core import holding
from core.backend import Backend
from core.errors import LeaseLost
from core.holding import Held
from core.records import Job
from core.states import JOB_HELD
from tests.factories import make_dataset, make_model, submit, with_model
from tests.integration.core.helpers import (
    advance,
    at_once,
    claimed,
    events_of,
    expire,
    job_of,
    request_of,
    set_job,
    settle,
    submitted_job,
)


def try_claim(backend: Backend, owner: str = "worker-2") -> Held | None:
    return holding.claim(backend.db, owner, backend.settings)


def test_nothing_to_claim(backend: Backend) -> None:
    assert try_claim(backend) is None


def test_a_claim_starts_the_job_and_its_requests(backend: Backend) -> None:
    with_model(backend)
    done = submit(backend)
    held = claimed(backend)
    job = job_of(backend, held.job_id)
    assert (held.state, held.fence, held.owner) == ("running", 1, "worker-1")
    assert (job.state, job.owner, job.fence, job.takeovers) == ("running", "worker-1", 1, 0)
    assert job.lease_until is not None
    assert job.started_at is not None
    assert job.lease_until - job.started_at == timedelta(seconds=backend.settings.lease_seconds)
    assert request_of(backend, done.request.id).state == "in_progress"


def test_the_soonest_due_is_claimed_first(backend: Backend) -> None:
    dataset = make_dataset(backend)
    for i in range(4):
        make_model(backend, dataset, f"model-{i}", seed=i)
    ids = submit(backend, model="model-0").job_ids
    days = dict(zip(ids, [3, 1, 4, 2], strict=True))
    for job_id, day in days.items():
        set_job(backend, job_id, due_at=datetime(2026, 1, day, tzinfo=UTC))
    assert holding.claimable(backend.db) == sorted(ids, key=days.__getitem__)
    assert holding.claimable(backend.db, limit=1) == [min(ids, key=days.__getitem__)]
    order = [claimed(backend, f"worker-{i}").job_id for i in range(4)]
    assert order == sorted(ids, key=days.__getitem__)


def test_one_job_a_model_is_held(backend: Backend) -> None:
    with_model(backend)
    first, second = (submitted_job(backend, f"subject-{i}") for i in range(2))
    held = claimed(backend)
    assert held.job_id == first
    assert try_claim(backend) is None
    advance(backend, held, ["verifying", "publishing", "destroying", "succeeded"])
    assert claimed(backend).job_id == second


def test_a_job_waits_for_its_moment(backend: Backend) -> None:
    with_model(backend)
    job_id = submitted_job(backend)
    set_job(backend, job_id, not_before=datetime.now(UTC) + timedelta(hours=1))
    assert try_claim(backend) is None
    assert holding.claimable(backend.db) == []


@pytest.mark.parametrize("state", JOB_HELD)
def test_a_silent_holder_is_replaced_under_a_larger_fence(backend: Backend, state: str) -> None:
    with_model(backend)
    submitted_job(backend)
    old = claimed(backend)
    advance(backend, old, JOB_HELD[1 : JOB_HELD.index(state) + 1])
    assert try_claim(backend) is None, "its lease still holds"
    expire(backend, old)
    assert holding.claimable(backend.db) == [old.job_id]
    new = claimed(backend, "worker-2")
    assert (new.job_id, new.state, new.fence) == (old.job_id, state, old.fence + 1)
    assert job_of(backend, old.job_id).takeovers == 1
    assert "taken over" in events_of(backend, "job", old.job_id)


@pytest.mark.parametrize("owner", ["worker-2", "worker-1"])
def test_the_old_holder_wakes_up_and_can_write_nothing(backend: Backend, owner: str) -> None:
    """Nor can it when the new holder is another thread of the same worker."""
    with_model(backend)
    submitted_job(backend)
    old = claimed(backend)
    expire(backend, old)
    claimed(backend, owner)
    before = vars(job_of(backend, old.job_id)).copy()
    writes = [
        lambda: holding.heartbeat(backend.db, old, 60),
        lambda: holding.report(backend.db, old, {"phase": "mine"}),
        lambda: advance(backend, old, ["verifying"]),
        lambda: holding.hand_back(backend.db, old, "stopping"),
        lambda: holding.fail(backend.db, old, "no memory", backend.settings),
    ]
    for write in writes:
        with pytest.raises(LeaseLost, match="held by another"):
            write()
    after = vars(job_of(backend, old.job_id)).copy()
    assert {k: v for k, v in after.items() if k[0] != "_"} == {
        k: v for k, v in before.items() if k[0] != "_"
    }


def test_a_holder_that_was_late_but_not_replaced_goes_on(backend: Backend) -> None:
    with_model(backend)
    submitted_job(backend)
    held = claimed(backend)
    expire(backend, held)
    assert holding.heartbeat(backend.db, held, 60) is False
    assert try_claim(backend) is None


def test_a_job_that_fells_every_worker_is_given_to_a_person(backend: Backend) -> None:
    backend.settings.max_takeovers = 2
    with_model(backend)
    done = submit(backend)
    next_job = submitted_job(backend, "subject-1")
    for n in range(3):
        held = claimed(backend, f"worker-{n}")
        assert held.job_id == done.job_ids[0]
        expire(backend, held)
    assert claimed(backend, "worker-9").job_id == next_job, "the claimer gets the next one"
    job = job_of(backend, done.job_ids[0])
    assert (job.state, job.owner) == ("needs_review", None)
    assert job.error == "3 workers were lost while they ran this job"
    assert request_of(backend, done.request.id).state == "needs_review"
    settle(backend)


def test_of_claimers_at_once_none_gets_the_same_job_or_two_of_a_model(backend: Backend) -> None:
    dataset = make_dataset(backend)
    models = [make_model(backend, dataset, f"model-{i}", seed=i).id for i in range(3)]
    for i in range(3):
        submit(backend, f"subject-{i}", model="model-0")
    got = at_once(*[lambda i=i: try_claim(backend, f"worker-{i}") for i in range(8)])
    assert not [each for each in got if isinstance(each, Exception)]
    held = [each for each in got if isinstance(each, Held)]
    assert len({each.job_id for each in held}) == len(held)
    assert sorted(each.model_id for each in held) == sorted(models)
    with backend.db.reading() as session:
        owners = dict(
            session.execute(select(Job.id, Job.owner).where(Job.state.in_(JOB_HELD))).all()
        )
    assert owners == {each.job_id: each.owner for each in held}
    settle(backend)


def test_workers_at_once_run_every_job_exactly_once(backend: Backend) -> None:
    dataset = make_dataset(backend)
    for i in range(2):
        make_model(backend, dataset, f"model-{i}", seed=i)
    wanted = {j for i in range(6) for j in submit(backend, f"subject-{i}", model="model-0").job_ids}
    ran: list[str] = []
    running: set[str] = set()
    lock = Lock()

    def work(owner: str) -> None:
        misses = 0
        while misses < 20:
            held = try_claim(backend, owner)
            if held is None:
                misses += 1
                continue
            with lock:
                assert held.model_id not in running
                running.add(held.model_id)
                ran.append(held.job_id)
            advance(backend, held, ["verifying", "publishing"])
            with lock:
                running.discard(held.model_id)
            advance(backend, held, ["destroying", "succeeded"])

    failures = at_once(*[lambda i=i: work(f"worker-{i}") for i in range(4)])
    assert failures == [None] * 4
    while (held := try_claim(backend, "last")) is not None:  # all gave up at once: finish it
        ran.append(held.job_id)
        advance(backend, held, ["verifying", "publishing", "destroying", "succeeded"])
    assert sorted(ran) == sorted(wanted)
    settle(backend)


def test_a_loser_of_the_index_tries_again(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What PostgreSQL does when two claim two jobs of one model, made to happen every time."""
    with_model(backend)
    submitted_job(backend)
    from sqlalchemy.exc import IntegrityError

    real, tries = holding._claim, []

    def lose(*args: object) -> Held | None:
        tries.append(1)
        if len(tries) < 3:
            raise IntegrityError("UPDATE jobs", None, Exception("uq_jobs_held"))
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(holding, "_claim", lose)
    assert claimed(backend).fence == 1
    tries.clear()
    monkeypatch.setattr(holding, "_claim", lambda *a: lose(tries.clear()))
    assert try_claim(backend) is None
