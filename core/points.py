"""Named points of a job: the places where a crash would matter, so that tests can crash there.

Nothing here can end a process. `reached` does nothing until `watch` was called, nothing in the
product calls it, and no environment variable or setting does: the code that kills, and what arms
it, lives with the tests (tests/functional/crashing.py), which are not installed. Unwatched, a
point costs one look at a global.
"""

from __future__ import annotations

from collections.abc import Callable

POINTS: dict[str, str] = {
    # The service
    "intake:before-commit": "a request is written, not committed",
    "wake:before": "what a worker must do is committed; no worker was told, it may be answered",
    "intake:before-answer": "a worker may have been told; nothing was answered",
    "swap:loaded": "a replica has the new version in memory, aside",
    "swap:announced": "it has said that it serves it, and does not yet",
    "swap:done": "it serves it, and the one before drains",
    # The worker, in the order of a job
    "claim:after-commit": "the job is claimed",
    "unlearn:step": "in the middle of unlearning, every ten steps",
    "retrain:step": "in the middle of an exact retraining, every fifty steps",
    "scratch:before-write": "where a long run stands is about to be written",
    "scratch:after-write": "it is written, and what was kept before lies there still",
    "checkpoint:before-write": "a checkpoint is about to be written under a temporary name",
    "checkpoint:after-write": "its bytes are written, not yet on the disk",
    "checkpoint:after-fsync": "they are on the disk, still under the temporary name",
    "checkpoint:after-rename": "it has its name, which no directory sync has made last",
    "candidate:before-commit": "the candidate's file is there, its row is not committed",
    "candidate:after-commit": "its row is committed",
    "verify:before-commit": "every gate has decided, nothing is on record",
    "verify:after-commit": "the verdict is on record",
    "publish:before-commit": "the serving version is changed, not committed",
    "publish:after-commit": "it is committed",
    "destroy:after-swap": "no live replica serves what remembers",
    "delete:before": "the denylist is committed, every sample is there still",
    "delete:after": "the samples are deleted, their bytes are there still",
    "purge:after-compaction": "their fragments are rewritten, the old files lie there still",
    "purge:after-cleanup": "the old files are gone",
    "teacher:after-file": "a teacher's file is gone, its row is there",
    "version:before-file": "a version that remembers is about to go",
    "version:after-file": "its file is gone, its row says retired",
    "version:after-commit": "its row says destroyed",
    "sign:before": "the job has succeeded, nothing is signed, nothing is committed",
    "sign:after": "the certificate is signed, nothing is committed",
    "complete:after-commit": "all is committed",
    "callback:begun": "an attempt to call back is on record, nothing is sent",
    "callback:sent": "it was answered, which is not on record",
}
"""What has happened at each point, and what has not. docs/guides/bad-days.md."""

_watcher: Callable[[str], None] | None = None


def watch(watcher: Callable[[str], None]) -> None:
    """Have `watcher` called with the name of every point that this process reaches.

    A child that is forked inherits it. For tests alone.
    """
    global _watcher
    _watcher = watcher


def reached(name: str) -> None:
    """This process stands at point `name`, one of `POINTS`."""
    if _watcher is not None:
        _watcher(name)
