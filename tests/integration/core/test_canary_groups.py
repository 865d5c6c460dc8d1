"""Canary groups: planted with their samples, taken by one job each, checked against the chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import delete, select, update

from core import canaries, holding, registry
from core.backend import Backend
from core.canaries import Plan, subject_of
from core.errors import Invalid
from core.importing import Importer
from core.incoming import Chunk
from core.records import AuditEvent, CanaryGroup, Dataset, Job
from tests.factories import RandomSource, make_model, submit

PLAN = Plan(2, 16)


@dataclass
class Impostor(RandomSource):
    """A source with a sample that is named like a canary."""

    def chunks(self) -> Iterator[Chunk]:
        for chunk in super().chunks():
            chunk.sample_ids[0] = f"{canaries.PREFIX}0/0"
            yield chunk


@dataclass
class Interrupted(RandomSource):
    """A source that breaks off."""

    def chunks(self) -> Iterator[Chunk]:
        yield from super().chunks()
        raise OSError("the disk is gone")


def imported(backend: Backend, source: RandomSource | None = None) -> Dataset:
    importer = Importer(backend.db, backend.samples, backend.identities)
    return importer.run("people", source or RandomSource(), canary_plan=PLAN).dataset


def groups_of(backend: Backend, dataset: Dataset) -> list[CanaryGroup]:
    with backend.db.reading() as session:
        return canaries.groups_of(session, dataset.id)


def take(backend: Backend, job_id: str, dataset: Dataset) -> int | None:
    with backend.db.transaction() as tx:
        group = canaries.reserve(tx, tx.session.get_one(Job, job_id), dataset.id)
        return group and group.number


def test_the_trained_half_of_each_group_is_imported(backend: Backend) -> None:
    dataset = imported(backend)
    groups = groups_of(backend, dataset)
    assert [group.size for group in groups] == [16, 16]
    for group in groups:
        drawn = canaries.of_group(group, dataset)
        found = backend.samples.find_subject(dataset.id, [subject_of(group.number)])
        batch = backend.samples.take(dataset.id, found.keys)
        assert len(batch) == drawn.trained.sum() > 0
        assert (batch.images == drawn.images[drawn.trained]).all()
        assert (batch.labels == drawn.labels[drawn.trained]).all()
    assert backend.samples.count(dataset.id) == dataset.next_key


def test_a_group_without_heads_has_no_samples(
    sqlite_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = iter(["00" * 16, "11" * 16])
    monkeypatch.setattr("core.canaries.secrets.token_hex", lambda _: next(seeds))
    real = canaries.draw

    def tails(seed: str, *rest: object) -> canaries.Drawn:
        drawn = real(seed, *rest)  # type: ignore[arg-type]
        drawn.trained[:] = drawn.trained & (seed != "00" * 16)
        return drawn

    monkeypatch.setattr(canaries, "draw", tails)
    dataset = imported(sqlite_backend)
    found = [sqlite_backend.samples.find_subject(dataset.id, [subject_of(n)]) for n in (0, 1)]
    assert len(found[0]) == 0
    assert len(found[1]) > 0


def test_the_chain_names_every_commitment_before_anything_is_trained(backend: Backend) -> None:
    dataset = imported(backend)
    with backend.db.reading() as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.noun_id == dataset.id)).all()
    assert [event.event for event in events] == [canaries.COMMITTED, "imported"]
    committed = events[0].data["commitments"]
    assert committed == [group.commitment for group in groups_of(backend, dataset)]
    assert not any(group.seed in str(events[0].data) for group in groups_of(backend, dataset))


def test_a_failed_import_leaves_no_group(backend: Backend) -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        imported(backend, Interrupted())
    with backend.db.reading() as session:
        assert session.scalars(select(CanaryGroup)).all() == []


def test_no_sample_is_named_like_a_canary(sqlite_backend: Backend) -> None:
    with pytest.raises(Invalid, match="kept for canaries"):
        imported(sqlite_backend, Impostor())


def test_nobody_can_ask_for_a_canary(backend: Backend) -> None:
    dataset = imported(backend)
    make_model(backend, dataset)
    found = backend.samples.find_subject(dataset.id, [subject_of(0)])
    name = backend.samples.take(dataset.id, found.keys[:1]).sample_ids[0]
    assert name.startswith(canaries.PREFIX)
    with pytest.raises(Invalid, match="not in the model's data set"):
        submit(backend, sample_ids=[name])


def test_each_job_takes_a_group_of_its_own_until_none_is_left(backend: Backend) -> None:
    dataset = imported(backend)
    make_model(backend, dataset)
    first, second, third = (submit(backend, f"subject-{i}").job_ids[0] for i in range(3))
    assert take(backend, first, dataset) == 0
    assert take(backend, first, dataset) == 0  # a second attempt of the same job
    assert take(backend, second, dataset) == 1
    assert take(backend, third, dataset) is None
    with backend.db.reading() as session:
        assert canaries.counts(session) == {dataset.id: canaries.Counts(2, PLAN.size, 0)}


def test_a_job_that_ends_unpublished_gives_its_group_back(backend: Backend) -> None:
    dataset = imported(backend)
    make_model(backend, dataset)
    first, second = (submit(backend, f"subject-{i}").job_ids[0] for i in range(2))
    assert take(backend, first, dataset) == 0
    with backend.db.transaction() as tx:
        tx.session.execute(update(Job).where(Job.id == first).values(state="cancelled"))
        assert canaries.counts(tx.session)[dataset.id].left == 2
    assert take(backend, second, dataset) == 0
    with backend.db.reading() as session:
        assert canaries.counts(session)[dataset.id].left == 1
        assert canaries.of_job(session, first) is None


def test_groups_of_published_jobs_are_looked_at_again(backend: Backend) -> None:
    dataset = imported(backend)
    model = make_model(backend, dataset)
    first, second = (submit(backend, f"subject-{i}").job_ids[0] for i in range(2))
    take(backend, first, dataset)
    with backend.db.transaction() as tx:
        registry.lock_model(tx, model.id)
        tx.session.execute(update(Job).where(Job.id == first).values(published_at=tx.now))
    with backend.db.reading() as session:
        earlier = canaries.spent_before(session, session.get_one(Job, second))
        assert [group.number for group in earlier] == [0]
        assert canaries.spent_before(session, session.get_one(Job, first)) == []
    held = holding.claim(backend.db, "worker", backend.settings)
    assert held is not None


def test_what_was_not_committed_to_is_named(backend: Backend) -> None:
    dataset = imported(backend)
    group = groups_of(backend, dataset)[1]

    def wrong() -> list[str]:
        with backend.db.reading() as session:
            return canaries.broken_commitments(session)

    def change(**values: object) -> None:
        with backend.db.transaction() as tx:
            tx.session.execute(update(CanaryGroup).where(CanaryGroup.number == 1).values(**values))

    assert wrong() == []
    change(seed="f" * 32)
    assert wrong() == ["canary group 1 of data set 'people' is not the one committed to: its "
                       "coins were changed"]  # fmt: skip
    forged = canaries.commitment(1, "f" * 32, group.size)
    change(commitment=forged)
    assert "its coins were changed" in wrong()[0]
    change(seed=group.seed, commitment=group.commitment)
    with backend.db.transaction() as tx:
        tx.session.add(
            CanaryGroup(dataset_id=dataset.id, number=2, seed="0" * 32, size=8, commitment=forged)
        )
        tx.session.execute(delete(CanaryGroup).where(CanaryGroup.number == 0))
    assert wrong() == [
        "canary group 0 of data set 'people' was committed to and is missing",
        "canary group 2 of data set 'people' was never committed to",
    ]
