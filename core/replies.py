"""The answer to the person, ready to send: what was done, why, and how to complain.

Written from the record alone. It names no model, job, test or version, and not the person either:
whoever sends it knows whom to.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from core.records import ErasureRequest
from core.refusals import LEGAL_HOLD, OTHER, REASONS

_ERASED = (
    "We have erased the data that your request is about: {count} that our software was trained "
    "on. The software that had learned from it has been changed so that it no longer reflects it, "
    "and the states of it from before were destroyed. We then tested whether it still remembers "
    "the data and, as far as such tests can tell, found no evidence that it does. A signed "
    "certificate of what was done can be had from us on request."
)
_NOTHING_FOUND = (
    "We looked for the data among what our software was trained on, and found none. There was "
    "nothing to erase."
)
_CANCELLED = (
    "Your request was withdrawn, so nothing was erased because of it. You may make it again at "
    "any time."
)
_REFUSED = "We have refused your request because {why}."
_OPEN = "Your request is being dealt with. You will have our answer by {due}."

_COMPLAIN: Mapping[str, str] = {
    "ccpa": "You may ask us to look at this decision again. You may also complain to the "
    "California Privacy Protection Agency or to the Attorney General of California.",
    "": "You may complain to the data protection authority of the country where you live or work, "
    "or where you think the law was broken, and you may go to court.",
}
"""By regulation; what is not listed has the authority's text."""


def text_for(request: ErasureRequest, *, contact: str | None = None) -> str:
    """The answer as plain text, by where the request stands. contact: LETHE_CONTACT."""
    reference = request.external_id or request.id
    parts = [
        f"Your request of {_day(request.received_at)} that data be erased (reference {reference})",
        _said(request),
    ]
    if request.completed_at is not None:
        parts.append(f"This was decided on {_day(request.completed_at)}.")
    if request.state != "completed" or request.outcome != "erased":
        parts.append(_complaint(request))
    else:
        parts.append("If you do not agree with this answer: " + _lowered(_complaint(request)))
    if contact:
        parts.append(f"Questions about this answer: {contact}")
    return "\n\n".join(parts) + "\n"


def _said(request: ErasureRequest) -> str:
    if request.state == "completed" and request.outcome == "no_data_found":
        return _NOTHING_FOUND
    if request.state == "completed":
        count = request.sample_count
        return _ERASED.format(count=f"{count:,} " + ("item" if count == 1 else "items"))
    if request.state == "rejected":
        refusal = request.refusal or OTHER
        said = _REFUSED.format(why=REASONS[refusal])
        in_words = refusal != LEGAL_HOLD and request.reason
        return said + (f" In the words of whoever decided it: {request.reason}" if in_words else "")
    if request.state == "cancelled":
        return _CANCELLED
    return _OPEN.format(due=_day(request.due_at))


def _complaint(request: ErasureRequest) -> str:
    return _COMPLAIN.get((request.regulation or "").lower(), _COMPLAIN[""])


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _day(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y}"
