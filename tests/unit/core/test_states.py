"""The state machines, read as data: what design.md promises of them."""

from __future__ import annotations

from itertools import product

import pytest

from core.errors import Conflict
from core.states import JOB, JOB_HELD, REQUEST, REQUEST_OPEN, VERSION, Machine

MACHINES = [REQUEST, JOB, VERSION]
PAIRS = [(m, old, new) for m in MACHINES for old, new in product(m.moves, m.moves)]


@pytest.mark.parametrize(("machine", "old", "new"), PAIRS, ids=lambda v: getattr(v, "noun", v))
def test_every_listed_move_passes_and_every_other_is_refused(
    machine: Machine, old: str, new: str
) -> None:
    if new in machine.moves[old]:
        machine.check("x", old, new)
        return
    with pytest.raises(Conflict) as caught:
        machine.check("x", old, new)
    message = str(caught.value)
    assert old in message
    assert all(onward in message for onward in machine.moves[old])
    assert machine.moves[old] or "final" in message


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.noun)
def test_every_state_is_known_and_can_be_reached_from_the_first(machine: Machine) -> None:
    reached = {next(iter(machine.moves))}
    while new := {n for s in reached for n in machine.moves[s]} - reached:
        reached |= new
    assert reached == set(machine.moves)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.noun)
def test_from_every_state_an_end_can_be_reached(machine: Machine) -> None:
    ending = set(machine.final)
    while new := {s for s, onward in machine.moves.items() if onward & ending} - ending:
        ending |= new
    assert ending == set(machine.moves)


def test_what_is_final() -> None:
    assert REQUEST.final == {"completed", "rejected", "cancelled"}
    assert JOB.final == {"succeeded", "cancelled"}
    assert VERSION.final == {"destroyed"}


def test_open_requests_are_those_that_are_not_final() -> None:
    assert set(REQUEST_OPEN) == set(REQUEST.moves) - REQUEST.final


def test_held_jobs_are_never_entered_past_running_except_by_review() -> None:
    outside = set(JOB.moves) - set(JOB_HELD)
    entries = {(s, n) for s in outside for n in JOB.moves[s] if n in JOB_HELD}
    assert entries == {
        ("queued", "running"),
        ("needs_review", "publishing"),
        ("needs_review", "destroying"),
    }


def test_once_the_serving_version_may_have_changed_there_is_no_cancelling() -> None:
    assert "cancelled" not in JOB.moves["publishing"] | JOB.moves["destroying"]


def test_a_serving_version_is_never_destroyed_directly() -> None:
    assert VERSION.moves["serving"] == {"retired"}
