"""What each fragment holds, in a few numbers: kept in the data set's manifest, by data file.

A job must not read a column of ten million rows to learn that most fragments hold nobody whom it
looks for. A data file is written once and never changes, and no other ever has its name. So what
was counted when it was written holds as long as there is such a file, and what is said of another
file is never taken for it. They come with the manifest, which every call reads anyway, and go with
its version. A fragment of which nothing is said is read, as if there were no facts at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from core._sample_batch import SPLIT_CODE, Int64
from core._writer_locks import Check

_NAME = "lethe.fragment.1."  # 1: what is said, and in which order
_COLUMNS = ["key", "subject", "split"]


@dataclass(frozen=True)
class Facts:
    """Of a fragment as it was written, without regard to rows that were deleted since.

    rows; the first and the last key; the least and the greatest subject; rows of each split.
    """

    rows: int
    first: int
    last: int
    least: int
    most: int
    splits: tuple[int, ...]

    def may_hold(self, subjects: Int64) -> bool:
        """Can a row be of one of these subjects, which ascend?"""
        at = np.searchsorted(subjects, [self.least, self.most + 1])
        return bool(at[0] < at[1])


def facts_in(table: pa.Table) -> Facts:
    """Of these rows, of which there is one at least."""
    keys, subjects, splits = (table.column(name).to_numpy() for name in _COLUMNS)
    counts = np.bincount(splits, minlength=len(SPLIT_CODE)).tolist()
    first, last = int(keys.min()), int(keys.max())
    least, most = int(subjects.min()), int(subjects.max())
    return Facts(len(keys), first, last, least, most, tuple(counts))


def facts_of(ds: Any, fragments: Iterable[Any]) -> list[Facts | None]:
    """What is known of each; None where nothing is."""
    said = ds.config()
    return [_parsed(said.get(_name(each.data_files())), each.physical_rows) for each in fragments]


def exact(ds: Any, fragments: list[Any]) -> list[Facts | None]:
    """The same of those alone that have all their rows still."""
    known = facts_of(ds, fragments)
    return [
        None if each.num_deletions else facts for each, facts in zip(fragments, known, strict=True)
    ]


def by_file(fragments: Iterable[Any], facts: Iterable[Facts]) -> dict[str, str | None]:
    """What is to be said of fragments that were just written, for `say`."""
    return {
        _name(fragment.files): json.dumps(astuple(each))
        for fragment, each in zip(fragments, facts, strict=True)
    }


def say(ds: Any, what: Mapping[str, str | None], check: Check) -> None:
    """Put it into the manifest, in a version of its own; None takes out."""
    if what:
        check()
        ds.update_config(dict(what))


def missing(ds: Any) -> dict[str, str | None]:
    """What is to be said of fragments of which nothing is, read from them, and to be taken out:
    what is of no fragment, or of none yet, for an append says it first. Such fragments are read
    until the next purge. A fragment with deleted rows is about to be another."""
    fragments = ds.get_fragments()
    known = facts_of(ds, fragments)
    unknown = [
        each
        for each, facts in zip(fragments, known, strict=True)
        if facts is None and not each.num_deletions
    ]
    names = {_name(each.data_files()) for each in fragments}
    gone = {name for name in ds.config() if name.startswith(_NAME) and name not in names}
    found: dict[str, str | None] = dict.fromkeys(gone)
    for each in unknown:
        table = ds.scanner(columns=_COLUMNS, fragments=[each]).to_table()
        found[_name(each.data_files())] = json.dumps(astuple(facts_in(table)))
    return found


def _name(files: Iterable[Any]) -> str:
    """By all its files: a column that is added later comes in one more."""
    return _NAME + "|".join(file.path for file in files)


def _parsed(text: str | None, rows: int) -> Facts | None:
    """None as well for what is not about so many rows, or about other splits."""
    if text is None:
        return None
    there, first, last, least, most, splits = json.loads(text)
    if there != rows or len(splits) != len(SPLIT_CODE):
        return None
    return Facts(rows, first, last, least, most, tuple(splits))
