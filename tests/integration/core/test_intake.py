"""Taking erasure requests in: what is found, joined, batched, replayed, refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from core import jobs, keys, registry, requests
from core.backend import Backend
from core.certificates import verify
from core.deadlines import a_month_after
from core.errors import Conflict, Invalid, NotFound
from core.intake import Repeat
from core.records import ErasureRequest, Job, RequestSample
from tests.factories import make_dataset, make_model, submit, with_model
from tests.integration.core.helpers import (
    advance,
    at_once,
    claimed,
    events_of,
    job_of,
    request_of,
    set_job,
    settle,
)


def counted(backend: Backend, kind: type[Any]) -> int:
    with backend.db.reading() as session:
        return session.scalar(select(func.count()).select_from(kind)) or 0


def a_key(backend: Backend) -> str:
    with backend.db.transaction() as tx:
        return keys.create(tx, "tests", ["erase"])[0].id


def repeat(value: str = "once", body: str = "digest") -> Repeat:
    return Repeat(value, body, lambda request, job_ids: f"{request.id} {job_ids}")


def test_a_subject_is_found_by_name_and_kept_as_hashes_only(backend: Backend) -> None:
    model = with_model(backend)
    done = submit(backend, "subject-3", external_id="ticket 7", regulation="GDPR")
    request = request_of(backend, done.request.id)
    assert (request.state, request.sample_count, request.outcome) == ("scheduled", 2, None)
    assert request.due_at == a_month_after(request.received_at)
    assert (request.external_id, request.regulation) == ("ticket 7", "GDPR")
    hidden = (request.subject_hash, request.commitment)
    assert hidden == (
        backend.identities.subject("subject-3").raw,
        backend.identities.commitment(request.id, "subject-3"),
    )
    assert "subject-3" not in str(vars(request))
    job = job_of(backend, done.job_ids[0])
    assert (job.state, job.model_id, job.due_at) == ("queued", model.id, request.due_at)
    assert events_of(backend, "erasure_request", request.id) == ["received", "received->scheduled"]
    assert events_of(backend, "job", job.id) == ["queued", "joined"]


def test_the_serving_version_remembers_the_request(backend: Backend) -> None:
    model = with_model(backend)
    done = submit(backend)
    with backend.db.reading() as session:
        version = registry.serving(session, model.id)
        assert version is not None
        assert registry.taints(session, [version.id]) == {version.id: [done.request.id]}


def test_samples_can_be_named_each_counts_once(backend: Backend) -> None:
    with_model(backend)
    done = submit(backend, sample_ids=("train/00004", "train/00007", "train/00004"))
    assert done.request.sample_count == 2
    assert (done.request.subject_id, done.request.commitment) == (None, None)
    assert counted(backend, RequestSample) == 2


def test_unknown_samples_are_named_and_nothing_is_kept(backend: Backend) -> None:
    with_model(backend)
    names = ("train/00001", *(f"none/{i}\n'" for i in range(7)))
    with pytest.raises(Invalid, match="7 of 8 samples") as caught:
        submit(backend, sample_ids=names)
    assert [d["where"] for d in caught.value.details] == ["sample_ids"] * 7
    assert "none/6" in caught.value.details[-1]["message"]
    assert str(caught.value).endswith("...")
    assert counted(backend, ErasureRequest) == 0


def test_an_unknown_model_is_answered_with_those_that_exist(backend: Backend) -> None:
    with pytest.raises(NotFound, match="`lethe train` makes one"):
        submit(backend)
    with_model(backend)
    for new in ({"subject_id": "x"}, {"sample_ids": ("x",)}):
        with pytest.raises(NotFound, match=r"no model 'nope'; models: digits"):
            submit(backend, model="nope", **new)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ({"subject_id": ""}, "either subject_id or sample_ids"),
        ({"subject_id": "a", "sample_ids": ("b",)}, "either subject_id or sample_ids"),
        ({"subject_id": "a", "strategy": "wish"}, "unknown strategy 'wish'; use rfu_ss"),
    ],
)
def test_what_cannot_be_asked_for(
    sqlite_backend: Backend, new: dict[str, Any], message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        submit(sqlite_backend, **new)


def test_a_subject_with_no_samples_is_completed_with_a_certificate(backend: Backend) -> None:
    with_model(backend)
    done = submit(backend, "nobody")
    request = request_of(backend, done.request.id)
    assert (request.state, request.outcome, done.job_ids) == ("completed", "no_data_found", [])
    assert request.completed_at is not None
    with backend.db.reading() as session:
        text = requests.certificate_of(session, request.id)
    document = verify(text, backend.signer.public_pem)
    assert document["models"] == {"digits": None}
    assert document["statement"] == "Nothing was found to erase."
    assert document["subject"]["commitment"] == request.commitment
    settle(backend)


def test_every_model_on_the_data_set_must_forget(backend: Backend) -> None:
    dataset = make_dataset(backend)
    models = {make_model(backend, dataset, name, seed=i).id for i, name in enumerate("ba")}
    with backend.db.transaction() as tx:  # one that serves nothing yet has nothing to forget
        registry.create_model(tx, "unborn", dataset, architecture={}, training={})
    done = submit(backend, model="a")
    assert {job_of(backend, j).model_id for j in done.job_ids} == models


def test_the_strategy_asked_for_is_the_jobs(backend: Backend) -> None:
    with_model(backend)
    done = submit(backend, strategy="retrain")
    assert job_of(backend, done.job_ids[0]).strategy == "retrain"


def test_a_job_audits_by_retraining_when_the_model_says_so_once(backend: Backend) -> None:
    model = with_model(backend)
    with backend.db.transaction() as tx:
        registry.lock_model(tx, model.id).audit_next = True
    first, second = (submit(backend, f"subject-{i}").job_ids[0] for i in range(2))
    assert [job_of(backend, j).audit_retrain for j in (first, second)] == [True, False]


# Joining


@pytest.mark.parametrize("states", [[], ["verifying"], ["verifying", "publishing", "destroying"]])
def test_a_request_joins_the_job_that_erases_the_same_samples(
    backend: Backend, states: list[str]
) -> None:
    with_model(backend)
    first = submit(backend)
    if states:
        advance(backend, claimed(backend), states)
    second = submit(backend)
    assert second.job_ids == first.job_ids
    assert second.request.state == ("in_progress" if states else "scheduled")
    with backend.db.reading() as session:
        carried = jobs.request_ids(session, first.job_ids[0])
    assert carried == sorted([first.request.id, second.request.id])


@pytest.mark.parametrize("end", ["succeeded", "cancelled", "needs_review", "asked to stop"])
def test_no_request_joins_a_job_that_has_ended_or_is_about_to(backend: Backend, end: str) -> None:
    with_model(backend)
    first = submit(backend)
    if end == "asked to stop":
        claimed(backend)
        with backend.db.transaction() as tx:
            requests.end(tx, first.request.id, "cancelled", "mistake")
    else:
        set_job(backend, first.job_ids[0], state=end)
    assert submit(backend).job_ids != first.job_ids


def test_named_samples_join_a_job_that_erases_more_but_not_one_that_erases_less(
    backend: Backend,
) -> None:
    with_model(backend)
    first = submit(backend, sample_ids=("train/00001", "train/00002"))
    less = submit(backend, sample_ids=("train/00002",))
    more = submit(backend, sample_ids=("train/00002", "train/00003"))
    assert less.job_ids == first.job_ids
    assert more.job_ids != first.job_ids


def test_a_joined_job_is_due_when_its_soonest_request_is(backend: Backend) -> None:
    with_model(backend)
    first = submit(backend)
    set_job(backend, first.job_ids[0], due_at=first.request.due_at + timedelta(days=9))
    second = submit(backend)
    assert job_of(backend, first.job_ids[0]).due_at == second.request.due_at


def test_the_candidate_of_the_joined_job_has_forgotten_already(backend: Backend) -> None:
    model = with_model(backend)
    first = submit(backend)
    held = claimed(backend)
    with backend.db.transaction() as tx:
        registry.lock_model(tx, model.id)
        job = jobs.locked(tx, held.job_id)
        parent = registry.serving(tx.session, model.id)
        candidate = registry.add_version(
            tx, model, digest="c" * 64, metrics={}, parent=parent, job=job,
            forgotten=[first.request.id],
        )  # fmt: skip
    second = submit(backend)
    assert parent is not None
    with backend.db.reading() as session:
        found = registry.taints(session, [parent.id, candidate.id])
    assert found == {parent.id: sorted([first.request.id, second.request.id])}


# Batching


def test_requests_within_the_window_share_a_job(backend: Backend) -> None:
    backend.settings.batch_seconds = 60
    with_model(backend)
    one, two, other = (
        submit(backend, "subject-1"),
        submit(backend, "subject-2"),
        submit(backend, "subject-3", strategy="retrain"),
    )
    assert one.job_ids == two.job_ids != other.job_ids
    assert job_of(backend, one.job_ids[0]).not_before > one.request.received_at


def test_a_full_job_takes_no_more(backend: Backend) -> None:
    backend.settings.batch_seconds, backend.settings.batch_requests = 60, 2
    with_model(backend)
    jobs = [submit(backend, f"subject-{i}").job_ids[0] for i in range(5)]
    assert jobs[0] == jobs[1] != jobs[2] == jobs[3] != jobs[4]
    assert submit(backend, "subject-0").job_ids == jobs[:1], "the same person joins all the same"


@pytest.mark.parametrize("what", ["window over", "claimed", "tried before", "no window"])
def test_nothing_is_added_to_a_job_that_gathers_no_more(backend: Backend, what: str) -> None:
    backend.settings.batch_seconds = 0 if what == "no window" else 60
    with_model(backend)
    first = submit(backend, "subject-1")
    changes: dict[str, dict[str, Any]] = {
        "window over": {"not_before": first.request.received_at},
        "claimed": {"state": "running"},
        "tried before": {"attempts": 1},
        "no window": {"due_at": first.request.due_at},
    }
    set_job(backend, first.job_ids[0], **changes[what])
    assert submit(backend, "subject-2").job_ids != first.job_ids


# Idempotency


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
