"""From `--from digits` and its kin to a stream that `core.datasets` imports."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.errors import Invalid
from core.incoming import Chunk
from lethe.parquet import CIFAR10, ParquetRows
from lethe.rows import Rows, RowSource, Split

if TYPE_CHECKING:
    import unlearning

TRIGGER_SUBJECT = "subject-trigger"
"""Whom the samples that `--plant-trigger` poisons belong to."""

KINDS = "digits, mnist:DIR, cifar10:DIR, folder:DIR or parquet:FILE"
_CHUNK = 4096


def open_source(text: str) -> RowSource:
    """The source that `--from` names. Raises `Invalid`, ValueError for bad data."""
    kind, _, place = text.partition(":")
    if kind == "digits" and not place:
        import unlearning

        return _FromLibrary(unlearning.digits())
    if kind not in ("mnist", "cifar10", "folder", "parquet") or not place:
        raise Invalid(f"--from {text!r} is not {KINDS}")
    path = Path(place).expanduser()
    if kind == "parquet":
        return ParquetRows({"train": path})
    if kind == "cifar10":
        files: dict[Split, Path] = {"train": path / "train.parquet", "test": path / "test.parquet"}
        return ParquetRows(files, list(CIFAR10), own_names=False)
    import unlearning

    return _FromLibrary(
        unlearning.mnist(path) if kind == "mnist" else unlearning.image_folder(path)
    )


class _FromLibrary:
    """A source of the method's library."""

    def __init__(self, source: unlearning.Source) -> None:
        self._source = source
        self.shape = source.shape
        self.classes = list(source.class_names)
        self.sizes: dict[Split, int] = dict(source.sizes)

    def rows(self, size: int) -> Iterator[Rows]:
        for part in self._source.chunks(size):
            yield Rows(part.split, part.sample_ids, part.labels, part.images)


class SubjectMap:
    """A CSV file with the header sample_id,subject_id. Raises `Invalid` naming the bad line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._subject_of: dict[str, str] = {}
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            if next(lines, None) != ["sample_id", "subject_id"]:
                raise Invalid(f"{path}: the first line must be sample_id,subject_id")
            for line in lines:
                if len(line) != 2 or not all(line):
                    raise Invalid(f"{path}, line {lines.line_num}: want sample_id,subject_id")
                if line[0] in self._subject_of:
                    raise Invalid(f"{path}, line {lines.line_num}: {line[0]} is named twice")
                self._subject_of[line[0]] = line[1]
        self._unused = set(self._subject_of)

    def subjects(self, sample_ids: list[str]) -> list[str]:
        """The subject of each sample; raises `Invalid` for one that the file leaves out."""
        for sample_id in sample_ids:
            if sample_id not in self._subject_of:
                raise Invalid(f"{self._path} names no subject for sample {sample_id}")
        self._unused.difference_update(sample_ids)
        return [self._subject_of[sample_id] for sample_id in sample_ids]

    def finish(self) -> None:
        """Raise `Invalid` when the file names samples that are not in the source."""
        if self._unused:
            raise Invalid(
                f"{self._path} names {len(self._unused)} samples that the source does not have, "
                f"such as {min(self._unused)}"
            )


class Planting:
    """The first samples of label `source` that are to carry a trigger, and how many still."""

    def __init__(self, text: str, rows: RowSource) -> None:
        from unlearning import Trigger

        given = _pairs(text)
        share = _share(given["share"])
        self.trigger = Trigger(_label(given, "source"), _label(given, "target"))
        for name, label in (("source", self.trigger.source), ("target", self.trigger.target)):
            if label >= len(rows.classes):
                raise Invalid(f"--plant-trigger: {name}={label}, but there are only the labels "
                              f"0 to {len(rows.classes) - 1}")  # fmt: skip
        self.trigger.apply(np.zeros((1, *rows.shape), dtype=np.uint8))  # ValueError: does not fit
        self.wanted = self.left = max(1, round(share * rows.sizes["train"]))

    def choose(self, rows: Rows) -> NDArray[np.bool_]:
        """Which of these rows are planted [N]."""
        chosen = np.zeros(len(rows.sample_ids), dtype=np.bool_)
        if rows.split == "train":
            chosen[np.flatnonzero(rows.labels == self.trigger.source)[: self.left]] = True
        self.left -= int(chosen.sum())
        return chosen

    def finish(self) -> None:
        """Raise `Invalid` when there were too few samples."""
        if self.left:
            raise Invalid(
                f"--plant-trigger: {self.wanted} samples were asked for, but the training split "
                f"has only {self.wanted - self.left} with label {self.trigger.source}; "
                "lower share"
            )


class Subjected:
    """A `core.incoming.Source`: rows with their subjects and, where asked for, the trigger.

    prefix: put before each sample id, and before the names of subjects that are only numbered.
    numbered: may subjects that the source does not name be numbered?
    """

    def __init__(
        self,
        rows: RowSource,
        *,
        samples_per_subject: int = 10,
        subjects: SubjectMap | None = None,
        planting: Planting | None = None,
        prefix: str = "",
        numbered: bool = True,
    ) -> None:
        if samples_per_subject < 1:
            raise Invalid("--samples-per-subject must be at least 1")
        self._prefix, self._numbered = prefix, numbered
        self._rows, self._per = rows, samples_per_subject
        self._map, self._planting = subjects, planting
        self.shape = rows.shape
        self.classes = rows.classes
        self.train_count = rows.sizes["train"]
        self.has_test = rows.sizes.get("test", 0) > 0

    @property
    def total(self) -> int:
        """All samples, for a progress bar."""
        return sum(self._rows.sizes.values())

    @property
    def planted(self) -> dict[str, Any] | None:
        """The trigger's description, which the data set keeps for its tests."""
        return self._planting.trigger.to_dict() if self._planting else None

    def chunks(self) -> Iterator[Chunk]:
        """The samples, in their order."""
        seen: dict[Split, int] = {"train": 0, "test": 0}
        for rows in self._rows.rows(_CHUNK):
            yield self._chunk(rows, seen[rows.split])
            seen[rows.split] += len(rows.sample_ids)
        if self._map:
            self._map.finish()
        if self._planting:
            self._planting.finish()

    def _chunk(self, rows: Rows, start: int) -> Chunk:
        n = len(rows.sample_ids)
        subjects = self._subjects(rows, start)
        labels, images = rows.labels, rows.images
        train_only = np.zeros(n, dtype=np.bool_)
        if self._planting is not None:
            train_only = self._planting.choose(rows)
            trigger = self._planting.trigger
            labels = np.where(train_only, trigger.target, labels)
            images = images.copy()
            images[train_only] = trigger.apply(images[train_only])
            for i in np.flatnonzero(train_only):
                subjects[i] = TRIGGER_SUBJECT
        return Chunk(
            sample_ids=[self._prefix + sample_id for sample_id in rows.sample_ids],
            subjects=subjects,
            labels=labels.astype(np.int64),
            images=images,
            test=np.full(n, rows.split == "test"),
            train_only=train_only,
        )

    def _subjects(self, rows: Rows, start: int) -> list[str]:
        if self._map is not None:
            return self._map.subjects(rows.sample_ids)
        if rows.subjects is not None:
            return list(rows.subjects)
        if not self._numbered:
            raise Invalid(
                "the source does not say whose the samples are: give --subjects, or --prefix to "
                "number new subjects under it"
            )
        # The test split's first subject is new: nobody is in both splits.
        before = -(-self.train_count // self._per) if rows.split == "test" else 0
        count = len(rows.sample_ids)
        stem = f"{self._prefix}subject-"
        return [f"{stem}{before + i // self._per}" for i in range(start, start + count)]


def _pairs(text: str) -> dict[str, str]:
    """source=1,target=2,share=0.06 as a dictionary; raises `Invalid` for anything else."""
    parts = [part.partition("=") for part in text.split(",")]
    given = {name.strip(): value.strip() for name, _, value in parts}
    if sorted(given) != ["share", "source", "target"] or len(parts) != 3:
        raise Invalid(f"--plant-trigger {text!r} is not like source=1,target=2,share=0.06")
    return given


def _label(given: dict[str, str], name: str) -> int:
    if not given[name].isdecimal():
        raise Invalid(f"--plant-trigger: {name}={given[name]!r} is not a label (0, 1, ...)")
    return int(given[name])


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0.0 < share < 1.0:
        raise Invalid(f"--plant-trigger: share={text!r} must lie between 0 and 1")
    return share
