"""Generated samples that a small model learns: a pattern for each class, and noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from core.incoming import Chunk

CHUNK = 4096


@dataclass
class Blobs:
    """`count` images 1 x 8 x 8 of ten classes, ten of them to a subject (core.incoming.Source)."""

    count: int
    classes: list[str] = field(default_factory=lambda: [str(label) for label in range(10)])
    shape: tuple[int, int, int] = (1, 8, 8)
    has_test: bool = False

    @property
    def train_count(self) -> int:
        """Every sample; none is in a test split."""
        return self.count

    def chunks(self) -> Iterator[Chunk]:
        """The same images each time."""
        rng = np.random.default_rng(0)
        patterns = rng.integers(40, 216, (len(self.classes), *self.shape))
        for start in range(0, self.count, CHUNK):
            numbers = range(start, min(start + CHUNK, self.count))
            labels = rng.integers(0, len(self.classes), len(numbers))
            noise = rng.normal(0, 40, (len(numbers), *self.shape))
            yield Chunk(
                sample_ids=[f"train/{i:05}" for i in numbers],
                subjects=[f"subject-{i // 10}" for i in numbers],
                labels=labels,
                images=np.clip(patterns[labels] + noise, 0, 255).astype(np.uint8),
                test=np.zeros(len(numbers), dtype=np.bool_),
                train_only=np.zeros(len(numbers), dtype=np.bool_),
            )
