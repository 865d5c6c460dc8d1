"""Requests that arrive together: one commit, each its own answer or its own refusal."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, select

from core import intake, keys
from core.backend import Backend
from core.desk import Desk
from core.errors import NotFound
from core.intake import Asked, NewRequest, Repeat, Submitted
from core.records import ErasureRequest
from tests.factories import with_model
from tests.integration.core.helpers import settle


def asked(subject: int, model: str = "digits", **more: object) -> Asked:
    return Asked(NewRequest(model=model, subject_id=f"subject-{subject}"), **more)  # type: ignore[arg-type]


def together(backend: Backend, all_asked: list[Asked]) -> tuple[list[Submitted | Exception], int]:
    """Their answers, in order, and how many transactions committed; all lie there at once."""
    desk, commits = Desk(backend), 0

    def count(_: object) -> None:
        nonlocal commits
        commits += 1

    def one(each: Asked) -> Submitted | Exception:
        try:
            return desk.submit(each)
        except Exception as error:  # noqa: BLE001  # any: the tests look at it
            return error

    with ThreadPoolExecutor(len(all_asked)) as threads:
        with desk._pen:
            pending = [threads.submit(one, each) for each in all_asked]
            until = threading.Event()
            while len(desk._lying) < len(all_asked):
                until.wait(0.005)
            event.listen(backend.db._write, "after_commit", count)
        try:
            return [each.result(60) for each in pending], commits
        finally:
            event.remove(backend.db._write, "after_commit", count)


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
        Desk(backend).submit(asked(4, model="nope"))


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
