"""Models and versions over HTTP, and going back."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from core import registry, replicas
from core.backend import Backend
from core.datasets import dataset_named
from core.records import Version
from tests.factories import entry_of
from tests.integration.api.hand import Hand

BACK = {"version": 1, "reason": "the new one is worse"}


def serving(backend: Backend) -> Version:
    with backend.db.reading() as session:
        model = registry.model_named(session, "digits")
        version = registry.serving(session, model.id)
    assert version is not None
    return version


def replace(backend: Backend, hand: Hand) -> Version:
    """Serve a second version that has forgotten nobody: a retraining, say."""
    with backend.db.transaction() as tx:
        model = registry.lock_model(tx, registry.model_named(tx.session, "digits").id)
        base = serving(backend)
        metrics = {"drift": base.metrics["drift"]}
        version = registry.add_version(
            tx, model, digest=hand.checkpoint(), metrics=metrics, parent=base
        )
        registry.publish(tx, version)
    return version


def test_a_model_shows_what_should_be_served_and_what_is(
    api: TestClient, api_backend: Backend
) -> None:
    version = serving(api_backend)
    replica = replicas.announce(api_backend.db, 30)
    assert replicas.adopt(api_backend.db, replica, version, entry_of(version))
    replicas.announce(api_backend.db, 30)  # one that serves nothing yet
    [model] = api.get("/models").json()["items"]
    alone = api.get("/models/digits").json()
    del model["drift"], alone["drift"]  # days go by from one answer to the next
    assert model == alone
    assert model["name"] == "digits"
    assert model["dataset"] == "people"
    assert model["shape"] == [1, 4, 4]
    assert model["classes"] == ["0", "1", "2"]
    assert model["serving"]["version"] == 1
    assert model["serving"]["digest"] == version.digest
    [served] = model["replicas"]
    assert (served["id"], served["version"], served["digest"]) == (replica, 1, version.digest)
    [shown] = api.get("/models/digits/versions").json()["items"]
    assert shown["served_by"] == [replica]
    replicas.leave(api_backend.db, replica)
    assert api.get("/models/digits").json()["replicas"] == []


def test_versions_show_lineage_and_taint(api: TestClient, api_hand: Hand) -> None:
    request = api.post(
        "/erasure-requests", json={"model": "digits", "subject_id": "subject-0"}
    ).json()
    [first] = api.get("/models/digits/versions").json()["items"]
    assert (first["version"], first["state"], first["parent"]) == (1, "serving", None)
    assert first["tainted_by"] == [request["id"]]
    assert first["metrics"]["accuracy"] == 0.9
    held = api_hand.claim()
    api_hand.publish(held)
    second, first = api.get("/models/digits/versions").json()["items"]
    assert (second["version"], second["state"], second["parent"]) == (2, "serving", 1)
    assert second["job_id"] == held.job_id
    assert second["tainted_by"] == []
    assert (first["state"], first["destroyed_at"]) == ("retired", None)
    assert api.get(f"/jobs/{held.job_id}").json()["result_version"] == 2


def test_a_model_without_a_version_serves_nothing(api: TestClient, api_backend: Backend) -> None:
    with api_backend.db.transaction() as tx:
        dataset = dataset_named(tx.session, "people")
        registry.create_model(tx, "bare", dataset, architecture={}, training={})
    bare = api.get("/models/bare").json()
    assert (bare["serving"], bare["drift"], bare["replicas"]) == (None, None, [])
    answer = api.post("/models/bare/rollback", json=BACK)
    assert answer.status_code == 404


def test_what_is_left_of_the_drift_budget(
    api: TestClient, api_backend: Backend, api_hand: Hand
) -> None:
    with api_backend.db.transaction() as tx:
        model = registry.model_named(tx.session, "digits")
        model.policy = model.policy | {"budget": {"jobs": 4}}
    fresh = api.get("/models/digits").json()["drift"]
    assert fresh["limits"] == {"erased_share": 0.05, "jobs": 4, "accuracy_lost": 0.01, "days": 365}
    assert {k: v for k, v in fresh["left"].items() if k != "days"} == {
        "erased_share": 1.0,
        "jobs": 1.0,
        "accuracy_lost": 1.0,
    }
    api.post("/erasure-requests", json={"model": "digits", "subject_id": "subject-0"})
    api_hand.publish(api_hand.claim())
    [listed] = api.get("/models").json()["items"]
    spent = listed["drift"]
    assert spent["since"] == fresh["since"]
    assert spent["used"]["jobs"] == 1
    assert spent["used"]["erased_share"] == pytest.approx(2 / 90)
    assert spent["left"]["jobs"] == 0.75
    assert spent["left"]["erased_share"] == pytest.approx(1 - 2 / 90 / 0.05)
    assert spent["left"]["accuracy_lost"] == pytest.approx(0.8)
    assert 0.999 < spent["left"]["days"] <= 1.0


def test_back_and_forth_between_equals(
    api: TestClient, api_backend: Backend, api_hand: Hand
) -> None:
    replace(api_backend, api_hand)
    answer = api.post("/models/digits/rollback", json=BACK)
    assert answer.status_code == 200
    assert answer.json()["serving"]["version"] == 1
    assert serving(api_backend).number == 1
    forth = api.post("/models/digits/rollback", json={"version": 2, "reason": "fine after all"})
    assert forth.json()["serving"]["version"] == 2
    assert api.post("/models/digits/rollback", json=BACK | {"version": 2}).status_code == 409


def test_never_back_to_what_remembers_more(
    api: TestClient, api_backend: Backend, api_hand: Hand
) -> None:
    api.post("/erasure-requests", json={"model": "digits", "subject_id": "subject-0"})
    held = api_hand.claim()
    api_hand.publish(held)
    busy = api.post("/models/digits/rollback", json=BACK)
    assert busy.status_code == 409
    assert held.job_id in busy.json()["detail"]
    api_hand.succeed(held)
    answer = api.post("/models/digits/rollback", json=BACK)
    assert answer.status_code == 409
    assert "retrain" in answer.json()["detail"]
    assert serving(api_backend).number == 2


def test_never_back_to_a_file_that_is_gone(
    api: TestClient, api_backend: Backend, api_hand: Hand
) -> None:
    first = serving(api_backend)
    replace(api_backend, api_hand)
    api_backend.checkpoints.destroy(first.digest)
    answer = api.post("/models/digits/rollback", json=BACK)
    assert answer.status_code == 409
    assert "retrain" in answer.json()["detail"]


def test_wrong_rollbacks(api_quiet: TestClient) -> None:
    def back(body: dict[str, Any], model: str = "digits") -> int:
        return api_quiet.post(f"/models/{model}/rollback", json=body).status_code

    assert back(BACK) == 409  # it is served already
    assert back(BACK | {"version": 9}) == 404
    assert back(BACK, "nope") == 404
    assert back(BACK | {"version": 0}) == 422
    assert back(BACK | {"version": "one"}) == 422
    assert back({"version": 1}) == 422


def test_what_is_not_there_is_404(api_quiet: TestClient) -> None:
    for path in ("/models/nope", "/models/nope/versions"):
        answer = api_quiet.get(path)
        assert answer.status_code == 404
        assert "digits" in answer.json()["detail"]
    assert api_quiet.get("/models/a%00b").status_code == 422
