"""A model's policy over HTTP, by the client and at the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from core.backend import Backend
from core.records import AuditEvent
from lethe import ApiError, Client
from tests.cli import Commands

POLICY = "/models/digits/policy"


def events(backend: Backend) -> list[dict[str, Any]]:
    with backend.db.reading() as session:
        query = select(AuditEvent).where(AuditEvent.event == "policy changed")
        return [each.data for each in session.scalars(query.order_by(AuditEvent.seq))]


@pytest.fixture
def client(api_server: str, api_app: FastAPI) -> Iterator[Client]:
    with Client(api_server, api_app.state.first_key.text) as client:
        yield client


def test_the_policy_in_force_is_shown_with_its_defaults(api: TestClient) -> None:
    model = api.get("/models/digits").json()
    assert model["policy"]["inconclusive"] == "publish"
    assert model["policy"]["relearning"] is False
    assert model["policy"]["thresholds"]["auc_band"] == 0.1
    assert model["policy"]["budget"]["jobs"] == 50
    assert model["policy_deviations"] == []
    assert model["canaries"] is None


def test_a_change_is_merged_shown_and_audited(api: TestClient, api_backend: Backend) -> None:
    change = {"inconclusive": "review", "thresholds": {"auc_band": 0.2}, "budget": {"jobs": 4}}
    changed = api.patch(POLICY, json=change).json()
    assert changed["policy"] == api.get("/models/digits").json()["policy"]
    assert changed["policy"]["thresholds"]["class_loss"] == 0.03
    assert {
        each["setting"]: (each["default"], each["in_force"])
        for each in changed["policy_deviations"]
    } == {
        "inconclusive": ("publish", "review"),
        "thresholds.auc_band": (0.1, 0.2),
        "budget.jobs": (50, 4),
    }
    assert changed["drift"]["limits"]["jobs"] == 4
    again = api.patch(POLICY, json={"thresholds": {"auc_band": None}, "relearning": True}).json()
    assert again["policy"]["thresholds"]["auc_band"] == 0.1
    assert (again["policy"]["inconclusive"], again["policy"]["relearning"]) == ("review", True)
    for same in ({}, {"relearning": True}, {"thresholds": {}}, {"thresholds": {"level": 0.05}}):
        assert api.patch(POLICY, json=same).json()["policy"] == again["policy"]
    assert api.patch(POLICY, json=dict.fromkeys(change)).status_code == 200
    first, second, third = events(api_backend)
    assert first["settings"] == {
        "inconclusive": {"old": "publish", "new": "review"},
        "thresholds.auc_band": {"old": 0.1, "new": 0.2},
        "budget.jobs": {"old": 50, "new": 4},
    }
    assert second["settings"] == {
        "relearning": {"old": False, "new": True},
        "thresholds.auc_band": {"old": 0.2, "new": 0.1},
    }
    assert third["settings"]["inconclusive"] == {"old": "review", "new": "publish"}


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ({"inconclusive": "ignore"}, "inconclusive"),
        ({"relearning": "yes"}, "relearning"),
        ({"threshold": {"auc_band": 0.1}}, "threshold"),
        ({"thresholds": {"auc_bond": 0.1}}, "thresholds.auc_bond"),
        ({"thresholds": {"auc_band": 1.5}}, "thresholds.auc_band"),
        ({"thresholds": {"auc_band": "0.1"}}, "thresholds.auc_band"),
        ({"thresholds": {"auc_band": True}}, "thresholds.auc_band"),
        ({"thresholds": 3}, "thresholds"),
        ({"budget": {"weeks": 1}}, "budget.weeks"),
        ({"budget": {"jobs": 0.5}}, "budget.jobs"),
        ({"scheduling": {"weight": 0}}, "scheduling.weight"),
        ({"scheduling": {"class": "Large"}}, "scheduling.class"),
    ],
)
def test_the_bad_field_is_named(api_quiet: TestClient, bad: dict[str, Any], where: str) -> None:
    before = api_quiet.get("/models/digits").json()["policy"]
    answer = api_quiet.patch(POLICY, json={"inconclusive": "retrain", **bad})
    assert answer.status_code == 422
    assert any(each["where"].startswith(where) for each in answer.json()["errors"])
    assert where in answer.json()["detail"]
    assert api_quiet.get("/models/digits").json()["policy"] == before


def test_numbers_that_json_has_no_word_for_are_refused(api_quiet: TestClient) -> None:
    for text in ("NaN", "Infinity", "1e999", "9" * 400):
        body = f'{{"thresholds": {{"relearning_ratio": {text}}}}}'
        headers = {"Content-Type": "application/json"}
        answer = api_quiet.patch(POLICY, content=body, headers=headers)
        assert answer.status_code == 422, text


def test_how_its_jobs_are_scheduled(api: TestClient, lethe: Commands) -> None:
    change = {"scheduling": {"class": "night", "weight": 2}}
    shown = api.patch(POLICY, json=change).json()["policy"]["scheduling"]
    assert shown == {"class": "night", "tenant": None, "weight": 2, "memory_mb": None}
    given = ("--scheduling", "tenant=acme", "--scheduling", "memory_mb=900")
    found = lethe.json("models", "policy", "digits", *given, "--scheduling", "class=default")
    assert found["policy"]["scheduling"] == {
        "class": None,
        "tenant": "acme",
        "weight": 2,
        "memory_mb": 900,
    }
    assert "--scheduling 'weight=much'" in lethe.fails(
        *("models", "policy", "digits", "--scheduling", "weight=much")
    )


def test_only_an_admin_may(api: TestClient, api_key: Any, api_backend: Backend) -> None:
    review = api.patch(POLICY, json={"relearning": True}, headers=api_key("review", "read"))
    assert review.status_code == 403
    assert "admin" in review.json()["detail"]
    assert events(api_backend) == []
    assert api.patch("/models/nope/policy", json={}).status_code == 404


def test_by_the_client(client: Client) -> None:
    model = client.change_policy("digits", inconclusive="retrain", budget={"days": 30})
    assert model.policy["budget"]["days"] == 30
    assert [each["setting"] for each in model.policy_deviations] == ["inconclusive", "budget.days"]
    assert client.change_policy("digits", budget=None, inconclusive=None).policy_deviations == []
    with pytest.raises(ApiError, match=r"thresholds\.auc_bond: there is no such threshold"):
        client.change_policy("digits", thresholds={"auc_bond": 0.1})


def test_at_the_command_line(lethe: Commands) -> None:
    shown = lethe.ok("models", "policy", "digits")
    assert "thresholds.relearning_ratio" in shown
    assert "From the next job on" not in shown
    said = lethe.ok(
        "models", "policy", "digits", "--inconclusive", "review", "--relearning",
        "--threshold", "auc_band=0.05", "--threshold", "level=0.01", "--budget", "jobs=20",
    )  # fmt: skip
    assert "next job" in said
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip()}
    assert rows["thresholds.auc_band"] == ["0.05", "0.1"]
    assert rows["thresholds.class_loss"] == ["0.03", "-"]
    assert rows["relearning"] == ["yes", "no"]
    found = lethe.json("models", "policy", "digits")
    assert found["policy"]["budget"]["jobs"] == 20
    assert len(found["deviations"]) == 5
    reset = lethe.json(
        "models", "policy", "digits", "--no-relearning", "--inconclusive", "default",
        "--threshold", "auc_band=default", "--threshold", "level=0.05", "--budget", "jobs=default",
    )  # fmt: skip
    assert reset["deviations"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threshold", "auc_band"], "--threshold 'auc_band' is not NAME=VALUE"),
        (["--budget", "jobs=many"], "--budget 'jobs=many' is not NAME=VALUE"),
        (["--budget", "jobs=2.5"], "budget.jobs: must be a whole number"),
        (["--threshold", "auc_band=7"], "thresholds.auc_band: must be above 0 and at most 1"),
        (["--inconclusive", "pass"], "inconclusive"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    lethe: Commands, arguments: list[str], said: str
) -> None:
    assert said in lethe.fails("models", "policy", "digits", *arguments)
