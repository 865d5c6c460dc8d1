"""Taking erasure requests in: what is posted twice is taken in once."""

from __future__ import annotations

import pytest

from core import keys
from core.backend import Backend
from core.errors import Conflict, Invalid
from core.intake import Repeat
from core.records import ErasureRequest, Job
from tests.factories import submit, with_model
from tests.integration.core.helpers import at_once, counted, settle


def a_key(backend: Backend) -> str:
    with backend.db.transaction() as tx:
        return keys.create(tx, "tests", ["erase"])[0].id


def repeat(value: str = "once", body: str = "digest") -> Repeat:
    return Repeat(value, body, lambda request, job_ids: f"{request.id} {job_ids}")


def test_the_same_key_and_body_replays_the_answer(backend: Backend) -> None:
    with_model(backend)
    key = a_key(backend)
    first = submit(backend, key_id=key, repeat=repeat())
    again = submit(backend, key_id=key, repeat=repeat())
    assert first.replayed is None
    assert again.replayed == f"{first.request.id} {first.job_ids}"
    assert (again.request.id, again.job_ids) == (first.request.id, first.job_ids)
    assert counted(backend, ErasureRequest) == 1


def test_the_same_key_with_another_body_is_refused(backend: Backend) -> None:
    with_model(backend)
    key = a_key(backend)
    submit(backend, key_id=key, repeat=repeat())
    with pytest.raises(Conflict, match="another body"):
        submit(backend, key_id=key, repeat=repeat(body="other"))


def test_a_replay_is_answered_though_its_samples_are_gone(backend: Backend) -> None:
    model = with_model(backend)
    key = a_key(backend)
    names = ("train/00001",)
    first = submit(backend, sample_ids=names, key_id=key, repeat=repeat())
    found = backend.samples.find_sample_ids(model.dataset_id, names)
    backend.samples.delete(model.dataset_id, found.values())
    again = submit(backend, sample_ids=names, key_id=key, repeat=repeat())
    assert again.request.id == first.request.id


def test_each_api_key_has_its_own(backend: Backend) -> None:
    with_model(backend)
    made = {submit(backend, key_id=a_key(backend), repeat=repeat()).request.id for _ in range(2)}
    assert len(made) == 2


def test_a_refused_request_does_not_use_the_key_up(backend: Backend) -> None:
    with_model(backend)
    key = a_key(backend)
    with pytest.raises(Invalid):
        submit(backend, sample_ids=("none",), key_id=key, repeat=repeat())
    assert submit(backend, key_id=key, repeat=repeat()).replayed is None


def test_of_many_at_once_one_is_taken_in_and_the_others_replay_it(backend: Backend) -> None:
    with_model(backend)
    key = a_key(backend)
    done = at_once(*[lambda: submit(backend, key_id=key, repeat=repeat())] * 6)
    assert not [each for each in done if isinstance(each, Exception)]
    assert len({each.request.id for each in done}) == 1  # type: ignore[union-attr]
    assert [each.replayed for each in done].count(None) == 1  # type: ignore[union-attr]
    assert (counted(backend, ErasureRequest), counted(backend, Job)) == (1, 1)
    settle(backend)


def test_an_integrity_error_that_no_key_explains_is_not_hidden(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import IntegrityError

    with_model(backend)
    taken = submit(backend).request.id
    monkeypatch.setattr("core.book.new_id", lambda _: taken)
    with pytest.raises(IntegrityError):
        submit(backend)
