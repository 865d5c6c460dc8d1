"""Many erasure requests in one call: few transactions, and for each request its own answer."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core import datasets, registry
from core.asked import Asked, Submitted
from core.backend import Backend
from core.book import Book, answers, replayed
from core.db import UNREACHABLE
from core.desk import PAUSE_SECONDS
from core.errors import Conflict, Invalid, LetheError, Unavailable
from core.intake import find_named, keys_among
from core.points import reached
from core.records import Idempotency

log = logging.getLogger(__name__)

MOST = 5_000
"""Requests in one call."""

TOGETHER = 250
"""Requests in one transaction: others wait as long for their own as these take."""

Outcome = Submitted | LetheError
"""What one request was answered: it was taken in, or why it was not."""


@dataclass
class _Slot:
    """One request, the keys of the samples that it names, and what came of it."""

    asked: Asked
    keys: list[int] = field(default_factory=list)
    outcome: Outcome | None = None


def take_in(
    backend: Backend,
    all_asked: Sequence[Asked],
    *,
    pause: Callable[[float], None] = time.sleep,
) -> list[Outcome]:
    """Take these requests of one caller in, each one or not, for each model in their order.

    What one is refused for takes no other along. Those taken in together share jobs. When the
    database fails on the way, the rest is `Unavailable`: posted again with the same
    Idempotency-Key, what was taken in is answered as it was. Raises `Conflict` when that key
    came with another body, and what the database raises when nothing at all was taken in.
    """
    _refuse_another_body(backend, all_asked)
    slots = [_Slot(asked) for asked in all_asked]
    for slot in slots:
        try:
            slot.asked.new.check()
        except Invalid as error:
            slot.outcome = error
    by_model: dict[str, list[_Slot]] = {}
    for slot in slots:
        if slot.outcome is None:
            by_model.setdefault(slot.asked.new.model, []).append(slot)
    parts = [
        together[start : start + TOGETHER]
        for together in by_model.values()
        for start in range(0, len(together), TOGETHER)
    ]
    try:
        for at, part in enumerate(parts):
            if at:
                pause(PAUSE_SECONDS)  # whoever waits for the lock gets it now
            _take_part_in(backend, part)
    except UNREACHABLE as error:
        if not any(isinstance(slot.outcome, Submitted) for slot in slots):
            raise
        log.error("the database failed amid a bulk: %s", error)  # noqa: TRY400  # foreseen
    gone = Unavailable("the database does not answer now; post this again with the same key")
    return [slot.outcome or gone for slot in slots]


def _refuse_another_body(backend: Backend, all_asked: Sequence[Asked]) -> None:
    kept = {
        asked.repeat.value: asked.repeat.body_digest
        for asked in all_asked
        if asked.repeat is not None
    }
    if not kept:
        return
    query = select(Idempotency).where(Idempotency.key_id == all_asked[0].key_id)
    with backend.db.reading() as session:
        for part in datasets.parts(list(kept)):
            for found in session.scalars(query.where(Idempotency.value.in_(part))):
                if not hmac.compare_digest(found.body_digest, kept[found.value]):
                    raise Conflict("this Idempotency-Key was used with another body; use a new one")


def _take_part_in(backend: Backend, part: Sequence[_Slot]) -> None:
    """All of one model, in one transaction."""
    with backend.db.reading() as session:
        try:
            dataset_id = registry.model_named(session, part[0].asked.new.model).dataset_id
        except LetheError as error:  # it is unknown, to all of them
            for slot in part:
                slot.outcome = error
            return
        _answer_again(session, part)
    _check_callbacks(backend, part)
    _find_samples(backend, dataset_id, part)
    left = [slot for slot in part if slot.outcome is None]
    if not left:
        return
    try:
        _write(backend, left)
    except IntegrityError:
        # Another took the same Idempotency-Key in the same moment: answer as it was answered.
        _write(backend, left)


def _answer_again(session: Session, part: Sequence[_Slot]) -> None:
    """What was answered before is answered so again: the samples may be gone since."""
    known = answers(session, [slot.asked for slot in part])
    for slot in part:
        repeat = slot.asked.repeat
        if repeat is not None and (slot.asked.key_id, repeat.value) in known:
            slot.outcome = replayed(known, slot.asked)


def _check_callbacks(backend: Backend, part: Sequence[_Slot]) -> None:
    """Refuse addresses that would not be called, each looked at once."""
    known: dict[str, Invalid | None] = {}
    for slot in part:
        url = slot.asked.new.callback_url
        if slot.outcome is not None or url is None:
            continue
        if url not in known:
            try:
                backend.outbound.check_named(url)
                known[url] = None
            except Invalid as error:
                known[url] = error
        slot.outcome = known[url]


def _find_samples(backend: Backend, dataset_id: str, part: Sequence[_Slot]) -> None:
    """Keys of all samples named, in one look; it is before any lock is taken."""
    naming = [slot for slot in part if slot.outcome is None and slot.asked.new.sample_ids]
    if not naming:
        return
    named = {each for slot in naming for each in slot.asked.new.sample_ids}
    found = find_named(backend, dataset_id, named)
    for slot in naming:
        try:
            slot.keys = keys_among(slot.asked.new, found)
        except Invalid as error:
            slot.outcome = error


def _write(backend: Backend, slots: Sequence[_Slot]) -> None:
    """All or, when the commit fails, none."""
    outcomes: list[Outcome] = []
    with backend.db.transaction() as tx:
        book = Book(tx, backend, [slot.asked for slot in slots], share=True)
        for slot in slots:
            try:
                outcomes.append(book.enter(slot.asked, slot.keys))
            except LetheError as error:
                outcomes.append(error)
        book.store()
        reached("intake:before-commit")
    for slot, outcome in zip(slots, outcomes, strict=True):
        slot.outcome = outcome
