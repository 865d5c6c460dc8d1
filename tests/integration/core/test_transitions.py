"""Moving a record: every listed move works and is audited, every other leaves no trace."""

from __future__ import annotations

from itertools import product

import pytest
from sqlalchemy import func, select, update

from core.backend import Backend
from core.errors import Conflict, LeaseLost
from core.records import AuditEvent, ErasureRequest, Job, Taint, Version
from core.states import JOB, REQUEST, VERSION, Machine
from core.transitions import move
from tests.factories import with_model
from tests.integration.core.helpers import claimed, job_of, settle, submitted_job

KINDS: dict[type[ErasureRequest | Job | Version], Machine] = {
    ErasureRequest: REQUEST,
    Job: JOB,
    Version: VERSION,
}


def counted(backend: Backend) -> int:
    with backend.db.reading() as session:
        return session.scalar(select(func.count()).select_from(AuditEvent)) or 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_pair_of_states(backend: Backend, kind: type[ErasureRequest | Job | Version]) -> None:
    machine = KINDS[kind]
    with_model(backend)
    submitted_job(backend)
    for old, new in product(machine.moves, machine.moves):
        with backend.db.transaction() as tx:
            tx.session.execute(update(kind).values(state=old))
        before = counted(backend)
        allowed = new in machine.moves[old]
        try:
            with backend.db.transaction() as tx:
                record = tx.session.scalars(select(kind)).one()
                move(tx, record, new, reason="a test")
        except Conflict:
            assert not allowed, f"{old} -> {new} was refused"
        else:
            assert allowed, f"{old} -> {new} went through"
        with backend.db.reading() as session:
            record = session.scalars(select(kind)).one()
            last = session.scalars(select(AuditEvent).order_by(AuditEvent.seq.desc())).first()
        assert record.state == (new if allowed else old)
        assert counted(backend) == before + allowed
        if allowed:
            assert last is not None
            assert last.data == {"from": old, "to": new, "reason": "a test"}
    settle(backend)


def test_what_was_read_before_another_decided_is_refused(backend: Backend) -> None:
    with_model(backend)
    job_id = submitted_job(backend)
    stale = job_of(backend, job_id)
    claimed(backend)
    with pytest.raises(Conflict, match="changed meanwhile"), backend.db.transaction() as tx:
        move(tx, tx.session.merge(stale, load=False), "cancelled")
    assert job_of(backend, job_id).state == "running"


def test_a_fencing_number_that_moved_on_is_a_lost_lease(backend: Backend) -> None:
    with_model(backend)
    job_id = submitted_job(backend)
    held = claimed(backend)
    with pytest.raises(LeaseLost), backend.db.transaction() as tx:
        move(tx, tx.session.get_one(Job, job_id), "verifying", if_fence=held.fence - 1)
    assert job_of(backend, job_id).state == "running"


def test_every_change_of_a_job_counts_its_revision(backend: Backend) -> None:
    with_model(backend)
    job_id = submitted_job(backend)
    before = job_of(backend, job_id).revision
    claimed(backend)
    assert job_of(backend, job_id).revision == before + 1


def test_values_go_with_the_move(backend: Backend) -> None:
    with_model(backend)
    job_id = submitted_job(backend)
    with backend.db.transaction() as tx:
        job = tx.session.get_one(Job, job_id)
        move(tx, job, "cancelled", finished_at=tx.now)
        assert job.finished_at == tx.now  # the object in hand is fresh
    assert job_of(backend, job_id).finished_at is not None
    with backend.db.reading() as session:
        assert session.scalar(select(func.count()).select_from(Taint)) == 1
