"""Why a request may be refused, in words that programs know, and what each says to the person.

The names are those of the Data Rights Protocol (0.9, section 3.02, the state "denied"); a legal
hold is ours, and `claim_not_covered` for who knows the protocol's alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from core.errors import Invalid

LEGAL_HOLD = "legal_hold"
OTHER = "other"

REASONS: Mapping[str, str] = {
    "suspected_fraud": "we have reason to believe that the request was not made by you or in your "
    "name",
    "insuf_verification": "we could not confirm that the request comes from the person whom the "
    "data is about",
    "no_match": "what you told us matches nobody in our records",
    "claim_not_covered": "the law on which the request is based does not cover this data",
    "outside_jurisdiction": "the law on which the request is based does not apply to you or to us",
    "too_many_requests": "we have had more requests about this data than we are obliged to answer",
    LEGAL_HOLD: "the law obliges us to keep this data for now; we may not erase it before that "
    "obligation ends",
    OTHER: "it cannot be met",
}
"""By name: the end of the sentence "we have refused the request because ..."."""


def check(name: str) -> str:
    """The name, if it is one; raises `Invalid`."""
    if name not in REASONS:
        raise Invalid(f"unknown refusal {name!r}; use {', '.join(REASONS)}")
    return name


def in_protocol(name: str) -> str:
    """The Data Rights Protocol's reason for one of ours."""
    return "claim_not_covered" if name == LEGAL_HOLD else name
