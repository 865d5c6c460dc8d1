"""The generated samples of `Blobs` as a Parquet file of PNG pictures, written in a stream."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench._soak.blobs import Blobs

_SCHEMA = pa.schema([("image", pa.binary()), ("label", pa.int64()), ("subject", pa.string())])


def write_parquet(path: Path, samples: int) -> None:
    """`samples` pictures of 8 x 8, ten to a subject; memory holds one chunk."""
    with pq.ParquetWriter(path, _SCHEMA) as file:
        for chunk in Blobs(samples).chunks():
            columns = [
                pa.array([png(image[0]) for image in chunk.images], pa.binary()),
                pa.array(chunk.labels),
                pa.array(chunk.subjects),
            ]
            file.write_batch(pa.record_batch(columns, schema=_SCHEMA))


def png(image: NDArray[np.uint8]) -> bytes:
    """A grey picture, uint8 [H, W], as a PNG that is not compressed: to write it takes no time."""
    h, w = image.shape
    rows = np.zeros((h, w + 1), np.uint8)  # a row begins with the number of its filter: none
    rows[:, 1:] = image
    raw = rows.tobytes()
    stored = struct.pack("<BHH", 1, len(raw), len(raw) ^ 0xFFFF) + raw
    data = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(raw))
    head = struct.pack(">IIBBBBB", w, h, 8, 0, 0, 0, 0)
    parts = (_part(b"IHDR", head), _part(b"IDAT", data), _part(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
