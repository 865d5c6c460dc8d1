"""Data sets: imported once, in a stream; who is in them; what may not come back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from core.db import Transaction
from core.errors import NotFound
from core.records import Dataset, Denied, ErasureRequest, Model
from core.states import REQUEST_OPEN

_INSERT: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


def dataset_named(session: Session, name: str) -> Dataset:
    """The data set; raises `NotFound` with the names that exist."""
    found = session.scalars(
        select(Dataset).where(Dataset.name == name, Dataset.state == "ready")
    ).one_or_none()
    if found is None:
        names = session.scalars(select(Dataset.name).order_by(Dataset.name).limit(10)).all()
        known = ", ".join(names) or "none yet: `lethe dataset import` makes one"
        raise NotFound(f"there is no data set {name!r}; data sets: {known}")
    return found


def datasets(session: Session) -> list[Dataset]:
    """Every data set that is ready, by name."""
    query = select(Dataset).where(Dataset.state == "ready").order_by(Dataset.name)
    return list(session.scalars(query))


def locked(tx: Transaction, dataset_id: str) -> Dataset:
    """The data set's row, locked and fresh: appends and recounts take turns. After its models."""
    query = select(Dataset).where(Dataset.id == dataset_id).with_for_update()
    return tx.session.scalars(query.execution_options(populate_existing=True)).one()


def deny(tx: Transaction, kind: str, hashes: Iterable[str]) -> None:
    """Put keyed hashes on the denylist; those already there stay as they are.

    So do those that another job puts there meanwhile: one person in two data sets, one picture in
    both. In the order of the hashes, so that of two jobs one waits and neither deadlocks.
    """
    hashes = sorted(set(hashes))
    new = sorted(set(hashes) - denied(tx.session, hashes))
    insert = _INSERT[tx.session.get_bind().dialect.name]
    rows = [{"hash": value, "kind": kind, "created_at": tx.now} for value in new]
    if rows:
        tx.session.execute(insert(Denied.__table__).on_conflict_do_nothing(), rows)


def denied(session: Session, hashes: list[str]) -> set[str]:
    found: set[str] = set()
    for part in parts(hashes):
        found.update(session.scalars(select(Denied.hash).where(Denied.hash.in_(part))))
    return found


def parts(hashes: list[str]) -> Iterator[list[str]]:
    """A few at a time: a statement takes so many parameters and no more."""
    for start in range(0, len(hashes), 500):
        yield hashes[start : start + 500]


def models_of(session: Session, dataset_id: str) -> list[Model]:
    """Every model trained on the data set, in a fixed order (locks are taken in it)."""
    query = select(Model).where(Model.dataset_id == dataset_id).order_by(Model.id)
    return list(session.scalars(query))


def open_requests(session: Session, dataset_id: str) -> list[ErasureRequest]:
    """The erasure requests of the data set that have not ended yet, oldest first."""
    query = select(ErasureRequest).where(
        ErasureRequest.dataset_id == dataset_id, ErasureRequest.state.in_(REQUEST_OPEN)
    )
    return list(session.scalars(query.order_by(ErasureRequest.id)))
