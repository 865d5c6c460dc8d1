"""The answer to the person: what, why and how to complain, in plain words, with no internals."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from core import refusals
from core.errors import Invalid
from core.records import ErasureRequest
from core.replies import text_for

MOMENT = datetime(2026, 3, 5, 12, tzinfo=UTC)


def request(state: str, outcome: str | None = None, **values: Any) -> ErasureRequest:
    ended = state in ("completed", "rejected", "cancelled")
    made = {
        "id": "er_x",
        "state": state,
        "outcome": outcome,
        "sample_count": 2,
        "received_at": MOMENT,
        "due_at": MOMENT.replace(month=4),
        "completed_at": MOMENT.replace(day=9) if ended else None,
    }
    return ErasureRequest(**(made | values))


ALL = [
    (request("completed", "erased"), "2 items that our software was trained on"),
    (request("completed", "erased", sample_count=1), "1 item that"),
    (request("completed", "no_data_found"), "found none"),
    (request("cancelled", "cancelled"), "was withdrawn"),
    (request("scheduled"), "our answer by 5 April 2026"),
    (request("needs_review"), "our answer by 5 April 2026"),
    *(
        (request("rejected", "rejected", refusal=name, reason="see file 7"), f"because {why}.")
        for name, why in refusals.REASONS.items()
    ),
    (request("rejected", "rejected"), "because it cannot be met."),
]


@pytest.mark.parametrize(("found", "words"), ALL)
def test_each_outcome_has_its_words(found: ErasureRequest, words: str) -> None:
    text = text_for(found, contact="privacy@shop.example")
    assert words in text
    assert "5 March 2026" in text
    assert "reference er_x" in text
    assert "complain to the data protection authority" in text
    assert "privacy@shop.example" in text
    assert ("decided on 9 March 2026" in text) is (found.completed_at is not None)
    for internal in ("model", "job", "checkpoint", "epoch", "gate", "RFU", "None", "_ss"):
        assert internal not in text


def test_a_refusal_gives_its_reason_but_a_hold_does_not_tell_the_case() -> None:
    said = text_for(request("rejected", refusal="no_match", reason="see file 7"))
    assert "In the words of whoever decided it: see file 7" in said
    assert "see file 7" not in text_for(
        request("rejected", refusal="legal_hold", reason="see file 7")
    )


def test_how_to_complain_follows_the_regulation_and_whose_reference_it_is() -> None:
    text = text_for(request("rejected", regulation="CCPA", external_id="ticket-7"))
    assert "California Privacy Protection Agency" in text
    assert "reference ticket-7" in text
    assert "Questions" not in text


def test_names_of_refusals() -> None:
    assert set(refusals.REASONS) == {
        "suspected_fraud",
        "insuf_verification",
        "no_match",
        "claim_not_covered",
        "outside_jurisdiction",
        "too_many_requests",
        "other",
        "legal_hold",
    }
    assert refusals.in_protocol("legal_hold") == "claim_not_covered"
    assert refusals.in_protocol("no_match") == "no_match"
    with pytest.raises(Invalid, match="unknown refusal 'because'"):
        refusals.check("because")
