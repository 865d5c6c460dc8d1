"""Legal holds: what is held is not erased, whichever way it is asked for, until it is released."""

from __future__ import annotations

from typing import Any

import pytest

from core import holds, intake, requests
from core.backend import Backend
from core.errors import Conflict, Invalid, NotFound
from core.intake import Asked, NewRequest
from core.records import ErasureRequest, LegalHold
from tests.factories import make_dataset, make_model, submit, with_model
from tests.integration.core.helpers import claimed, events_of, request_of

OF_ANNA = ("train/00000", "train/00001")
"""The samples of subject-0."""


def place(backend: Backend, **what: Any) -> LegalHold:
    new = holds.NewHold(model="digits", reason="case 3 O 17/26", **what)
    return holds.place(backend, new, key_id="key_a")


def release(backend: Backend, hold: LegalHold) -> None:
    with backend.db.transaction() as tx:
        holds.release(tx, hold.id, "judgment is final")


def refused(backend: Backend, request: ErasureRequest, hold: LegalHold) -> None:
    found = request_of(backend, request.id)
    assert (found.state, found.outcome, found.refusal) == ("rejected", "rejected", "legal_hold")
    assert found.reason == f"legal hold {hold.id} covers what this request names"
    assert found.completed_at is not None
    assert events_of(backend, "erasure_request", request.id)[-2] == "refused"


WAYS: list[dict[str, Any]] = [
    {"subject_id": "subject-0"},
    {"sample_ids": ("train/00000",)},
    {"sample_ids": ("train/00007", "train/00001")},
]


@pytest.mark.parametrize("held", [{"subject_id": "subject-0"}, {"sample_ids": OF_ANNA}])
def test_what_is_held_cannot_be_erased_until_it_is_released(
    backend: Backend, held: dict[str, Any]
) -> None:
    with_model(backend)
    hold = place(backend, **held)
    assert (hold.sample_count, hold.key_id) == (2, "key_a")
    for way in WAYS:
        done = submit(backend, **way)
        assert done.job_ids == []
        refused(backend, done.request, hold)
    assert submit(backend, "subject-1").request.state == "scheduled"
    assert submit(backend, sample_ids=("train/00009",)).request.state == "scheduled"
    release(backend, hold)
    for way in WAYS:
        assert submit(backend, **way).request.state == "scheduled"
    assert events_of(backend, "legal_hold", hold.id) == ["placed", "released"]


def test_one_sample_held_holds_its_subject_and_no_other_sample(sqlite_backend: Backend) -> None:
    with_model(sqlite_backend)
    hold = place(sqlite_backend, sample_ids=("train/00000",))
    refused(sqlite_backend, submit(sqlite_backend, "subject-0").request, hold)
    assert submit(sqlite_backend, sample_ids=("train/00001",)).request.state == "scheduled"


def test_those_that_come_together_are_each_looked_at(sqlite_backend: Backend) -> None:
    with_model(sqlite_backend)
    hold = place(sqlite_backend, subject_id="subject-0")
    asked = [
        Asked(NewRequest(model="digits", **each))
        for each in ({"subject_id": "subject-1"}, *WAYS, {"sample_ids": ("train/00009",)})
    ]
    done = intake.take_all_in(sqlite_backend, asked)
    states = [request_of(sqlite_backend, each.request.id).state for each in done]
    assert states == ["scheduled", "rejected", "rejected", "rejected", "scheduled"]
    refused(sqlite_backend, done[2].request, hold)


@pytest.mark.parametrize("held", [{"subject_id": "subject-0"}, {"sample_ids": OF_ANNA[:1]}])
@pytest.mark.parametrize("asked", [{"subject_id": "subject-0"}, {"sample_ids": OF_ANNA}])
def test_open_requests_are_refused_when_a_hold_is_placed(
    sqlite_backend: Backend, held: dict[str, Any], asked: dict[str, Any]
) -> None:
    with_model(sqlite_backend)
    mine, other = submit(sqlite_backend, **asked), submit(sqlite_backend, "subject-1")
    hold = place(sqlite_backend, **held)
    refused(sqlite_backend, mine.request, hold)
    with sqlite_backend.db.reading() as session:
        assert [job.state for job in requests.jobs_of(session, mine.request.id)] == ["cancelled"]
    assert request_of(sqlite_backend, other.request.id).state == "scheduled"


def test_one_that_runs_is_stopped_and_one_that_is_past_stopping_is_told(
    sqlite_backend: Backend,
) -> None:
    with_model(sqlite_backend)
    mine = submit(sqlite_backend, "subject-0")
    held = claimed(sqlite_backend)
    with sqlite_backend.db.transaction() as tx:
        [job] = requests.jobs_of(tx.session, mine.request.id)
        job.state = "publishing"
    with pytest.raises(Conflict, match="can no longer be stopped"):
        place(sqlite_backend, subject_id="subject-0")
    with sqlite_backend.db.transaction() as tx:
        assert holds.listed(tx.session) == []
        [job] = requests.jobs_of(tx.session, mine.request.id)
        assert job.id == held.job_id
        job.state = "running"
    place(sqlite_backend, subject_id="subject-0")
    found = request_of(sqlite_backend, mine.request.id)
    assert (found.outcome, found.refusal) == ("rejected", "legal_hold"), "at its next step"


def test_a_person_without_samples_can_be_held(sqlite_backend: Backend) -> None:
    with_model(sqlite_backend)
    hold = place(sqlite_backend, subject_id="subject-999")
    assert (hold.sample_count, hold.subject_id) == (0, None)
    refused(sqlite_backend, submit(sqlite_backend, "subject-999").request, hold)


def test_a_hold_is_on_the_data_set_and_on_no_other(sqlite_backend: Backend) -> None:
    with_model(sqlite_backend)
    make_model(sqlite_backend, make_dataset(sqlite_backend, "texts"), "letters")
    place(sqlite_backend, subject_id="subject-0")
    assert submit(sqlite_backend, "subject-0", model="letters").request.state == "scheduled"


def test_what_no_hold_can_be(sqlite_backend: Backend) -> None:
    model = with_model(sqlite_backend)
    with pytest.raises(Invalid, match="either subject_id or sample_ids"):
        place(sqlite_backend)
    with pytest.raises(Invalid, match="1 samples are not") as caught:
        place(sqlite_backend, sample_ids=("train/00000", "none/1"))
    assert caught.value.details == [{"where": "sample_ids", "message": "unknown: none/1"}]
    hold = place(sqlite_backend, subject_id="subject-0")
    with sqlite_backend.db.transaction() as tx:
        with pytest.raises(NotFound):
            holds.release(tx, hold.id, "x", only="another")
        holds.release(tx, hold.id, "x", only=model.id)
        with pytest.raises(Conflict, match="released already"):
            holds.release(tx, hold.id, "x")


def test_holds_are_listed_by_the_page(sqlite_backend: Backend) -> None:
    model = with_model(sqlite_backend)
    ids = [place(sqlite_backend, subject_id=f"subject-{n}").id for n in range(3)]
    with sqlite_backend.db.transaction() as tx:
        holds.release(tx, ids[1], "x")
    with sqlite_backend.db.reading() as session:
        assert [hold.id for hold, _ in holds.listed(session)] == ids[::-1]
        assert {name for _, name in holds.listed(session)} == {"digits"}
        assert [h.id for h, _ in holds.listed(session, in_force=True)] == [ids[2], ids[0]]
        assert [h.id for h, _ in holds.listed(session, after=ids[2], limit=1)] == [ids[1]]
        assert len(holds.listed(session, only=model.id)) == 3
        assert holds.listed(session, only="another") == []
