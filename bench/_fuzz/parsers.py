"""Every parser of bytes that come from elsewhere, what it is fed, and what may come of it."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
from PIL import Image
from starlette.exceptions import HTTPException

from bench._fuzz.mutate import (
    BYTES,
    counted,
    flipped,
    json_value,
    png_chunk,
    tensors_header,
    tokens,
)
from bench._fuzz.running import Parser, Take, refusing
from core.errors import LetheError

SHAPE = (1, 8, 8)


def pictures() -> list[bytes]:
    """PNG and JPEG files of every mode that Pillow writes."""
    rng, found = np.random.default_rng(0), []
    colour = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = (
            colour.convert("L").convert("I").convert(mode)
            if mode == "I;16"
            else colour.convert(mode)
        )
        found.append(_file(image, "PNG"))
    found.append(_file(colour, "PNG", save_all=True, append_images=[colour.rotate(90)]))
    found += [_file(colour.convert(mode), "JPEG") for mode in ("L", "RGB", "CMYK")]
    return [*found, _file(colour, "JPEG", progressive=True, quality=30)]


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _open_images(_: Path) -> Take:
    from lethe.pictures import decode
    from service.inference.inputs import from_files

    def read(data: bytes) -> None:
        try:
            for shape in (SHAPE, (3, 8, 8)):
                images = from_files([data], shape)
                assert images.shape == (1, *shape)
                assert 0.0 <= images.min() <= images.max() <= 1.0
        finally:
            with suppress(ValueError):
                decode(data, "a file")

    return refusing()(read)


def _json_bodies() -> list[bytes]:
    import base64

    picture = base64.b64encode(pictures()[1]).decode()
    flat = [0.5] * 64
    bodies: list[Any] = [
        {"inputs": [np.reshape(flat, SHAPE).tolist()] * 2, "model": "digits", "samples": 3},
        {"inputs": [flat], "version": 1},
        {"inputs": [[[0, 1] * 4] * 8]},
        {"images": [picture, picture], "model": "digits"},
    ]
    return [json.dumps(body).encode() for body in bodies]


def _open_predict(content_type: str) -> Callable[[Path], Take]:
    def opened(_: Path) -> Take:
        from service.inference.bodies import read
        from service.inference.inputs import from_bytes, from_files, from_lists

        def take(data: bytes) -> None:
            query = b""
            if content_type == "application/octet-stream":
                query, _, data = data.partition(b"\n")
            question = asyncio.run(read(data, content_type, query))
            if question.files:
                from_files(question.files, SHAPE)
            elif question.numbers is not None:
                from_bytes(question.numbers, question.dtype, SHAPE)
            else:
                from_lists(question.lists or [], SHAPE)

        return refusing()(take)

    return opened


def _forms() -> list[bytes]:
    head = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
    picture = pictures()[1]
    field = head % (b"model", b"") + b"digits\r\n"
    file = head % (b"image", b'; filename="a.png"\r\nContent-Type: image/png') + picture + b"\r\n"
    return [field + file + b"--x--\r\n", file + file + b"--x--\r\n", file + b"--x--"]


def _raw() -> list[bytes]:
    floats = np.linspace(0, 1, 128, dtype="<f4").tobytes()
    return [b"\n" + floats, b"dtype=uint8&version=1\n" + bytes(range(128)), b"samples=3\n" + floats]


def _infer_bodies() -> list[bytes]:
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, *SHAPE], "data": [0.5] * 64}
    whole = {"id": "1", "inputs": [tensor], "outputs": [{"name": "label"}], "parameters": {}}
    binary = {k: v for k, v in tensor.items() if k != "data"} | {
        "parameters": {"binary_data_size": 256}
    }
    text = json.dumps({"inputs": [binary], "parameters": {"binary_data_output": True}}).encode()
    floats = np.linspace(0, 1, 64, dtype="<f4").tobytes()
    element = len(pictures()[1]).to_bytes(4, "little") + pictures()[1]
    encoded = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"binary_data_size": len(element)},
    }
    picture = json.dumps({"inputs": [encoded]}).encode()
    bodies = [
        b"\n\n" + json.dumps(whole).encode(),
        b"%d\n\n" % len(text) + text + floats,
        b"%d\n\n" % len(picture) + picture + element,
        b"0\n\n" + floats,
    ]
    packed = gzip.compress(text + floats, mtime=0)
    return [*bodies, b"%d\ngzip\n" % len(text) + packed]


def _open_infer(_: Path) -> Take:
    from service.inference.inputs import from_files
    from service.inference.open_inference_body import unpacked
    from service.inference.open_inference_request import read_request

    def read(data: bytes) -> None:
        length, _, rest = data.partition(b"\n")
        coding, _, body = rest.partition(b"\n")
        whole = unpacked(body, coding.decode("latin-1"), 1 << 20)
        found = read_request(whole, length.decode("latin-1") if length else None, SHAPE)
        if found.images is None:
            from_files(found.encoded, SHAPE)

    return refusing(HTTPException)(read)


def _checkpoints() -> list[bytes]:
    import torch

    from unlearning import PRESETS, VIB

    torch.manual_seed(0)
    architecture = PRESETS["digits-mlp"].architecture(SHAPE, 10)
    vib = VIB(architecture)
    arrays = {name: tensor.numpy() for name, tensor in vib.state_dict().items()}
    told = {"architecture": json.dumps(architecture.to_dict())}
    small = {"a": np.zeros((2, 3), np.float32), "b": np.arange(4, dtype=np.int64)}
    return [safetensors.numpy.save(arrays, told), safetensors.numpy.save(small, {"x": "y"})]


def _open_checkpoint(folder: Path) -> Take:
    from core.records import Dataset
    from worker.adopt import _read

    dataset = Dataset(name="digits", shape=list(SHAPE), classes=[str(n) for n in range(10)])

    def read(data: bytes) -> None:
        _read(data, folder / "weights.safetensors", dataset, None)

    return refusing()(read)


def _parquet_files() -> list[bytes]:
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


def _open_parquet(folder: Path) -> Take:
    from lethe.sources import Subjected, open_source

    path = folder / "rows.parquet"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        for chunk in Subjected(open_source(f"parquet:{path}")).chunks():
            assert len(chunk.images) == len(chunk.labels) == len(chunk.sample_ids)

    return refusing(ValueError)(read)


def _idx_files() -> list[bytes]:
    images = struct.pack(">IIII", 2051, 3, 8, 8) + bytes(range(192))
    return [images, gzip.compress(images, mtime=0)]


def _open_idx(folder: Path) -> Take:
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


def _sheets() -> list[bytes]:
    return [
        b'subject_id,external_id\r\n"Ann, the first",t-1\r\nBob,\r\n',
        '\ufeffsubject_id,regulation,strategy\nZoë,gdpr,retrain\n\n"two\nlines",,\n'.encode(),
        b"sample_id,subject_id\ntrain/00001,Ann\ntrain/00002,Bob\n",
    ]


def _open_sheet(folder: Path) -> Take:
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


def _certificates() -> list[bytes]:
    from core.certificates import Signer

    document = {
        "request": {"id": "er_1", "completed_at": "2026-01-01T00:00:00Z"},
        "outcome": "erased",
        "sample_count": 2,
    }
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    signer = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    return [signer.public_pem.encode() + b"\n\n" + signer.sign(document).encode()]


def _open_certificate(_: Path) -> Take:
    from core.certificates import verify

    def read(data: bytes) -> None:
        pem, _, text = data.partition(b"\n\n")
        verify(text, pem.decode("utf-8", "replace"))

    return refusing()(read)


CSV = tokens(
    b",", b'"', b"\n", b"\r", b"\x00", b'""', b"subject_id", b"\xff", b"\xef\xbb\xbf", b"'"
)
FORM = tokens(
    b"\r\n",
    b"--x",
    b"--x--",
    b"\r\n\r\n",
    b"Content-Disposition:",
    b'name="',
    b"filename*=utf-8''",
    b"\x00",
    b"Content-Type: ",
    b": ",
    b";" * 50,
    b"Content-Transfer-Encoding: base64\r\n",
)
QUERY = tokens(b"&", b"=", b"%", b"%00", b"dtype=", b"samples=", b"version=", b"+", b"\xff")
PEM = tokens(b"-----BEGIN PUBLIC KEY-----", b"-----END", b"=", b"\n\n", b"\\u0000", b"{", b'"')

PARSERS: tuple[Parser, ...] = (
    Parser(
        "images",
        "PNG and JPEG: POST /predict, imports",
        pictures,
        (*BYTES, png_chunk, png_chunk),
        _open_images,
        4,
    ),
    Parser(
        "json",
        "POST /predict, JSON",
        _json_bodies,
        (*BYTES, counted, json_value, json_value, json_value),
        _open_predict("application/json"),
        4,
    ),
    Parser(
        "multipart",
        "POST /predict, a form",
        _forms,
        (*BYTES, FORM, FORM, FORM),
        _open_predict("multipart/form-data; boundary=x"),
        3,
    ),
    Parser(
        "raw",
        "POST /predict, raw numbers and the query",
        _raw,
        (*BYTES, QUERY, QUERY),
        _open_predict("application/octet-stream"),
        2,
    ),
    Parser(
        "infer",
        "/v2 infer: JSON, binary tensors, packed bodies",
        _infer_bodies,
        (*BYTES, counted, json_value),
        _open_infer,
        4,
    ),
    Parser(
        "safetensors",
        "lethe models import",
        _checkpoints,
        (*BYTES, tensors_header, tensors_header, tensors_header),
        _open_checkpoint,
        2,
    ),
    Parser(
        "parquet",
        "lethe dataset import --from parquet",
        _parquet_files,
        (*BYTES, flipped),
        _open_parquet,
        2,
    ),
    Parser(
        "idx",
        "lethe dataset import --from mnist",
        _idx_files,
        BYTES,
        _open_idx,
        1,
    ),
    Parser(
        "csv",
        "lethe erase --csv, lethe dataset import --subjects",
        _sheets,
        (*BYTES, CSV, CSV, CSV),
        _open_sheet,
        2,
    ),
    Parser(
        "certificate",
        "lethe verify-certificate",
        _certificates,
        (*BYTES, PEM, json_value),
        _open_certificate,
        1,
    ),
)
