"""The data of an input tensor of the Open Inference Protocol, as JSON or binary, checked.

Row-major, without padding; binary data is little-endian (the binary tensor data extension).
"""

from __future__ import annotations

import base64
import math
import struct
from array import array
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.inference.inputs import packed
from service.inference.open_inference_body import invalid, kind, shown

DATATYPES = {
    "FP32": "pixels 0..1, shape [N, C, H, W]",
    "UINT8": "pixels 0..255, shape [N, C, H, W]",
    "BYTES": "PNG or JPEG files, shape [N]; as JSON in base64",
}
"""What the input takes, by datatype."""


def binary_pixels(binary: memoryview, datatype: str, full: tuple[int, ...]) -> NDArray[Any]:
    """Row-major and little-endian, as the extension has it."""
    stored = np.dtype("<f4") if datatype == "FP32" else np.dtype(np.uint8)
    expected = math.prod(full) * stored.itemsize
    if len(binary) != expected:
        invalid(
            "inputs[0]",
            f"expected {expected} bytes of binary data for {datatype} {list(full)}, "
            f"got {len(binary)}",
        )
    return np.frombuffer(binary, stored).reshape(full)


def json_pixels(data: Any, datatype: str, full: tuple[int, ...], *, truths: bool) -> NDArray[Any]:
    """Row-major values, flat or nested; `truths`: among them may be true and false."""
    where = "inputs[0].data"
    if not isinstance(data, list):
        invalid(where, f"expected a list, got {kind(data)}")
    values = _flattened(data, full) if data and isinstance(data[0], list) else data
    if len(values) != math.prod(full):
        invalid(where, f"expected {math.prod(full)} values for {list(full)}, got {len(values)}")
    numbers = {int, float} if datatype == "FP32" else {int}
    try:
        # The quickest ways from a list that refuse text and null. They take true for 1.
        found = packed(values) if datatype == "FP32" else array("q", values)
    except (TypeError, OverflowError, struct.error):
        truths = True
    if truths:
        for at, value in enumerate(values):
            if type(value) not in numbers or (numbers == {int} and not 0 <= value <= 255):
                wanted = "a number" if datatype == "FP32" else "a whole number 0..255"
                invalid(f"{where}, value {at}", f"expected {wanted}, got {shown(value)}")
    return np.frombuffer(found, np.float32 if datatype == "FP32" else np.int64).reshape(full)


def _flattened(data: list[Any], full: tuple[int, ...]) -> list[Any]:
    """What nested lists hold, if every one of them is as long as the shape says."""
    level: list[Any] = [data]
    for depth, length in enumerate(full):
        if set(map(type, level)) != {list} or set(map(len, level)) != {length}:
            at, bad = next(
                (i, x) for i, x in enumerate(level) if type(x) is not list or len(x) != length
            )
            place = "".join(f"[{i}]" for i in np.unravel_index(at, full[:depth])) if depth else ""
            got = f"{len(bad)} values" if isinstance(bad, list) else kind(bad)
            invalid(
                f"inputs[0].data{place}",
                f"expected a list of {length} values for the shape {list(full)}, got {got}",
            )
        level = list(chain.from_iterable(level))
    return level


_ONE = np.float32(1.0).view(np.uint32)


def scaled(pixels: NDArray[Any], datatype: str) -> NDArray[np.float32]:
    """Float32 in 0..1, in memory of their own; refuses what lies outside, NaN included."""
    images = pixels.astype(np.float32)
    if datatype == "UINT8":
        if pixels.dtype != np.uint8:
            _check_range(pixels, 255, "")
        return images / np.float32(255)
    # As bits, what is 0 to 1 is at most 1.0; what is negative, above 1 or NaN is more.
    if images.view(np.uint32).max() > _ONE:
        _check_range(images, 1, "; send pixels of 0..255 as UINT8")
    return images


def _check_range(pixels: NDArray[Any], most: int, hint: str) -> None:
    with np.errstate(invalid="ignore"):  # a signalling NaN would be warned of
        outside = ~((pixels >= 0) & (pixels <= most))
    if outside.any():
        at = np.unravel_index(int(np.argmax(outside)), pixels.shape)
        place = [int(i) for i in at]
        invalid("inputs[0]", f"expected 0..{most}, got {pixels[at]:g} at {place}{hint}")


def json_files(data: Any, count: int) -> list[bytes]:
    """Image files in base64."""
    where = "inputs[0].data"
    if not isinstance(data, list) or len(data) != count:
        got = f"{len(data)}" if isinstance(data, list) else kind(data)
        invalid(where, f"expected a list of {count} image files in base64, got {got}")
    found = []
    for at, each in enumerate(data):
        if not isinstance(each, str):
            invalid(f"{where}[{at}]", f"expected an image file in base64, got {kind(each)}")
        try:
            found.append(base64.b64decode(each, validate=True))
        except ValueError:
            invalid(f"{where}[{at}]", "is not base64")
    return found


def binary_files(binary: memoryview, count: int) -> list[bytes]:
    """Image files, each after its length in four little-endian bytes."""
    found, at = [], 0
    for index in range(count):
        start = at + 4
        at = start + int.from_bytes(binary[at:start], "little")
        if start > len(binary) or at > len(binary):
            invalid(
                "inputs[0]",
                f"the binary data ends within element {index} of {count}; each is four bytes "
                "of length, little-endian, and then so many bytes",
            )
        found.append(bytes(binary[start:at]))
    if at != len(binary):
        invalid("inputs[0]", f"{len(binary) - at} bytes of binary data follow element {count - 1}")
    return found
