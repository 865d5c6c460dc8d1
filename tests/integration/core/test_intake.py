"""Taking erasure requests in: what is found, kept, refused."""

from __future__ import annotations

from typing import Any

import pytest

from core import registry, requests
from core.backend import Backend
from core.certificates import verify
from core.deadlines import a_month_after
from core.errors import Invalid, NotFound
from core.records import ErasureRequest, RequestSample
from tests.factories import make_dataset, make_model, submit, with_model
from tests.integration.core.helpers import (
    counted,
    events_of,
    job_of,
    request_of,
    settle,
)


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
