"""From a request's body to images, with a 422 that says where, what was expected, what came."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from core.errors import Invalid

MOST_IMAGES = 1024
"""Images in one request, at most."""

MOST_PIXELS = 64_000_000
"""An image that claims more pixels than this is refused before it is decoded."""


@dataclass(frozen=True)
class PredictionInput:
    """What a body asked for: float32 in 0..1 [N, C, H, W], or encoded images still to fit."""

    model: str | None
    pixels: list[Any] | None
    images: list[bytes]


def read_json(body: bytes) -> PredictionInput:
    """Parse `{"model"?, "inputs": [...]}` or `{"model"?, "images": [base64, ...]}`."""
    try:
        document = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _invalid("body", f"is not JSON: {error}" if str(error) else "is not JSON") from None
    if not isinstance(document, dict):
        raise _invalid("body", 'must be an object like {"inputs": [...]}')
    unknown = sorted(set(document) - {"model", "inputs", "images"})
    if unknown:
        raise _invalid(unknown[0], "is not known here; use model, inputs or images")
    model = document.get("model")
    if model is not None and not isinstance(model, str):
        raise _invalid("model", f"must be a name, got {_kind(model)}")
    if ("inputs" in document) == ("images" in document):
        raise _invalid("body", "give either inputs or images")
    field = "inputs" if "inputs" in document else "images"
    items = document[field]
    if not isinstance(items, list) or not items:
        raise _invalid(field, f"must be a list with at least one image, got {_kind(items)}")
    if len(items) > MOST_IMAGES:
        raise _invalid(field, f"holds {len(items)} images; send at most {MOST_IMAGES} at once")
    if field == "inputs":
        return PredictionInput(model, items, [])
    return PredictionInput(model, None, [_decoded(item, at) for at, item in enumerate(items)])


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


def _decoded(item: Any, at: int) -> bytes:
    if not isinstance(item, str):
        raise _invalid(f"images[{at}]", f"must be base64 text, got {_kind(item)}")
    try:
        return base64.b64decode(item, validate=True)
    except ValueError:
        raise _invalid(f"images[{at}]", "is not base64") from None


def to_array(source: PredictionInput, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Images in 0..1, float32 [N, C, H, W], for a model whose input is `shape`.

    Raises `Invalid` naming the first input that does not fit.
    """
    if source.pixels is None:
        return np.stack([_image(data, at, shape) for at, data in enumerate(source.images)])
    rows = [_nested(item, at, shape) for at, item in enumerate(source.pixels)]
    return np.stack(rows)


def _nested(item: Any, at: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    where = f"inputs[{at}]"
    wanted = " x ".join(map(str, shape))
    try:
        array = np.array(item)
    except (ValueError, OverflowError):
        raise _invalid(where, f"is ragged; expected nested lists {wanted}") from None
    if array.dtype.kind not in "iuf":
        raise _invalid(where, f"must hold numbers only, as nested lists {wanted}")
    if array.shape == shape[1:] and shape[0] == 1:
        array = array[None]
    if array.shape != shape:
        got = " x ".join(map(str, array.shape)) or "a number"
        raise _invalid(where, f"expected {wanted} (channels, rows, columns), got {got}")
    array = array.astype(np.float32)
    low, high = float(array.min()), float(array.max())
    if not (low >= 0.0 and high <= 1.0):  # written so that NaN fails it too
        raise _invalid(where, f"pixels must lie in 0..1, got {low:g}..{high:g}")
    return array


def _image(data: bytes, at: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    channels, height, width = shape
    where = f"images[{at}]"
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MOST_PIXELS:
                raise _invalid(where, f"is {image.width} x {image.height}: too large")
            fitted = image.convert("L" if channels == 1 else "RGB")
    except UnidentifiedImageError:
        raise _invalid(where, "is neither PNG nor JPEG") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _invalid(where, f"cannot be decoded: {error}") from None
    if fitted.size != (width, height):
        fitted = fitted.resize((width, height), Image.Resampling.BILINEAR)
    array = np.asarray(fitted, dtype=np.float32) / 255.0
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an empty list", str: "text", bool: "a truth value"}
    return "null" if value is None else names.get(type(value), "a number")


def _invalid(where: str, message: str) -> Invalid:
    return Invalid(f"{where} {message}", [{"where": where, "message": message}])
