"""Files from elsewhere: good ones to begin with, and what a command does with one."""

from __future__ import annotations

import gzip
import io
import json
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy

from bench._fuzz.bodies import SHAPE, pictures
from bench._fuzz.running import Take, refusing
from core.errors import LetheError


def checkpoints() -> list[bytes]:
    import torch

    from unlearning import PRESETS, VIB

    torch.manual_seed(0)
    architecture = PRESETS["digits-mlp"].architecture(SHAPE, 10)
    vib = VIB(architecture)
    arrays = {name: tensor.numpy() for name, tensor in vib.state_dict().items()}
    told = {"architecture": json.dumps(architecture.to_dict())}
    small = {"a": np.zeros((2, 3), np.float32), "b": np.arange(4, dtype=np.int64)}
    return [safetensors.numpy.save(arrays, told), safetensors.numpy.save(small, {"x": "y"})]


def open_checkpoint(folder: Path) -> Take:
    from core.records import Dataset
    from worker.adopt import _read

    dataset = Dataset(name="digits", shape=list(SHAPE), classes=[str(n) for n in range(10)])

    def read(data: bytes) -> None:
        _read(data, folder / "weights.safetensors", dataset, None)

    return refusing()(read)


def parquet_files() -> list[bytes]:
    files = pictures()
    found = []
    for labels, compression in (([0, 1, 2, 1], "snappy"), (["cat", "dog", "cat", "dog"], "none")):
        columns = {
            "image": [files[1], files[4], files[1], files[1]],
            "label": labels,
            "name": ["a", "b", "c", "d"],
            "subject": ["x", "x", "y", "z"],
        }
        for table in (
            columns,
            {**columns, "image": [{"bytes": each} for each in columns["image"]]},
        ):
            buffer = io.BytesIO()
            pq.write_table(pa.table(table), buffer, compression=compression, row_group_size=2)
            found.append(buffer.getvalue())
    return found


def open_parquet(folder: Path) -> Take:
    from lethe.sources import Subjected, open_source

    path = folder / "rows.parquet"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        for chunk in Subjected(open_source(f"parquet:{path}")).chunks():
            assert len(chunk.images) == len(chunk.labels) == len(chunk.sample_ids)

    return refusing(ValueError)(read)


def idx_files() -> list[bytes]:
    images = struct.pack(">IIII", 2051, 3, 8, 8) + bytes(range(192))
    return [images, gzip.compress(images, mtime=0)]


def open_idx(folder: Path) -> Take:
    import unlearning

    labels = struct.pack(">II", 2049, 3) + bytes((0, 1, 2))
    for split in ("train", "t10k"):
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(labels)

    def read(data: bytes) -> None:
        packed = data[:2] == b"\x1f\x8b"
        for split in ("train", "t10k"):
            path = folder / f"{split}-images-idx3-ubyte"
            for each in (path, path.with_suffix(".gz")):
                each.unlink(missing_ok=True)
            (path.with_name(path.name + ".gz") if packed else path).write_bytes(data)
        for _ in unlearning.mnist(folder).chunks():
            pass

    return refusing(ValueError)(read)


def sheets() -> list[bytes]:
    return [
        b'subject_id,external_id\r\n"Ann, the first",t-1\r\nBob,\r\n',
        '\ufeffsubject_id,regulation,strategy\nZoë,gdpr,retrain\n\n"two\nlines",,\n'.encode(),
        b"sample_id,subject_id\ntrain/00001,Ann\ntrain/00002,Bob\n",
    ]


def open_sheet(folder: Path) -> Take:
    from lethe.sheet import Sheet
    from lethe.sources import SubjectMap

    path = folder / "people.csv"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            for row in Sheet(path).rows():
                json.dumps(row.fields).encode()
        finally:
            with suppress(LetheError, ValueError):
                SubjectMap(path)

    return refusing()(read)


def certificates() -> list[bytes]:
    from core.certificates import Signer

    document = {
        "request": {"id": "er_1", "completed_at": "2026-01-01T00:00:00Z"},
        "outcome": "erased",
        "sample_count": 2,
    }
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    signer = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    return [signer.public_pem.encode() + b"\n\n" + signer.sign(document).encode()]


def open_certificate(_: Path) -> Take:
    from core.certificates import verify

    def read(data: bytes) -> None:
        pem, _, text = data.partition(b"\n\n")
        verify(text, pem.decode("utf-8", "replace"))

    return refusing()(read)
