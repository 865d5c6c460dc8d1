"""Images in Parquet: one row a sample, read in batches, never whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lethe.pictures import Mode, decode
from lethe.rows import Rows, Split

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The classes, in the order of their labels."""

NAMES_AT_ONCE = 2_000_000
"""Names whose hashes are held to be told apart; more take a pass over the file each."""


MOST_CLASSES = 100_000
"""A single label of a damaged file would make billions of them."""


class ParquetRows:
    """Rows of one or two Parquet files, with columns

    image (encoded bytes, or a struct with a field `bytes`), label (whole numbers, or names),
    and optionally name (the sample's id) and subject.

    Raises ValueError for a file that is not one, or lacks a column.
    """

    def __init__(
        self, files: dict[Split, Path], classes: list[str] | None = None, own_names: bool = True
    ) -> None:
        self._files = {split: _open(path) for split, path in files.items()}
        self._paths = files
        self._own_names = own_names
        self.classes = classes or self._find_classes()
        first = next(self._tables("train", 1), None)
        if first is None:
            raise ValueError(f"{files['train']} has no rows")
        image = decode(_bytes(first["image"][0]), f"{files['train']}, row 0")
        self._mode: Mode = "L" if image.shape[0] == 1 else "RGB"
        c, h, w = image.shape
        self.shape = (c, h, w)
        if own_names:
            self._check_names()

    @property
    def sizes(self) -> dict[Split, int]:
        """Samples in each split."""
        return {split: file.metadata.num_rows for split, file in self._files.items()}

    def rows(self, size: int) -> Iterator[Rows]:
        """Every sample, train before test, at most `size` at a time."""
        for split in self._files:
            start = 0
            for table in self._tables(split, size):
                yield self._rows(split, start, table)
                start += len(table)

    def _rows(self, split: Split, start: int, table: Any) -> Rows:
        path, n = self._paths[split], len(table)
        images = np.empty((n, *self.shape), dtype=np.uint8)
        for i, cell in enumerate(table["image"]):
            where = f"{path}, row {start + i}"
            image = decode(_bytes(cell), where, self._mode)
            if image.shape != self.shape:
                raise ValueError(f"{where}: {_size(image.shape)}, not {_size(self.shape)}")
            images[i] = image
        if self._own_names and "name" in table.column_names:
            ids = [str(name) for name in table["name"].to_pylist()]
        else:
            ids = [f"{split}/{i:05d}" for i in range(start, start + n)]
        return Rows(
            split=split,
            sample_ids=ids,
            labels=self._labels(table["label"], path),
            images=images,
            subjects=_subjects(table, path, start),
        )

    def _labels(self, column: Any, path: Path) -> np.ndarray:
        if column.null_count:
            raise ValueError(f"{path}: the label column has empty cells")
        if pa.types.is_integer(column.type):
            labels = column.to_numpy().astype(np.int64)
        else:
            number = {name: i for i, name in enumerate(self.classes)}
            names = column.to_pylist()
            labels = np.array([number.get(name, -1) for name in names], dtype=np.int64)
        if len(labels) and (labels.min() < 0 or labels.max() >= len(self.classes)):
            raise ValueError(f"{path}: a label lies outside the {len(self.classes)} classes")
        return cast("np.ndarray", labels)

    def _find_classes(self) -> list[str]:
        unique = pa.chunked_array(
            [
                pc.unique(batch.column(0))
                for split in self._files
                for batch in self._batches(split, columns=["label"])
            ],
            type=next(iter(self._files.values())).schema_arrow.field("label").type,
        )
        values = pc.unique(unique.drop_null()).to_pylist()
        if not values:
            raise ValueError(f"{self._paths['train']} has no labels")
        if isinstance(values[0], str):
            return sorted(values)
        if min(values) < 0:
            raise ValueError(f"{self._paths['train']}: labels must be 0 or more")
        if max(values) >= MOST_CLASSES:
            raise ValueError(
                f"{self._paths['train']}: label {max(values)}; labels are numbered from 0, and "
                f"there can be {MOST_CLASSES:,} at most"
            )
        return [str(label) for label in range(max(values) + 1)]

    def _check_names(self) -> None:
        for split, file in self._files.items():
            if "name" not in file.schema_arrow.names:
                continue
            with _readable(self._paths[split]):
                unique = _all_unique(file, "name")
            if not unique:
                raise ValueError(f"{self._paths[split]}: names must be there and be unique")

    def _tables(self, split: Split, size: int) -> Iterator[Any]:
        file = self._files[split]
        wanted = [c for c in ("image", "label", "name", "subject") if c in file.schema_arrow.names]
        for batch in self._batches(split, batch_size=size, columns=wanted):
            yield pa.Table.from_batches([batch])

    def _batches(self, split: Split, **options: Any) -> Iterator[Any]:
        with _readable(self._paths[split]):
            yield from self._files[split].iter_batches(**options)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What Arrow says of a damaged page names no file, and is an OSError without a number."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())})") from None


def _open(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a Parquet file ({error})") from None
    missing = {"image", "label"} - set(file.schema_arrow.names)
    if missing:
        raise ValueError(f"{path} has no column {' and no column '.join(sorted(missing))}")
    kind = file.schema_arrow.field("label").type
    if not (
        pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    ):
        raise ValueError(f"{path}: labels must be whole numbers or names, not {kind}")
    return file


def _all_unique(file: Any, column: str) -> bool:
    """Is every cell there, and none twice? Holds the hashes of a few million cells at a time."""
    passes = -(-file.metadata.num_rows // NAMES_AT_ONCE)
    for part in range(passes):
        found = [np.empty(0, np.int64)]
        for batch in file.iter_batches(columns=[column]):
            if batch.column(0).null_count:
                return False
            texts = batch.column(0).to_pylist()
            hashes = np.fromiter(map(hash, texts), np.int64, len(texts))
            found.append(hashes[hashes % passes == part])
        hashes = np.sort(np.concatenate(found))
        twice = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
        if len(twice) and _any_twice(file, column, set(twice.tolist())):
            return False
    return True


def _any_twice(file: Any, column: str, hashes: set[int]) -> bool:
    """Is it the text that comes twice, of those with these hashes, and not only its hash?"""
    texts = [
        text
        for batch in file.iter_batches(columns=[column])
        for text in batch.column(0).to_pylist()
        if hash(text) in hashes
    ]
    return len(set(texts)) < len(texts)


def _bytes(cell: Any) -> bytes:
    value = cell.as_py()
    if isinstance(value, dict):  # as Hugging Face's data sets write images
        value = value.get("bytes")
    if not isinstance(value, bytes):
        raise ValueError(  # noqa: TRY004  # it is the file that is wrong
            "the image column must hold encoded pictures (PNG, JPEG) as bytes"
        )
    return value


def _subjects(table: Any, path: Path, start: int) -> list[str] | None:
    if "subject" not in table.column_names:
        return None
    subjects = table["subject"].to_pylist()
    for i, subject in enumerate(subjects):
        if subject is None or subject == "":
            raise ValueError(f"{path}, row {start + i}: no subject")
    return [str(subject) for subject in subjects]


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[2]} x {shape[1]} pixels"
