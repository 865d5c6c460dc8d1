"""Random walks through the real use cases: whatever happens, in any order, nothing is lost."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)
from sqlalchemy import select

from core import audit, holding, jobs, registry, requests
from core.backend import open_backend
from core.db import Database, Transaction
from core.errors import CancelRequested, Conflict, Invalid, LeaseLost
from core.holding import Held
from core.migrate import upgrade
from core.records import ErasureRequest, Job, Version
from core.settings import Settings
from core.states import JOB_HELD, JOB_STOPPABLE, REQUEST, REQUEST_OPEN
from core.transitions import move
from tests.factories import make_dataset, make_model, submit
from tests.integration.core.helpers import expire, job_of, set_job

SECRET = "sixteen characters"
LEASE = 3600.0
"""Seconds: a lease ends where a walk lets it end, not where the machine is slow."""
AFTER = {**dict(pairwise(JOB_HELD)), "destroying": "succeeded"}


@pytest.fixture(scope="module", autouse=True)
def _template(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A home with a migrated database, a data set and two models that serve."""
    Walk.template = tmp_path_factory.mktemp("walk")
    backend = open_backend(Settings(home=Walk.template, secret=SECRET))
    upgrade(backend.db)
    dataset = make_dataset(backend)
    for i in range(2):
        make_model(backend, dataset, f"model-{i}", seed=i)
    backend.close()


def retry(tx: Transaction, job_id: str, _: str) -> Job:
    """In the form of the other decisions."""
    return jobs.retry(tx, job_id)


def complete(tx: Transaction, job: Job) -> None:
    """As the worker does: a request is completed by the last of its jobs."""
    for request in jobs.requests_of(tx.session, job.id):
        if all(each.state == "succeeded" for each in requests.jobs_of(tx.session, request.id)):
            move(tx, request, "completed", outcome="erased", completed_at=tx.now)


class Walk(RuleBasedStateMachine):
    """Two models, three people, and everyone who may decide something."""

    template: ClassVar[Path]
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="lethe-walk-")) / "home"
        shutil.copytree(self.template, self.home)
        config = Settings(home=self.home, secret=SECRET, max_takeovers=2, lease_seconds=LEASE)
        self.backend = open_backend(config, send=lambda _: None)
        self.db: Database = self.backend.db
        self.claims = 0
        self.fences: dict[str, int] = {}

    def teardown(self) -> None:
        with self.db.reading() as session:
            report = audit.verify_chain(session)
        self.backend.close()
        shutil.rmtree(self.home.parent)
        assert report.broken_at is None

    def _job(self, n: int) -> str | None:
        with self.db.reading() as session:
            ids = session.scalars(select(Job.id).order_by(Job.id)).all()
        return ids[n % len(ids)] if ids else None

    def _request(self, n: int) -> str | None:
        with self.db.reading() as session:
            ids = session.scalars(select(ErasureRequest.id).order_by(ErasureRequest.id)).all()
        return ids[n % len(ids)] if ids else None

    # People

    @rule(person=st.integers(0, 2), model=st.integers(0, 1))
    def post(self, person: int, model: int) -> None:
        submit(self.backend, f"subject-{person}", model=f"model-{model}")

    @rule(n=st.integers(0, 20), to=st.sampled_from(["cancelled", "rejected"]))
    def end(self, n: int, to: str) -> None:
        request_id = self._request(n)
        if request_id is None:
            return
        try:
            with self.db.transaction() as tx:
                requests.end(tx, request_id, to, "decided")
        except Conflict:
            return

    @rule(
        n=st.integers(0, 20),
        decision=st.sampled_from([retry, jobs.approve, jobs.reject, requests.cancel_job]),
    )
    def decide(self, n: int, decision: Callable[[Transaction, str, str], Job]) -> None:
        job_id = self._job(n)
        if job_id is None:
            return
        try:
            with self.db.transaction() as tx:
                decision(tx, job_id, "decided")
        except Conflict:
            return

    @rule(n=st.integers(0, 20), days=st.integers(0, 100))
    def extend(self, n: int, days: int) -> None:
        request_id = self._request(n)
        if request_id is None:
            return
        try:
            with self.db.transaction() as tx:
                requests.extend(tx, request_id, tx.now + timedelta(days=days), "decided")
        except (Conflict, Invalid):
            return

    # Workers

    @contextmanager
    def _as(self, held: Held) -> Iterator[None]:
        """What a worker does with a job: refused, and without a trace, once another has it."""
        before = job_of(self.backend, held.job_id)
        mine = (before.fence, before.owner) == (held.fence, held.owner)
        try:
            yield
        except LeaseLost:
            after = job_of(self.backend, held.job_id)
            assert after.revision == before.revision
            assert after.lease_until == before.lease_until
            assert not mine or before.state not in JOB_HELD, "it was refused its own job"
        else:
            assert mine, "a holder that was fenced out has written"

    @rule(held=held, what=st.sampled_from(["beat", "report"]))
    def live(self, held: Held, what: str) -> None:
        with self._as(held):
            if what == "beat":
                holding.heartbeat(self.db, held, LEASE)
            else:
                holding.report(self.db, held, {"phase": "unlearning"})

    @rule(target=held)
    def claim(self) -> Held:
        self.claims += 1
        got = holding.claim(self.db, f"worker-{self.claims}", self.backend.settings)
        return multiple() if got is None else got  # type: ignore[return-value]

    @rule(held=held)
    def step(self, held: Held) -> None:
        """As a worker does: the next state, or the end of a cancelled job."""
        try:
            with self._as(held), self.db.transaction() as tx:
                job = holding.check(tx, held)
                to = AFTER[job.state]
                values: dict[str, Any] = {
                    "verifying": {"candidate": {"digest": "c"}},
                    "destroying": {"published_at": tx.now},
                }.get(to, {})
                job = holding.advance(tx, held, to, **values)
                if to == "succeeded":
                    complete(tx, job)
        except CancelRequested:
            self.cancel(held)

    @rule(held=held)
    def cancel(self, held: Held) -> None:
        """A worker sees that its job was cancelled."""
        try:
            with self.db.transaction() as tx:
                job = holding.check(tx, held)
                if not (job.cancel_requested and job.state in JOB_STOPPABLE):
                    return
                holding.advance(tx, held, "cancelled", owner=None, lease_until=None)
                for request in jobs.requests_of(tx.session, job.id):
                    done = {each.state for each in requests.jobs_of(tx.session, request.id)}
                    if done <= {"cancelled", "failed"} and request.state in REQUEST_OPEN:
                        requests.finish(tx, request, request.outcome or "cancelled", "decided")
        except LeaseLost:
            return

    @rule(held=consumes(held), retry=st.booleans())
    def fail(self, held: Held, retry: bool) -> None:
        with self._as(held):
            holding.fail(self.db, held, "fault", self.backend.settings, retry=retry)
        if job_of(self.backend, held.job_id).state == "queued":
            set_job(self.backend, held.job_id, not_before=datetime(2026, 1, 1, tzinfo=UTC))

    @rule(held=consumes(held))
    def hand_back(self, held: Held) -> None:
        with self._as(held):
            holding.hand_back(self.db, held, "stopping")

    @rule(target=held, held=held, overtaken=st.booleans())
    def fall_silent(self, held: Held, overtaken: bool) -> Held:
        """Paused past its lease: it stays in the bundle, and may wake up."""
        job = job_of(self.backend, held.job_id)
        if job.fence != held.fence or job.state not in JOB_HELD:
            return multiple()  # type: ignore[return-value]
        expire(self.backend, held)
        return self.claim() if overtaken else multiple()  # type: ignore[return-value]

    # What must always be so

    @invariant()
    def one_job_a_model_is_held_and_one_version_serves(self) -> None:
        with self.db.reading() as session:
            busy = session.scalars(select(Job.model_id).where(Job.state.in_(JOB_HELD))).all()
            serve = session.scalars(
                select(Version.model_id).where(Version.state == "serving")
            ).all()
        assert len(set(busy)) == len(busy)
        assert len(set(serve)) == len(serve) == 2

    @invariant()
    def a_fence_only_grows(self) -> None:
        with self.db.reading() as session:
            now = dict(session.execute(select(Job.id, Job.fence)).all())
        assert all(now[job_id] >= fence for job_id, fence in self.fences.items())
        self.fences = now

    @invariant()
    def what_was_accepted_ends_once(self) -> None:
        with self.db.reading() as session:
            for request in requests.listed(session, limit=1000):
                history = audit.history(session, "erasure_request", request.id)
                ends = Counter(
                    event.data["to"]
                    for event in history
                    if event.event == "moved" and event.data["to"] in REQUEST.final
                )
                assert ends == Counter({request.state} & REQUEST.final), ends

    @invariant()
    def nobody_is_forgotten_about(self) -> None:
        """An open request has a job that runs, will run, or waits for a person."""
        with self.db.reading() as session:
            for request in requests.listed(session, limit=1000):
                states = {job.state for job in requests.jobs_of(session, request.id)}
                if request.state not in REQUEST_OPEN:
                    continue
                alive = states & {"queued", *JOB_HELD, "needs_review", "failed"}
                assert alive, f"{request.id} is {request.state}, its jobs {states}"
                if request.outcome is not None:
                    continue  # it is being ended: its jobs were asked to stop
                if alive & {"needs_review", "failed"}:
                    assert request.state == "needs_review", states
                elif states & {*JOB_HELD, "succeeded"}:
                    assert request.state == "in_progress", states
                else:
                    assert request.state == "scheduled", states

    @invariant()
    def what_has_ended_is_remembered_by_no_taint(self) -> None:
        with self.db.reading() as session:
            ids = session.scalars(select(Version.id)).all()
            named = {r for each in registry.taints(session, ids).values() for r in each}
            for request_id in named:
                state = requests.get(session, request_id).state
                assert state in (*REQUEST_OPEN, "completed"), state


def walks(count: int) -> settings:
    return settings(
        max_examples=count,
        stateful_step_count=30,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # too short to need shrinking
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.timeout(300)
class TestWalk(Walk.TestCase):  # type: ignore[misc, name-defined]  # made by Hypothesis
    """Few walks."""

    settings = walks(10)


@pytest.mark.long
@pytest.mark.timeout(1200)
class TestManyWalks(Walk.TestCase):  # type: ignore[misc, name-defined]
    """Many."""

    settings = walks(60)
