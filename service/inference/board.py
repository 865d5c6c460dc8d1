"""Which version of each model the processes of one `lethe serve` answer from: one shared word.

Every process looks at the word when a call begins. A new version is prepared by each of them
aside; who has it ready says so on the board, and whoever is last turns the word. So a call that
begins after another was answered by a version is never answered by one before it, whichever
process takes it. A process that has not been heard of for its lease is not waited for; when it
comes back it finds the word turned, and answers nothing until it has that version too.

The board is an array of 64-bit words in memory that the processes map (a file that the parent
makes; memory of its own for one process alone). Aligned, so that a word is read and written
whole. Everything but reading is done under the file's lock.
"""

from __future__ import annotations

import fcntl
import mmap
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import LetheError

MODELS = 256
PROCESSES = 64
_NAME = 40  # bytes of a model's id
_ROW = 2 + MODELS  # who, when last heard of (ns), and the version ready of each model
_WORDS = MODELS + PROCESSES * _ROW
SIZE = _WORDS * 8 + MODELS * _NAME


class Board:
    """One process's view of it. lease: seconds after which a silent process does not count."""

    def __init__(self, path: Path | None, lease: float) -> None:
        self._file = tempfile.TemporaryFile() if path is None else path.open("r+b")  # noqa: SIM115
        if path is None:
            self._file.truncate(SIZE)
        self._map = mmap.mmap(self._file.fileno(), SIZE)
        self._words = memoryview(self._map)[: _WORDS * 8].cast("Q")
        self._lease = int(lease * 1e9)
        self._thread = threading.Lock()
        self._name = secrets.randbits(63) | 1
        self._row = 0
        try:
            self.beat()
        except LetheError:
            self._shut()
            raise

    @staticmethod
    def make(path: Path) -> None:
        """An empty board, for the processes that are started next."""
        path.write_bytes(bytes(SIZE))

    def close(self) -> None:
        """This process is waited for no longer."""
        with self._locked():
            self._clear(self._row)
        self._shut()

    def _shut(self) -> None:
        self._words.release()
        self._map.close()
        self._file.close()

    def column(self, model_id: str) -> int:
        """Where this model's words are; the first process to ask makes the place."""
        name = model_id.encode().ljust(_NAME, b"\0")
        with self._locked():
            for column in range(MODELS):
                at = _WORDS * 8 + column * _NAME
                there = self._map[at : at + _NAME]
                if there == bytes(_NAME):
                    self._map[at : at + _NAME] = name
                if there in (name, bytes(_NAME)):
                    return column
        raise LetheError(f"one service serves at most {MODELS} models")

    def word(self, column: int) -> int:
        """The number of the version that is answered from now; 0 before the first."""
        return self._words[column]

    def beat(self) -> None:
        """This process is alive and may serve."""
        with self._locked():
            self._words[self._row + 1] = time.monotonic_ns()

    def ready(self, column: int, number: int) -> int:
        """This process could answer from this version; the word, turned if all others can.

        Call it again while it is not: others may have stopped meanwhile.
        """
        with self._locked():
            self._words[self._row + 2 + column] = number
            if self._words[column] == 0 or all(
                self._words[row + 2 + column] == number for row in self._alive()
            ):
                self._words[column] = number
            return self._words[column]

    def nothing_ready(self) -> None:
        """This process has lost what it had loaded."""
        with self._locked():
            for column in range(MODELS):
                self._words[self._row + 2 + column] = 0

    def _alive(self) -> list[int]:
        now = time.monotonic_ns()
        rows = range(MODELS, _WORDS, _ROW)
        return [at for at in rows if self._words[at] and now - self._words[at + 1] < self._lease]

    def _join(self) -> None:
        """Take a row, the first time or when another took this one's for abandoned."""
        taken = self._alive()
        for row in range(MODELS, _WORDS, _ROW):
            if row not in taken:
                self._clear(row)
                self._row, self._words[row] = row, self._name
                self._words[row + 1] = time.monotonic_ns()
                return
        raise LetheError(f"one service has at most {PROCESSES} processes")

    def _clear(self, row: int) -> None:
        for at in range(row, row + _ROW):
            self._words[at] = 0

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._thread:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                if self._words[self._row] != self._name:
                    self._join()
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
