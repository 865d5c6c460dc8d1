"""Intake of erasure requests: the request, its jobs and their audit events, at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from sqlalchemy.exc import IntegrityError

from core import canaries, registry
from core.asked import DEFAULT_STRATEGY, STRATEGIES, Asked, Call, NewRequest, Repeat, Submitted
from core.backend import Backend
from core.book import Book, answers, replayed
from core.db import Wake
from core.errors import Invalid
from core.points import reached

__all__ = [
    "DEFAULT_STRATEGY",
    "STRATEGIES",
    "Asked",
    "Call",
    "NewRequest",
    "Repeat",
    "Submitted",
    "submit",
    "take_all_in",
    "take_in",
]


def submit(
    backend: Backend, new: NewRequest, *, key_id: str | None, repeat: Repeat | None = None
) -> Submitted:
    """`take_in` for callers that have no call to tell of."""
    return take_in(backend, Asked(new, key_id, repeat))


def take_in(
    backend: Backend, asked: Asked, wake: Callable[[Wake], None] | None = None
) -> Submitted:
    """Take a request in: the request, its jobs and their audit events in one transaction.

    Raises `NotFound` for an unknown model, `Invalid` for unknown samples (naming them),
    `Conflict` for an Idempotency-Key that came with another body.
    """
    try:
        return take_all_in(backend, [asked], wake)[0]
    except IntegrityError:
        if asked.repeat is None:
            raise
    # Another took the same Idempotency-Key in the same moment: answer as it was answered.
    return take_all_in(backend, [asked], wake)[0]


def take_all_in(
    backend: Backend, all_asked: Sequence[Asked], wake: Callable[[Wake], None] | None = None
) -> list[Submitted]:
    """Take these requests for one model in, all in one transaction or none.

    Raises what any one raises. wake: is given their jobs after the commit, in the queue's place.
    """
    named = [_named(backend, asked) for asked in all_asked]
    if all(isinstance(each, Submitted) for each in named):
        return [each for each in named if isinstance(each, Submitted)]
    with backend.db.transaction(wake) as tx:
        book = Book(tx, backend, all_asked)
        done = [
            each if isinstance(each, Submitted) else book.enter(asked, each)
            for asked, each in zip(all_asked, named, strict=True)
        ]
        book.store()
        reached("intake:before-commit")
    return done


def _named(backend: Backend, asked: Asked) -> list[int] | Submitted:
    """Keys of the samples named, or what was answered before: the samples may be gone since."""
    asked.new.check()
    if not asked.new.sample_ids:
        return []
    with backend.db.reading() as session:
        answered = answers(session, [asked])
        if answered:
            return replayed(answered, asked)
    return _keys_of(backend, asked.new)


def _keys_of(backend: Backend, new: NewRequest) -> list[int]:
    """Keys of the samples named; the sample store is read before any lock is taken."""
    with backend.db.reading() as session:
        dataset_id = registry.model_named(session, new.model).dataset_id
    return keys_among(new, find_named(backend, dataset_id, new.sample_ids))


def find_named(backend: Backend, dataset_id: str, sample_ids: Iterable[str]) -> dict[str, int]:
    """Keys of those of these samples that are somebody's: a canary is nobody's."""
    people = (each for each in sample_ids if not each.startswith(canaries.PREFIX))
    return backend.samples.find_sample_ids(dataset_id, people)


def keys_among(new: NewRequest, found: Mapping[str, int]) -> list[int]:
    """Keys of the samples that a request names; raises `Invalid` for those not `found`."""
    wanted = list(dict.fromkeys(new.sample_ids))
    unknown = [sample_id for sample_id in wanted if sample_id not in found]
    if unknown:
        shown = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        raise Invalid(
            f"{len(unknown)} of {len(wanted)} samples are not in the model's data set: {shown}",
            [{"where": "sample_ids", "message": f"unknown: {name}"} for name in unknown[:100]],
        )
    return [found[sample_id] for sample_id in wanted]
