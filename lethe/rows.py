"""Samples on their way in, before they have a subject and a place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Split = Literal["train", "test"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Some consecutive samples of one split.

    labels: int64 [N]; images: uint8 [N, C, H, W]; `subjects` where the source names them.
    """

    split: Split
    sample_ids: list[str]
    labels: np.ndarray
    images: np.ndarray
    subjects: list[str] | None = None


class RowSource(Protocol):
    """What can be read as rows."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W of every image."""

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by label."""

    @property
    def sizes(self) -> dict[Split, int]:
        """Samples in each split."""

    def rows(self, size: int) -> Iterator[Rows]:
        """Every sample, train before test, at most `size` at a time."""
