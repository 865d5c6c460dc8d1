"""From what a body holds to images, with a 422 that says where, what was expected, what came."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from core.errors import Invalid
from service.schemas.predictions import MOST_IMAGES

Floats = NDArray[np.float32]
Shape = tuple[int, int, int]

MOST_PIXELS = 64_000_000
"""Images that claim more pixels than this together are refused before any is decoded."""

DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "uint8": np.dtype("u1")}
"""Numbers in a raw body, by the name in its `dtype` parameter."""


def from_lists(items: Sequence[Any], shape: Shape) -> Floats:
    """Images in 0..1, float32 [N, C, H, W], from nested lists.

    Each item is C x H x W, or H x W where there is one channel, or flat in that order.
    Raises `Invalid` naming the first input that does not fit.
    """
    fitting = _fitting(items, shape)
    if fitting is not None:
        return fitting
    try:
        array = np.asarray(items)
    except (ValueError, OverflowError):
        array = None
    if array is None or array.dtype.kind not in "iuf" or array.shape[1:] not in _forms(shape):
        raise _misfit(items, shape)
    images = array.reshape(-1, *shape).astype(np.float32)
    _check_range(images, "inputs")
    return images


def packed(values: Sequence[Any]) -> bytes:
    """Numbers as float32, each rounded as NumPy does, in a third of the time that NumPy takes.

    Raises `struct.error` for anything but a number; true is taken for 1.
    """
    return _layout(len(values)).pack(*values)


@lru_cache(64)
def _layout(count: int) -> struct.Struct:
    return struct.Struct(f"{count}f")


def _fitting(items: Sequence[Any], shape: Shape) -> Floats | None:
    """The images, where every list is as long as its form says and every number is in 0..1.

    None for all else, good or bad, and where the first number is a truth value: NumPy then says
    whether all are. It is slower because it asks every value what it is.
    """
    form = _form_meant(items[0], shape)
    if form is None:
        return None
    level: Sequence[Any] = items
    try:
        for length in form:
            if set(map(len, level)) != {length}:
                return None
            inner: list[Any] = []
            for each in level:
                inner += each  # of a text or an object, texts: `packed` takes none
            level = inner
        if isinstance(level[0], bool):
            return None
        data = packed(level)
    except (TypeError, struct.error):
        return None
    if np.maximum.reduce(np.frombuffer(data, np.uint32)) > _ONE:
        return None
    return np.frombuffer(data, np.float32).reshape(-1, *shape)


def from_bytes(data: bytes, dtype: str, shape: Shape) -> Floats:
    """Images in 0..1, float32 [N, C, H, W], from raw numbers in that order.

    dtype: "float32" (little-endian, in 0..1) or "uint8" (0..255). Raises `Invalid`.
    """
    if dtype not in DTYPES:
        raise invalid("dtype", f"must be {' or '.join(DTYPES)}, got {dtype[:40]!r}")
    size = DTYPES[dtype].itemsize * shape[0] * shape[1] * shape[2]
    if len(data) % size:
        wanted = " x ".join(map(str, shape))
        raise invalid(
            "body",
            f"must be a whole number of images: {wanted} {dtype} numbers are {size} bytes, "
            f"got {len(data)} bytes",
        )
    check_count(len(data) // size, "body")
    images = np.frombuffer(data, DTYPES[dtype]).reshape(-1, *shape)
    if dtype == "uint8":
        return images.astype(np.float32) / np.float32(255)
    _check_range(images, "body")
    return images.astype(np.float32, copy=False)


def from_files(files: Sequence[bytes], shape: Shape, where: str = "images") -> Floats:
    """Images in 0..1, float32 [N, C, H, W], from PNG or JPEG files, brought to `shape`.

    Their heads are read first: too many pixels are refused before one is decoded.
    Raises `Invalid` naming the first file that is no image, as one of `where`.
    """
    pixels = 0
    for at, data in enumerate(files):
        with _opened(data, f"{where}[{at}]") as image:
            pixels += image.width * image.height
            if pixels > MOST_PIXELS:
                together = " together with those before it" if at else ""
                raise invalid(
                    f"{where}[{at}]",
                    f"is {image.width} x {image.height}: too large{together}; "
                    f"{MOST_PIXELS // 1_000_000} million pixels are taken at once",
                )
    return np.stack([_decoded(data, f"{where}[{at}]", shape) for at, data in enumerate(files)])


def check_count(count: int, where: str) -> None:
    """Raises `Invalid` for no image, or for more than one call may bring."""
    if count > MOST_IMAGES:
        raise invalid(where, f"holds {count} images; send at most {MOST_IMAGES} at once")
    if count == 0:
        raise invalid(where, "must hold at least one image, got none")


def refuse_text(items: Sequence[Any]) -> None:
    """Raises `Invalid` that names the first text among these nested lists."""
    waiting = [(items, "inputs")]
    while waiting:
        within, where = waiting.pop()
        lists = []
        for at, item in enumerate(within):
            if isinstance(item, str):
                raise invalid(f"{where}[{at}]", "must be a number, got text")
            if isinstance(item, list):
                lists.append((item, f"{where}[{at}]"))
        waiting += reversed(lists)


def invalid(where: str, message: str) -> Invalid:
    """The error that says where, and what of it."""
    return Invalid(f"{where} {message}", [{"where": where, "message": message}])


def kind(value: Any) -> str:
    """What came, in words; never the value itself."""
    names = {dict: "an object", str: "text", bool: "a truth value"}
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    return "null" if value is None else names.get(type(value), "a number")


def _forms(shape: Shape) -> tuple[tuple[int, ...], ...]:
    channels, height, width = shape
    forms: tuple[tuple[int, ...], ...] = (shape, (channels * height * width,))
    return (*forms, (height, width)) if channels == 1 else forms


_ONE = np.float32(1.0).view(np.uint32)


def _check_range(images: Floats, where: str) -> None:
    # As bits, what is 0 to 1 is at most 1.0; what is negative, above 1 or NaN is more.
    if images.view(np.uint32).max() <= _ONE:
        return
    for at, image in enumerate(images):
        low, high = float(image.min()), float(image.max())
        if not (low >= 0.0 and high <= 1.0):  # written so that NaN fails it too
            raise invalid(f"{where}[{at}]", f"pixels must lie in 0..1, got {low:g}..{high:g}")


def _misfit(items: Sequence[Any], shape: Shape) -> Invalid:
    """What is wrong with the first item that does not fit. Slow; only refusals come here."""
    for at, item in enumerate(items):
        where = f"inputs[{at}]"
        form = _form_meant(item, shape)
        sizes = _sizes(item)
        if form is None or (sizes is not None and sizes != form):
            came = " x ".join(map(str, sizes)) if sizes else kind(item)
            return invalid(where, f"expected {_wanted(shape)}, got {came}")
        wrong = _first_wrong(item, form, where)
        if wrong is not None:
            place, message = wrong
            return invalid(place, f"{message} (an image is {_wanted(shape)})")
    return invalid("inputs", f"must all be nested alike, each {_wanted(shape)}")


def _wanted(shape: Shape) -> str:
    return f"{' x '.join(map(str, shape))} (channels, rows, columns)"


def _sizes(item: Any) -> tuple[int, ...] | None:
    """The shape of evenly nested lists; None where they are ragged."""
    try:
        sizes: tuple[int, ...] = np.shape(item)
    except ValueError:
        return None
    return sizes


def _form_meant(item: Any, shape: Shape) -> tuple[int, ...] | None:
    """The form that is nested as deeply as `item` begins."""
    depth = 0
    while isinstance(item, list) and item and depth < 4:
        depth += 1
        item = item[0]
    return next((form for form in _forms(shape) if len(form) == depth), None)


def _first_wrong(item: Any, form: tuple[int, ...], where: str) -> tuple[str, str] | None:
    if not form:
        if isinstance(item, (int, float)) and not isinstance(item, bool):
            return None
        return where, f"must be a number, got {kind(item)}"
    if not isinstance(item, list) or len(item) != form[0]:
        return where, f"must be a list of {form[0]}, got {kind(item)}"
    inner = (_first_wrong(each, form[1:], f"{where}[{at}]") for at, each in enumerate(item))
    return next((wrong for wrong in inner if wrong is not None), None)


def _opened(data: bytes, where: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
    except UnidentifiedImageError:
        raise invalid(where, "is neither PNG nor JPEG") from None
    except Image.DecompressionBombError:
        raise invalid(where, "is too large") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise invalid(where, f"cannot be decoded: {error}") from None


def _decoded(data: bytes, where: str, shape: Shape) -> Floats:
    channels, height, width = shape
    try:
        with _opened(data, where) as image:
            fitted = image.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise invalid(where, f"cannot be decoded: {error}") from None
    if fitted.size != (width, height):
        fitted = fitted.resize((width, height), Image.Resampling.BILINEAR)
    array = np.asarray(fitted, dtype=np.float32) / np.float32(255)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)
