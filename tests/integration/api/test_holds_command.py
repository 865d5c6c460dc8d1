"""`lethe holds` against a service: what it places is in force, and what it cannot do it says."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.cli import Commands
from tests.integration.api.conftest import MakeKey

REASON = ("--reason", "case 3 O 17/26")


def asked(api: TestClient, subject: str) -> str:
    body = {"model": "digits", "subject_id": subject}
    status: str = api.post("/erasure-requests", json=body).json()["status"]
    return status


def test_a_subject_is_held_until_the_hold_is_released(api: TestClient, lethe: Commands) -> None:
    said = lethe.ok("holds", "place", "digits", "--subject", "subject-0", *REASON)
    assert "is in force: 2 samples are kept" in said
    assert asked(api, "subject-0") == "rejected"
    [hold] = lethe.json("holds", "list")
    assert (hold["of_subject"], hold["reason"], hold["released_at"]) == (True, REASON[1], None)
    assert hold["id"] in said
    listed = lethe.ok("holds", "list", "--in-force")
    assert "case 3 O 17/26" in listed
    assert "subject-0" not in listed
    assert f"{hold['id']} is released" in lethe.ok(
        "holds", "release", hold["id"], "--reason", "final"
    )
    assert asked(api, "subject-0") == "scheduled"
    assert lethe.json("holds", "list", "--in-force") == []
    assert lethe.json("holds", "list")[0]["release_reason"] == "final"
    again = lethe.fails("holds", "release", hold["id"], "--reason", "final")
    assert "was released already (HTTP 409)" in again


def test_samples_are_named_by_a_file_or_piped(lethe: Commands) -> None:
    (lethe.folder / "kept.txt").write_text("train/00000\n\ntrain/00007\n")
    hold = lethe.json("holds", "place", "digits", "--samples", "kept.txt", *REASON)
    assert (hold["of_subject"], hold["sample_count"]) == (False, 2)
    piped = lethe.json("holds", "place", "digits", "--samples", "-", *REASON, stdin="train/00001\n")
    assert piped["sample_count"] == 1
    assert [each["id"] for each in lethe.json("holds", "list")] == [piped["id"], hold["id"]]


def test_a_subject_of_whom_there_is_nothing_is_told_apart(lethe: Commands) -> None:
    said = lethe.ok("holds", "place", "digits", "--subject", "subject-O", *REASON)
    assert "no sample is of this subject now" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("place", "digits", *REASON), "give one of --subject and --samples"),
        (("place", "digits", *REASON, "--subject", "s", "--samples", "empty"), "give one of"),
        (("place", "digits", *REASON, "--samples", "empty"), "empty names no sample"),
        (("place", "digits", *REASON, "--samples", "absent"), "absent: No such file"),
        (("place", "digits", *REASON, "--samples", "wrong"), "unknown: train/99999 (HTTP 422)"),
        (("place", "nope", *REASON, "--subject", "s"), "there is no model 'nope'"),
        (("place", "digits", "--reason", "", "--subject", "s"), "reason"),
        (("release", "hold_x", *REASON), "no legal hold hold_x (HTTP 404)"),
    ],
)
def test_what_cannot_be_done_is_said(
    lethe: Commands, arguments: tuple[str, ...], message: str
) -> None:
    (lethe.folder / "empty").write_text("\n")
    (lethe.folder / "wrong").write_text("train/99999\n")
    assert message in lethe.fails("holds", *arguments)


def test_a_reason_is_needed_and_a_key_that_may_review(lethe: Commands, api_key: MakeKey) -> None:
    place = ("holds", "place", "digits", "--subject", "subject-0")
    assert "Missing option '--reason'" in lethe.fails(*place, status=2)
    reads = api_key("read")["Authorization"].removeprefix("Bearer ")
    assert "(HTTP 403)" in lethe.fails(*place, *REASON, LETHE_API_KEY=reads)
