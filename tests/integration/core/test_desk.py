"""Requests that arrive together: one commit, each its own answer or its own refusal."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from core import intake, keys
from core.backend import Backend
from core.db import Wake
from core.desk import Desk
from core.errors import NotFound, Unavailable
from core.intake import Asked, NewRequest, Repeat, Submitted
from core.records import ErasureRequest
from tests.factories import make_dataset, make_model, with_model
from tests.integration.core.helpers import settle


def asked(subject: int, model: str = "digits", **more: object) -> Asked:
    return Asked(NewRequest(model=model, subject_id=f"subject-{subject}"), **more)  # type: ignore[arg-type]


def together(backend: Backend, all_asked: list[Asked]) -> tuple[list[Submitted | Exception], int]:
    """Their answers, in order, and how many transactions committed; all lie there at once."""
    desk, commits = Desk(backend), 0

    def count(_: object) -> None:
        nonlocal commits
        commits += 1

    pending = [desk.hand_in(each) for each in all_asked]
    event.listen(backend.db._write, "after_commit", count)
    try:
        desk.start()
        desk.close()
    finally:
        event.remove(backend.db._write, "after_commit", count)
    return [each.exception(0) or each.result(0) for each in pending], commits  # type: ignore[misc]


@pytest.fixture
def desk(backend: Backend) -> Iterator[Desk]:
    with_model(backend)
    desk = Desk(backend)
    yield desk
    if desk._writer.ident is None:
        desk.start()
    desk.close()


def kept(backend: Backend) -> set[str]:
    with backend.db.reading() as session:
        return set(session.scalars(select(ErasureRequest.id)))


def test_what_lies_there_at_once_is_committed_at_once(backend: Backend) -> None:
    with_model(backend)
    done, commits = together(backend, [asked(number) for number in range(8)])
    taken = [each for each in done if isinstance(each, Submitted)]
    assert len(taken) == 8
    assert commits == 1
    assert kept(backend) == {each.request.id for each in taken}
    assert len({job_id for each in taken for job_id in each.job_ids}) == 8
    hashes = [backend.identities.subject(f"subject-{number}").raw for number in range(8)]
    assert [each.request.subject_hash for each in taken] == hashes, "each has its own answer"
    settle(backend)


def test_no_transaction_grows_beyond_bounds(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.desk.TOGETHER", 3)
    with_model(backend)
    done, commits = together(backend, [asked(number) for number in range(8)])
    assert (len(kept(backend)), commits) == (8, 3)
    assert not [each for each in done if isinstance(each, Exception)]


def test_one_that_is_refused_takes_no_other_along(backend: Backend) -> None:
    with_model(backend)
    body = Asked(NewRequest(model="digits", sample_ids=("none/1",)))
    done, _ = together(backend, [asked(1), asked(2, model="nope"), body, asked(3)])
    assert [type(each).__name__ for each in done] == [
        "Submitted",
        "NotFound",
        "Invalid",
        "Submitted",
    ]
    assert len(kept(backend)) == 2
    with pytest.raises(NotFound, match="no model 'nope'"):
        raise done[1]


def test_one_idempotency_key_twice_at_once_is_one_request(backend: Backend) -> None:
    with_model(backend)
    with backend.db.transaction() as tx:
        key_id = keys.create(tx, "tests", ["erase"])[0].id
    repeat = Repeat("once", "digest", lambda request, job_ids: f"{request.id} {job_ids}")
    same = [asked(1, key_id=key_id, repeat=repeat) for _ in range(3)]
    done, _ = together(backend, [*same, asked(2)])
    taken = [each for each in done if isinstance(each, Submitted)]
    assert len(taken) == 4
    assert len({each.request.id for each in taken[:3]}) == 1
    assert [each.replayed is not None for each in taken].count(True) == 2
    assert len(kept(backend)) == 2


def test_what_is_not_committed_is_not_answered(
    sqlite_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_model(sqlite_backend)

    def down(*_: object) -> list[Submitted]:
        raise OSError("the disk is gone")

    monkeypatch.setattr(intake, "take_all_in", down)
    done, _ = together(sqlite_backend, [asked(1), asked(2)])
    assert [str(each) for each in done] == ["the disk is gone"] * 2
    assert kept(sqlite_backend) == set()


def test_a_database_that_is_gone_is_asked_once_for_all(
    sqlite_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def gone(_: Backend, all_asked: list[Asked], __: object) -> list[Submitted]:
        tried.append(len(all_asked))
        raise OperationalError("INSERT", {}, OSError("the server has gone"))

    monkeypatch.setattr(intake, "take_all_in", gone)
    done, _ = together(sqlite_backend, [asked(number) for number in range(5)])
    assert [type(each) for each in done] == [OperationalError] * 5
    assert tried == [5]


def test_who_has_waited_too_long_is_told_and_nothing_is_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = desk.hand_in(asked(1))
    monkeypatch.setattr("core.desk.PATIENCE_SECONDS", 0.0)
    desk.start()
    with pytest.raises(Unavailable, match="too slow"):
        late.result(30)
    assert kept(desk._backend) == set()


def test_who_has_gone_is_not_taken_in(desk: Desk) -> None:
    gone, stays = desk.hand_in(asked(1)), desk.hand_in(asked(2))
    assert gone.cancel()
    desk.start()
    taken = stays.result(30)
    assert kept(desk._backend) == {taken.request.id}


def test_a_desk_that_overflows_refuses(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.desk.MOST_LYING", 2)
    pending = [desk.hand_in(asked(number)) for number in range(2)]
    with pytest.raises(Unavailable, match="too many"):
        desk.hand_in(asked(3))
    desk.start()
    assert len({each.result(30).request.id for each in pending}) == 2


def test_a_desk_that_closes_writes_what_lies_there_and_takes_no_more(desk: Desk) -> None:
    lying = desk.hand_in(asked(1))
    desk.start()
    desk.close()
    assert kept(desk._backend) == {lying.result(0).request.id}
    with pytest.raises(Unavailable, match="stopping"):
        desk.hand_in(asked(2))


def test_nobody_waits_for_a_broker(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, stuck, woken = threading.Event(), threading.Event(), []

    def slow(job_id: str) -> None:
        begun.set()
        stuck.wait(30)
        woken.append(job_id)

    monkeypatch.setattr(desk._backend.db, "_send", slow)
    desk.start()
    jobs = [desk.hand_in(asked(0)).result(30).job_ids[0]]
    assert begun.wait(30)
    jobs += [desk.hand_in(asked(number)).result(30).job_ids[0] for number in (1, 2)]
    assert woken == []
    stuck.set()
    desk.close()
    assert woken == [jobs[0], jobs[2]], "the newest of those that waited"


def test_of_many_wake_ups_that_are_late_each_model_s_newest_is_sent(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, sent = Desk(desk._backend), []
    monkeypatch.setattr(desk._backend.db, "_send", sent.append)
    for number in range(5):
        desk._waker.wake(Wake(f"job_{number}", f"mdl_{number % 2}"))
    desk.start()
    desk.close()
    assert sorted(sent) == ["job_3", "job_4"]


def test_every_model_of_the_data_set_has_a_worker_woken(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may have workers of its own: none of its jobs waits for the sweep."""
    dataset, sent = make_dataset(backend), []
    for name in ("digits", "other"):
        make_model(backend, dataset, name=name)
    desk = Desk(backend)
    monkeypatch.setattr(backend.db, "_send", sent.append)
    handed_in = [desk.hand_in(asked(number)) for number in range(3)]
    desk.start()
    desk.close()
    newest = handed_in[-1].result(0).job_ids
    assert len(newest) == 2
    assert sorted(sent) == newest


def test_wake_ups_rest_between_and_the_first_goes_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.desk.REST_SECONDS", 3600.0)
    first, sent = threading.Event(), []

    def send(job_id: str) -> None:
        sent.append(job_id)
        first.set()

    monkeypatch.setattr(desk._backend.db, "_send", send)
    desk.start()
    jobs = [desk.hand_in(asked(1)).result(30).job_ids[0]]
    assert first.wait(30)
    jobs += [desk.hand_in(asked(number)).result(30).job_ids[0] for number in (2, 3)]
    assert sent == jobs[:1]
    desk.close()
    assert sent == [jobs[0], jobs[2]], "the end waits for no rest"
