"""Looking for the erased samples' bytes in every file under a folder."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Search:
    """How many files and bytes were read, how many of the patterns occur, and where."""

    files: int
    bytes: int
    found: int
    places: list[Path]


def search(folder: Path, patterns: Collection[bytes]) -> Search:
    """Read every file below `folder` whole and look for each pattern in it.

    A file that vanishes meanwhile (a log's, a database's) holds nothing any more.
    """
    files = read = 0
    found: set[bytes] = set()
    places: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        files += 1
        read += len(data)
        here = {pattern for pattern in patterns if pattern in data}
        if here:
            places.append(path)
            found |= here
    return Search(files, read, len(found), places)
