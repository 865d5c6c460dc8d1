"""Destroying deleted rows: rewrite the fragments that hold them, remove what came before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from core._fragment_notes import FragmentNotes
from core._writer_locks import Check


@dataclass(frozen=True)
class Purge:
    """What a purge removed.

    fragments: fragments rewritten without their deleted rows.
    files: files removed, of every kind; bytes: their size.
    versions: old versions removed.
    complete: False when a writer was at work, so that files which belong to no version
        (an import that was killed, say) had to stay: purge again later.
    """

    fragments: int
    files: int
    bytes: int
    versions: int
    complete: bool


def rewrite_fragments(ds: Any, rewritten: set[int], notes: FragmentNotes, check: Check) -> None:
    """Rewrite every fragment that holds deleted rows; their numbers go into `rewritten`, and what
    is known of them goes with their rows.

    One at a time: Lance would merge neighbours past the limit of a fragment's rows, and a
    rewrite that loses to a concurrent deletion then costs one fragment's work, not all.
    """
    after = {old.fragment_id: old for old in ds.get_fragments()}
    for one in [number for number, old in after.items() if old.num_deletions]:
        check()
        before = after
        if one not in before:
            continue  # another process rewrote it
        ds.optimize.compact_files(
            materialize_deletions_threshold=0.0,  # at its default, a few rows stay
            excluded_fragment_ids=[other for other in before if other != one],
        )
        rewritten.add(one)
        after = {new.fragment_id: new for new in ds.get_fragments()}
        new = list(after.keys() - before.keys())
        if len(new) == 1 and after[new[0]].count_rows() == before[one].count_rows():
            notes.rewritten(before[one], after[new[0]])


def remove_versions(ds: Any, rewritten: int, alone: bool) -> Purge:
    """Remove every version but the newest; when `alone`, also files that belong to none."""
    stats = ds.cleanup_old_versions(older_than=timedelta(0), delete_unverified=alone)
    return Purge(
        fragments=rewritten,
        files=stats.data_files_removed
        + stats.transaction_files_removed
        + stats.index_files_removed
        + stats.deletion_files_removed
        + stats.old_versions,
        bytes=stats.bytes_removed,
        versions=stats.old_versions,
        complete=alone,
    )
