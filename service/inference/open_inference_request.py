"""An inference request of the Open Inference Protocol, version 2, and its binary data extension.

Pure functions from bytes to images. Nothing is made of a size that a request merely claims:
shapes and sizes are compared first with the model's input and with what came.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.inference.open_inference_body import invalid, kind, read_object, shown, split
from service.inference.open_inference_tensors import (
    DATATYPES,
    binary_files,
    binary_pixels,
    json_files,
    json_pixels,
    scaled,
)
from service.schemas.predictions import MOST_IMAGES, MOST_SAMPLES

INPUT = "image"
"""The one input tensor of every model, [N, C, H, W]."""

OUTPUTS = ("probabilities", "class_index", "label", "uncertainty")
"""The output tensors of every model, in the order in which they are answered."""

INFORMATION = "mutual_information"
"""One output more, for who asks for draws of z, or for it by name."""

DRAWS = 16
"""Draws of z behind `mutual_information`, where the request does not say how many."""

CLASSIFIED = "probabilities"
"""The output whose likeliest classes can be asked for (the classification extension)."""

_ROOM = 4096
"""JSON values beside the pixels that a request may hold: names, shapes, parameters."""


@dataclass(frozen=True, slots=True)
class Requested:
    """An output asked for: in which form, and how many `classes` of it instead of the tensor."""

    name: str
    binary: bool
    classes: int | None = None


@dataclass(slots=True)
class InferenceRequest:
    """What was asked: `images` float32 in 0..1 [N, C, H, W], or `encoded` files still to read.

    samples: draws of z behind the uncertainty. seconds: after so many nobody waits any more.
    """

    id: str | None
    outputs: Sequence[Requested]
    samples: int
    seconds: float
    images: NDArray[np.float32] | None
    encoded: Sequence[bytes]


_NAMES = (*OUTPUTS, INFORMATION)
_EVERY = {binary: tuple(Requested(name, binary) for name in _NAMES) for binary in (False, True)}


def read_request(
    body: bytes, header_length: str | None, shape: tuple[int, int, int]
) -> InferenceRequest:
    """The request in `body`, for a model whose input is `shape` (C, H, W).

    `header_length`: Inference-Header-Content-Length, None where it was not sent; 0 says that
    the body is the input's binary data alone. Raises `Invalid` that names the place, what was
    expected there, and what came.
    """
    text, binary = split(body, header_length)
    if header_length is not None and not text:
        return _raw(binary, shape)
    most = MOST_IMAGES * (math.prod(shape) + shape[0] * (shape[1] + 1) + 1) + _ROOM
    document = read_object(text, most)
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        invalid("id", f"expected text, got {kind(request_id)}")
    parameters = _parameters(document, "")
    tensor = _tensor(document)
    datatype = tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        expected = ", ".join(DATATYPES)
        invalid("inputs[0].datatype", f"expected one of {expected}, got {shown(datatype)}")
    count = _count(tensor.get("shape"), datatype, shape)
    size = _binary_size(tensor, binary, header_length)
    images: NDArray[np.float32] | None = None
    encoded: list[bytes] = []
    full = (count, *shape)
    if datatype == "BYTES":
        encoded = json_files(tensor["data"], count) if size is None else binary_files(binary, count)
    elif size is None:
        truths = b"true" in text or b"false" in text
        images = scaled(json_pixels(tensor["data"], datatype, full, truths=truths), datatype)
    else:
        images = scaled(binary_pixels(binary, datatype, full), datatype)
    samples = _whole(parameters, "samples", "draws of z", MOST_SAMPLES)
    outputs = _outputs(document, _flag(parameters, "binary_data_output", "parameters"), samples)
    if not samples and any(each.name == INFORMATION for each in outputs):
        samples = DRAWS
    microseconds = _whole(parameters, "timeout", "microseconds", sys.maxsize)
    seconds = microseconds / 1e6 if microseconds else math.inf
    return InferenceRequest(request_id, outputs, samples, seconds, images, encoded)


def _raw(binary: memoryview, shape: tuple[int, int, int]) -> InferenceRequest:
    """Only binary data, of the datatype that the metadata names; answered in binary too."""
    each = 4 * math.prod(shape)
    if not binary or len(binary) % each or len(binary) > MOST_IMAGES * each:
        invalid(
            "body",
            f"expected 1 to {MOST_IMAGES} images of {each} bytes each, FP32 {list(shape)}, "
            f"got {len(binary)} bytes",
        )
    full = (len(binary) // each, *shape)
    pixels = scaled(binary_pixels(binary, "FP32", full), "FP32")
    return InferenceRequest(None, _EVERY[True][:-1], 0, math.inf, pixels, [])


def _tensor(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one input; whatever else was sent is named."""
    inputs = document.get("inputs")
    if not isinstance(inputs, list):
        invalid("inputs", f"expected a list with one tensor, {INPUT!r}, got {kind(inputs)}")
    for at, each in enumerate(inputs):
        if not isinstance(each, dict):
            invalid(f"inputs[{at}]", f"expected an object, got {kind(each)}")
        if each.get("name") != INPUT:
            invalid(f"inputs[{at}].name", f"expected {INPUT!r}, got {shown(each.get('name'))}")
    if len(inputs) != 1:
        invalid("inputs", f"expected one tensor, {INPUT!r}, got {len(inputs)}")
    found: Mapping[str, Any] = inputs[0]
    return found


def _count(given: Any, datatype: str, shape: tuple[int, int, int]) -> int:
    """N, from a shape that fits the model."""
    fixed = [] if datatype == "BYTES" else list(shape)
    expected = "[" + ", ".join(["N", *map(str, fixed)]) + "]"
    where = "inputs[0].shape"
    if not isinstance(given, list):
        invalid(where, f"expected {expected}, got {kind(given)}")
    if any(type(each) is not int for each in given):
        invalid(where, f"expected whole numbers, {expected}")
    if given[1:] != fixed or not given:
        invalid(where, f"expected {expected}, got {_short(given)}")
    count: int = given[0]
    if not 1 <= count <= MOST_IMAGES:
        invalid(where, f"expected 1 to {MOST_IMAGES} images, got {count}")
    return count


def _binary_size(
    tensor: Mapping[str, Any], binary: memoryview, header_length: str | None
) -> int | None:
    """How many bytes of binary data are the input's; None where it has `data`."""
    where = "inputs[0].parameters"
    parameters = _parameters(tensor, "inputs[0].")
    if any(name.startswith("shared_memory") for name in parameters):
        invalid(where, "shared memory is not offered here; send the data with the request")
    size = parameters.get("binary_data_size")
    if size is None:
        if "data" not in tensor:
            invalid("inputs[0]", "has neither `data` nor a parameter `binary_data_size`")
        if binary:
            invalid("body", f"{len(binary)} bytes of binary data follow that no input refers to")
        return None
    if type(size) is not int or size < 0:
        invalid(f"{where}.binary_data_size", f"expected a number of bytes, got {shown(size)}")
    if "data" in tensor:
        invalid("inputs[0]", "has both `data` and a parameter `binary_data_size`; send one")
    if header_length is None:
        invalid(
            "Inference-Header-Content-Length",
            "is missing; with binary data it says how many bytes of the body are JSON",
        )
    if size != len(binary):
        invalid(
            f"{where}.binary_data_size",
            f"says {size} bytes, but {len(binary)} bytes follow the JSON",
        )
    return size


def _outputs(document: Mapping[str, Any], binary: bool, samples: int) -> Sequence[Requested]:
    """Those asked for, in that order; all of them where none is named."""
    given = document.get("outputs")
    if given is None or given == []:
        return _EVERY[binary] if samples else _EVERY[binary][:-1]
    if not isinstance(given, list):
        invalid("outputs", f"expected a list, got {kind(given)}")
    found: dict[str, Requested] = {}
    for at, each in enumerate(given):
        where = f"outputs[{at}]"
        if not isinstance(each, dict):
            invalid(where, f"expected an object, got {kind(each)}")
        name = each.get("name")
        if not isinstance(name, str) or name not in _NAMES:
            invalid(f"{where}.name", f"expected one of {', '.join(_NAMES)}, got {shown(name)}")
        if name in found:
            invalid(f"{where}.name", f"{name!r} is asked for twice")
        found[name] = _requested(name, _parameters(each, f"{where}."), binary, where)
    return list(found.values())


def _requested(name: str, parameters: Mapping[str, Any], binary: bool, where: str) -> Requested:
    where = f"{where}.parameters"
    if any(each.startswith("shared_memory") for each in parameters):
        invalid(where, "shared memory is not offered here; the answer holds the data")
    if "binary_data" in parameters:
        binary = _flag(parameters, "binary_data", where)
    classes = parameters.get("classification")
    if classes is not None:
        if type(classes) is not int or classes < 1:
            invalid(f"{where}.classification", f"expected 1 or more, got {shown(classes)}")
        if name != CLASSIFIED:
            invalid(f"{where}.classification", f"is for {CLASSIFIED!r} only, not for {name!r}")
    return Requested(name, binary, classes)


def _whole(parameters: Mapping[str, Any], name: str, unit: str, most: int) -> int:
    """A parameter that counts something, 0 where it is not given."""
    given = parameters.get(name, 0)
    if type(given) is not int or not 0 <= given <= most:
        invalid(f"parameters.{name}", f"expected 0 to {most} {unit}, got {shown(given)}")
    return given


def _parameters(holder: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The parameters in `holder`. Those that mean nothing here are left alone."""
    given = holder.get("parameters")
    if given is None:
        return {}
    if not isinstance(given, dict):
        invalid(f"{where}parameters", f"expected an object, got {kind(given)}")
    return given


def _flag(parameters: Mapping[str, Any], name: str, where: str) -> bool:
    given = parameters.get(name, False)
    if not isinstance(given, bool):
        invalid(f"{where}.{name}", f"expected true or false, got {shown(given)}")
    return given


def _short(dimensions: Sequence[int]) -> str:
    shown = [str(each) for each in dimensions[:8]] + (["..."] if len(dimensions) > 8 else [])
    return f"[{', '.join(shown)}]"
