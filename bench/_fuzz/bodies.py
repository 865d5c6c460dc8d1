"""Bodies of calls: good ones to begin with, and what the service does with one."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.exceptions import HTTPException

from bench._fuzz.running import Take, refusing

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


def open_images(_: Path) -> Take:
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


def json_bodies() -> list[bytes]:
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


def open_predict(content_type: str) -> Callable[[Path], Take]:
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


def forms() -> list[bytes]:
    head = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
    picture = pictures()[1]
    field = head % (b"model", b"") + b"digits\r\n"
    file = head % (b"image", b'; filename="a.png"\r\nContent-Type: image/png') + picture + b"\r\n"
    return [field + file + b"--x--\r\n", file + file + b"--x--\r\n", file + b"--x--"]


def raw() -> list[bytes]:
    floats = np.linspace(0, 1, 128, dtype="<f4").tobytes()
    return [b"\n" + floats, b"dtype=uint8&version=1\n" + bytes(range(128)), b"samples=3\n" + floats]


def infer_bodies() -> list[bytes]:
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


def open_infer(_: Path) -> Take:
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
