"""Samples in columns, and the same as Arrow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core._lance import SamplesInvalid

Split = Literal["train", "reference", "heldout", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
SPLIT_CODE: dict[Split, int] = {split: code for code, split in enumerate(SPLITS)}

Shape = tuple[int, int, int]
Int64 = npt.NDArray[np.int64]

# Lance's word for "as it is": see the head of core.samples.
_PLAIN = {"lance-encoding:compression": "none"}


@dataclass(frozen=True)
class SampleBatch:
    """N samples, in columns.

    keys: int64[N], the row's number, given by the importer, never used again.
    sample_ids: N names, as the user knows them.
    subjects: int64[N], the number of the subject's row in the database; it means nothing here.
    labels: int32[N], class numbers.
    splits: int8[N], positions in SPLITS (see SPLIT_CODE).
    images: uint8[N, C, H, W].
    """

    keys: Int64
    sample_ids: list[str]
    subjects: Int64
    labels: npt.NDArray[np.int32]
    splits: npt.NDArray[np.int8]
    images: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class Pictures:
    """What a model learns of N samples: int32[N] labels, uint8[N, C, H, W] images.

    Of many that lie far apart these columns are read in less than a third of the time of all.
    """

    labels: npt.NDArray[np.int32]
    images: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Found:
    """The light columns of M samples: int64[M], int64[M], int32[M], int8[M]."""

    keys: Int64
    subjects: Int64
    labels: npt.NDArray[np.int32]
    splits: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.keys)


FRAGMENT_ROWS = 65_536
FRAGMENT_BYTES = 64 * 2**20

LIGHT = ["key", "subject", "label", "split"]
SEEN = ["label", "image"]


def schema_of(shape: Shape) -> pa.Schema:
    """The columns for images of `shape`; the shape itself goes into the schema's metadata."""
    size = int(np.prod(shape))
    return pa.schema(
        [
            pa.field("key", pa.int64(), nullable=False),
            pa.field("sample_id", pa.string(), nullable=False, metadata=_PLAIN),
            pa.field("subject", pa.int64(), nullable=False),
            pa.field("label", pa.int32(), nullable=False),
            pa.field("split", pa.int8(), nullable=False),
            pa.field("fingerprint", pa.int64(), nullable=False),
            pa.field("image", pa.list_(pa.uint8(), size), nullable=False, metadata=_PLAIN),
        ],
        metadata={"shape": "x".join(map(str, shape))},
    )


def shape_of(schema: pa.Schema) -> Shape:
    """The inverse of `schema_of`."""
    c, h, w = map(int, schema.metadata[b"shape"].decode().split("x"))
    return c, h, w


def empty(shape: Shape, rows: int) -> SampleBatch:
    """Room for `rows` samples, to be filled by `put`."""
    return SampleBatch(
        keys=np.empty(rows, np.int64),
        sample_ids=[],
        subjects=np.empty(rows, np.int64),
        labels=np.empty(rows, np.int32),
        splits=np.empty(rows, np.int8),
        images=np.empty((rows, *shape), np.uint8),
    )


def put(room: SampleBatch, part: SampleBatch, rows: npt.NDArray[np.bool_]) -> None:
    """Append the marked rows of `part` to `room`."""
    start = len(room.sample_ids)
    names = [name for name, kept in zip(part.sample_ids, rows, strict=True) if kept]
    room.sample_ids.extend(names)
    end = start + len(names)
    room.keys[start:end] = part.keys[rows]
    room.subjects[start:end] = part.subjects[rows]
    room.labels[start:end] = part.labels[rows]
    room.splits[start:end] = part.splits[rows]
    room.images[start:end] = part.images[rows]


def filled(room: SampleBatch) -> SampleBatch:
    """What `put` has filled, as views."""
    end = len(room.sample_ids)
    return SampleBatch(
        keys=room.keys[:end],
        sample_ids=room.sample_ids,
        subjects=room.subjects[:end],
        labels=room.labels[:end],
        splits=room.splits[:end],
        images=room.images[:end],
    )


def to_arrow(batch: SampleBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Check one batch and wrap it without copying the pixels.

    Raises: SamplesInvalid: lengths, types or shapes that do not fit.
    """
    rows, shape = len(batch), shape_of(schema)
    if batch.images.dtype != np.uint8 or batch.images.shape != (rows, *shape):
        raise SamplesInvalid(
            f"Images must be uint8 {[rows, *shape]} here, "
            f"not {batch.images.dtype} {list(batch.images.shape)}: resize or convert them"
        )
    columns = (batch.sample_ids, batch.subjects, batch.labels, batch.splits)
    if any(len(column) != rows for column in columns):
        raise SamplesInvalid(
            f"Every column needs {rows} rows, one a key, not {[len(c) for c in columns]}"
        )
    if rows and not 0 <= batch.splits.min() <= batch.splits.max() < len(SPLITS):
        raise SamplesInvalid(f"A split is a position in {SPLITS}, not {batch.splits.max()}")
    pixels = pa.array(np.ascontiguousarray(batch.images).reshape(-1))
    arrays = [
        pa.array(batch.keys, pa.int64()),
        pa.array(batch.sample_ids, pa.string()),
        pa.array(batch.subjects, pa.int64()),
        pa.array(batch.labels, pa.int32()),
        pa.array(batch.splits, pa.int8()),
        pa.array(fingerprints(batch.images), pa.int64()),
        pa.FixedSizeListArray.from_arrays(pixels, type=schema.field("image").type),
    ]
    return pa.record_batch(arrays, schema=schema)


def fingerprints(images: npt.NDArray[np.uint8]) -> Int64:
    """int64[N] of uint8[N, ...]: the head of each image's BLAKE2b, by which copies are found."""
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images]
    return np.frombuffer(b"".join(digests), np.int64)


def checked(
    batches: Iterable[SampleBatch], schema: pa.Schema, taken_in: Callable[[int, int], Int64]
) -> Iterator[pa.RecordBatch]:
    """Convert a stream of batches, and hold it to new, ascending keys.

    `taken_in`: the keys, from one to another, that are in the data set; asked once for what lies
    past the first key, of which new samples have none.
    Ascending keys show every repetition inside the stream without remembering it.
    """
    last, all_new = -1, False
    for batch in batches:
        if not len(batch):
            continue
        keys = np.asarray(batch.keys, np.int64)
        if keys[0] <= last or np.any(np.diff(keys) <= 0):
            raise SamplesInvalid("Keys must be unique, at least 0, and ascend through an append")
        if last < 0:
            all_new = not len(taken_in(int(keys[0]), 2**63 - 1))
        last = int(keys[-1])
        if not all_new and np.isin(keys, taken_in(int(keys[0]), last)).any():
            raise SamplesInvalid(
                f"Keys {keys[0]} to {last} are partly in the data set already: "
                "give new samples new keys"
            )
        yield to_arrow(batch, schema)


def fragment_rows(schema: pa.Schema) -> int:
    """Rows of a full fragment: at most 64k, and at most 64 MiB of pixels.

    An erasure rewrites the fragments that it touches: this bounds what one sample costs.
    """
    size = int(np.prod(shape_of(schema)))
    return max(1, min(FRAGMENT_ROWS, FRAGMENT_BYTES // size))


def by_fragment(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Regroup a stream into tables of one full fragment each; the last may be smaller."""
    full, held = fragment_rows(schema), schema.empty_table()
    for batch in batches:
        held = pa.concat_tables([held, pa.Table.from_batches([batch])])
        while held.num_rows >= full:
            yield held[:full]
            held = held[full:]
    if held.num_rows:
        yield held


def from_arrow(table: pa.Table, shape: Shape) -> SampleBatch:
    """Rows as arrays; copies the pixels only when they lie in more than one piece."""
    seen = pictures_from_arrow(table, shape)
    return SampleBatch(
        keys=table.column("key").to_numpy(),
        sample_ids=table.column("sample_id").to_pylist(),
        subjects=table.column("subject").to_numpy(),
        labels=seen.labels,
        splits=table.column("split").to_numpy(),
        images=seen.images,
    )


def pictures_from_arrow(table: pa.Table, shape: Shape) -> Pictures:
    """The same of the columns in `SEEN`."""
    table = table.combine_chunks()
    image = table.column("image")
    pixels = image.chunk(0).flatten() if image.num_chunks else pa.array([], pa.uint8())
    return Pictures(
        labels=table.column("label").to_numpy(),
        images=pixels.to_numpy().reshape(-1, *shape),
    )


def pick(batch: SampleBatch, rows: npt.NDArray[np.intp]) -> SampleBatch:
    """The rows of a batch in that order, repetitions included."""
    return SampleBatch(
        keys=batch.keys[rows],
        sample_ids=[batch.sample_ids[row] for row in rows],
        subjects=batch.subjects[rows],
        labels=batch.labels[rows],
        splits=batch.splits[rows],
        images=batch.images[rows],
    )
