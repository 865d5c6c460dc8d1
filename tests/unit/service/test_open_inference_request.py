"""Requests: every way to write the same images gives the same ones; wrong ones say where."""

from __future__ import annotations

import base64
import itertools
import json
import math
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import Invalid
from service.inference.open_inference_request import (
    DRAWS,
    INFORMATION,
    OUTPUTS,
    InferenceRequest,
    Requested,
    read_request,
)

SHAPE = (2, 3, 4)
GREY = np.arange(2 * 24, dtype=np.uint8).reshape(2, *SHAPE) * 5
PIXELS = GREY.astype(np.float32) / np.float32(255)
FILES = [b"first file", b"", b"third"]


def tensor(**changed: Any) -> dict[str, Any]:
    """A good input, one of its fields changed; None leaves a field out."""
    whole = {"name": "image", "datatype": "FP32", "shape": [2, 2, 3, 4], "data": PIXELS.tolist()}
    return {name: value for name, value in (whole | changed).items() if value is not None}


def body(**changed: Any) -> bytes:
    return json.dumps({"inputs": [tensor()]} | changed).encode()


def read(document: bytes | dict[str, Any], binary: bytes | None = None) -> InferenceRequest:
    """As the service reads it; `binary` follows the JSON, and the header says so."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    if binary is None:
        return read_request(text, None, SHAPE)
    return read_request(text + binary, str(len(text)), SHAPE)


def binary_tensor(array: NDArray[Any], datatype: str) -> tuple[dict[str, Any], bytes]:
    data = array.tobytes()
    parameters = {"binary_data_size": len(data)}
    return tensor(datatype=datatype, data=None, parameters=parameters), data


def written() -> dict[str, tuple[bytes, bytes | None]]:
    """The same two images in every form."""
    as_fp32, fp32 = binary_tensor(PIXELS.astype("<f4"), "FP32")
    as_uint8, uint8 = binary_tensor(GREY, "UINT8")
    forms: dict[str, tuple[dict[str, Any], bytes | None]] = {
        "nested": (tensor(), None),
        "flat": (tensor(data=PIXELS.ravel().tolist()), None),
        "UINT8 nested": (tensor(datatype="UINT8", data=GREY.tolist()), None),
        "UINT8 flat": (tensor(datatype="UINT8", data=GREY.ravel().tolist()), None),
        "binary": (as_fp32, fp32),
        "UINT8 binary": (as_uint8, uint8),
    }
    found = {k: (json.dumps({"inputs": [t]}).encode(), b) for k, (t, b) in forms.items()}
    # A JSON of another length puts the numbers at an odd address.
    return found | {"odd": (found["binary"][0] + b" ", fp32), "raw": (b"", fp32)}


@pytest.mark.parametrize("form", written())
def test_the_same_images_in_any_form(form: str) -> None:
    found = read(*written()[form])
    assert found.images is not None
    assert found.images.dtype == np.float32
    assert found.images.flags.writeable, "torch warns of memory that is another's"
    assert found.images.flags.aligned
    np.testing.assert_allclose(found.images, PIXELS, rtol=1e-7)
    assert found.encoded == []
    assert [each.name for each in found.outputs] == list(OUTPUTS)
    assert {each.binary for each in found.outputs} == {form == "raw"}


def test_whole_numbers_0_and_1_are_pixels_too() -> None:
    found = read(body(inputs=[tensor(data=[0] * 47 + [1])]))
    assert found.images is not None
    assert found.images.sum() == 1.0


def test_truth_values_elsewhere_do_not_matter() -> None:
    found = read(body(parameters={"binary_data_output": True, "custom": [None]}))
    np.testing.assert_array_equal(found.images, PIXELS)  # type: ignore[arg-type]
    assert all(each.binary for each in found.outputs)


def files_binary() -> bytes:
    return b"".join(len(each).to_bytes(4, "little") + each for each in FILES)


def test_image_files_in_base64_and_binary() -> None:
    texts = [base64.b64encode(each).decode() for each in FILES]
    in_json = tensor(datatype="BYTES", shape=[3], data=texts)
    binary = files_binary()
    sized = {"binary_data_size": len(binary)}
    in_binary = tensor(datatype="BYTES", shape=[3], data=None, parameters=sized)
    for found in (read({"inputs": [in_json]}), read({"inputs": [in_binary]}, binary)):
        assert found.images is None
        assert found.encoded == FILES


def test_id_timeout_and_outputs_are_read() -> None:
    asked = [
        {"name": "label"},
        {"name": "probabilities", "parameters": {"binary_data": False, "classification": 3}},
    ]
    found = read(
        body(
            id="7", parameters={"timeout": 1500, "binary_data_output": True, "x": 1}, outputs=asked
        )
    )
    assert found.id == "7"
    assert found.seconds == 0.0015
    assert found.outputs == [Requested("label", True), Requested("probabilities", False, 3)]
    plain = read(body(outputs=[], parameters={"timeout": 0}))
    assert (plain.id, plain.samples, plain.seconds) == (None, 0, math.inf)
    assert list(plain.outputs) == [Requested(name, False) for name in OUTPUTS]


@pytest.mark.parametrize(
    ("samples", "outputs", "draws", "answered"),
    [
        (None, None, 0, OUTPUTS),
        (0, ["uncertainty"], 0, ("uncertainty",)),
        (8, ["uncertainty"], 8, ("uncertainty",)),
        (64, None, 64, (*OUTPUTS, INFORMATION)),
        (None, [INFORMATION], DRAWS, (INFORMATION,)),
        (3, [INFORMATION, "label"], 3, (INFORMATION, "label")),
    ],
)
def test_draws_of_z_are_made_for_who_asks(
    samples: int | None, outputs: list[str] | None, draws: int, answered: tuple[str, ...]
) -> None:
    parameters = {} if samples is None else {"samples": samples}
    named = None if outputs is None else [{"name": name} for name in outputs]
    found = read(body(parameters=parameters, outputs=named))
    assert found.samples == draws
    assert tuple(each.name for each in found.outputs) == answered


def _with(**parameters: Any) -> dict[str, Any]:
    return tensor(data=None, parameters=parameters)


WRONG_INPUTS: list[tuple[Any, str]] = [
    (None, "inputs: expected a list with one tensor, 'image', got null"),
    ({}, "inputs: expected a list with one tensor, 'image', got an object"),
    ([], "inputs: expected one tensor, 'image', got 0"),
    ([tensor(), tensor()], "inputs: expected one tensor, 'image', got 2"),
    ([7], "inputs[0]: expected an object, got a whole number"),
    ([tensor(), tensor(name="mask")], "inputs[1].name: expected 'image', got 'mask'"),
    ([tensor(name="x" * 99)], f"inputs[0].name: expected 'image', got '{'x' * 40}...'"),
    ([tensor(name=None)], "inputs[0].name: expected 'image', got null"),
    ([tensor(datatype="FP16")], "inputs[0].datatype: expected one of FP32, UINT8, BYTES, got 'FP1"),
    (
        [tensor(datatype=["FP32"])],
        "inputs[0].datatype: expected one of FP32, UINT8, BYTES, got a l",
    ),
    ([tensor(shape=None)], "inputs[0].shape: expected [N, 2, 3, 4], got null"),
    ([tensor(shape=[])], "inputs[0].shape: expected [N, 2, 3, 4], got []"),
    ([tensor(shape=[2, 24])], "inputs[0].shape: expected [N, 2, 3, 4], got [2, 24]"),
    ([tensor(shape=[2] * 20)], "got [2, 2, 2, 2, 2, 2, 2, 2, ...]"),
    ([tensor(shape=[2, 2, 3, "4"])], "inputs[0].shape: expected whole numbers, [N, 2, 3, 4]"),
    ([tensor(shape=[2.0, 2, 3, 4])], "inputs[0].shape: expected whole numbers"),
    ([tensor(shape=[True, 2, 3, 4])], "inputs[0].shape: expected whole numbers"),
    ([tensor(shape=[2**31, 2**31])], "expected [N, 2, 3, 4], got [2147483648, 2147483648]"),
    ([tensor(shape=[2**63, 2, 3, 4])], "inputs[0].shape: expected 1 to 1024 images, got 9223372"),
    ([tensor(shape=[-1, 2, 3, 4])], "inputs[0].shape: expected 1 to 1024 images, got -1"),
    ([tensor(shape=[0, 2, 3, 4])], "inputs[0].shape: expected 1 to 1024 images, got 0"),
    ([tensor(shape=[1025, 2, 3, 4])], "inputs[0].shape: expected 1 to 1024 images, got 1025"),
    ([tensor(datatype="BYTES")], "inputs[0].shape: expected [N], got [2, 2, 3, 4]"),
    ([tensor(data=None)], "inputs[0]: has neither `data` nor a parameter `binary_data_size`"),
    ([tensor(parameters=[])], "inputs[0].parameters: expected an object, got a list"),
    ([_with(shared_memory_region="r")], "inputs[0].parameters: shared memory is not offered here"),
    ([_with(binary_data_size=-1)], "binary_data_size: expected a number of bytes, got -1"),
    ([_with(binary_data_size="9")], "binary_data_size: expected a number of bytes, got '9'"),
    ([_with(binary_data_size=192)], "Inference-Header-Content-Length: is missing"),
    ([tensor(parameters={"binary_data_size": 192})], "inputs[0]: has both `data` and a parameter"),
    ([tensor(data="0")], "inputs[0].data: expected a list, got text"),
    ([tensor(data=[])], "inputs[0].data: expected 48 values for [2, 2, 3, 4], got 0"),
    ([tensor(data=[0.5] * 47)], "inputs[0].data: expected 48 values for [2, 2, 3, 4], got 47"),
    ([tensor(data=PIXELS[:1].tolist())], "inputs[0].data: expected a list of 2 values for the"),
    ([tensor(data=[0.5] * 47 + ["0.5"])], "inputs[0].data, value 47: expected a number, got '0.5'"),
    ([tensor(data=[None] + [0.5] * 47)], "inputs[0].data, value 0: expected a number, got null"),
    ([tensor(data=[0.5] * 47 + [True])], "inputs[0].data, value 47: expected a number, got true"),
    ([tensor(data=[0.5] * 47 + [[0.5]])], "inputs[0].data, value 47: expected a number, got a lis"),
    ([tensor(data=[0.5] * 47 + [1e300])], "inputs[0]: expected 0..1, got inf at [1, 1, 2, 3]"),
    ([tensor(data=[0.5] * 47 + [-0.1])], "inputs[0]: expected 0..1, got -0.1 at [1, 1, 2, 3]"),
    (
        [tensor(data=GREY.tolist())],
        "expected 0..1, got 5 at [0, 0, 0, 1]; send pixels of 0..255 as",
    ),
    (
        [tensor(datatype="UINT8", data=[256] * 48)],
        "inputs[0]: expected 0..255, got 256 at [0, 0, 0, 0]",
    ),
    (
        [tensor(datatype="UINT8", data=[2**64 - 1] * 48)],
        "inputs[0].data, value 0: expected a whole number 0..255, got 18446744073709551615",
    ),
    (
        [tensor(datatype="UINT8", data=[0] * 47 + [1.0])],
        "inputs[0].data, value 47: expected a whole number 0..255, got 1.0",
    ),
    (
        [tensor(datatype="BYTES", shape=[2], data=["YQ=="])],
        "inputs[0].data: expected a list of 2 image files in base64, got 1",
    ),
    (
        [tensor(datatype="BYTES", shape=[1], data="YQ==")],
        "inputs[0].data: expected a list of 1 image files in base64, got text",
    ),
    (
        [tensor(datatype="BYTES", shape=[2], data=["YQ==", 1])],
        "inputs[0].data[1]: expected an image file in base64, got a whole number",
    ),
    ([tensor(datatype="BYTES", shape=[1], data=["~"])], "inputs[0].data[0]: is not base64"),
    ([tensor(datatype="BYTES", shape=[1], data=["é"])], "inputs[0].data[0]: is not base64"),
]


@pytest.mark.parametrize(("inputs", "said"), WRONG_INPUTS)
def test_a_wrong_input_is_refused_where_it_is_wrong(inputs: Any, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        read({"inputs": inputs})
    assert said in str(caught.value)
    assert caught.value.details[0]["where"] == str(caught.value).split(": ")[0]


@pytest.mark.parametrize(
    ("at", "place"), [((), ""), ((1,), "[1]"), ((1, 0), "[1][0]"), ((1, 1, 2), "[1][1][2]")]
)
def test_a_ragged_list_is_named_by_its_place(at: tuple[int, ...], place: str) -> None:
    data = PIXELS.tolist()
    inner = data
    for i in at:
        inner = inner[i]
    inner.pop()
    wanted = (2, *SHAPE)[len(at)]
    with pytest.raises(Invalid) as caught:
        read(body(inputs=[tensor(data=data)]))
    assert f"inputs[0].data{place}: expected a list of {wanted} values" in str(caught.value)
    assert f"got {wanted - 1} values" in str(caught.value)


def test_a_number_among_lists_is_named_by_its_place() -> None:
    data = PIXELS.tolist()
    data[0][1] = 0.5
    with pytest.raises(Invalid, match=r"data\[0\]\[1\]: expected a list of 3.*got a number"):
        read(body(inputs=[tensor(data=data)]))


WRONG_REQUESTS: list[tuple[dict[str, Any], str]] = [
    ({"id": 7}, "id: expected text, got a whole number"),
    ({"parameters": "x"}, "parameters: expected an object, got text"),
    ({"parameters": {"binary_data_output": 1}}, "parameters.binary_data_output: expected true or"),
    ({"parameters": {"timeout": -1}}, f"timeout: expected 0 to {sys.maxsize} microseconds, got -1"),
    ({"parameters": {"timeout": "5"}}, "microseconds, got '5'"),
    ({"parameters": {"timeout": True}}, "microseconds, got true"),
    ({"parameters": {"samples": 65}}, "parameters.samples: expected 0 to 64 draws of z, got 65"),
    ({"parameters": {"samples": 1.0}}, "parameters.samples: expected 0 to 64 draws of z, got 1.0"),
    ({"outputs": {}}, "outputs: expected a list, got an object"),
    ({"outputs": ["label"]}, "outputs[0]: expected an object, got text"),
    ({"outputs": [{}]}, "outputs[0].name: expected one of probabilities, class_index, label, unce"),
    ({"outputs": [{"name": "logits"}]}, "mutual_information, got 'logits'"),
    ({"outputs": [{"name": ["label"]}]}, "mutual_information, got a list"),
    ({"outputs": [{"name": "label"}] * 2}, "outputs[1].name: 'label' is asked for twice"),
]
WRONG_OUTPUTS: list[tuple[str, dict[str, Any], str]] = [
    ("label", {"binary_data": "yes"}, "outputs[0].parameters.binary_data: expected true or false"),
    (
        "label",
        {"classification": 2},
        "classification: is for 'probabilities' only, not for 'label'",
    ),
    ("probabilities", {"classification": 0}, "classification: expected 1 or more, got 0"),
    ("probabilities", {"classification": "2"}, "classification: expected 1 or more, got '2'"),
    ("label", {"shared_memory_region": "r"}, "outputs[0].parameters: shared memory is not offered"),
]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        *WRONG_REQUESTS,
        *(
            ({"outputs": [{"name": name, "parameters": parameters}]}, said)
            for name, parameters, said in WRONG_OUTPUTS
        ),
    ],
)
def test_a_wrong_request_is_refused_where_it_is_wrong(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(body(**changed))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("size", "sent", "said"),
    [
        (192, 191, "binary_data_size: says 192 bytes, but 191 bytes follow the JSON"),
        (192, 193, "binary_data_size: says 192 bytes, but 193 bytes follow the JSON"),
        (191, 191, "inputs[0]: expected 192 bytes of binary data for FP32 [2, 2, 3, 4], got 191"),
        (2**62, 192, "binary_data_size: says 4611686018427387904 bytes, but 192 bytes"),
        (0, 0, "inputs[0]: expected 192 bytes of binary data"),
        (None, 5, "body: 5 bytes of binary data follow that no input refers to"),
    ],
)
def test_sizes_that_do_not_agree_are_refused(size: int | None, sent: int, said: str) -> None:
    one = tensor() if size is None else _with(binary_data_size=size)
    with pytest.raises(Invalid) as caught:
        read({"inputs": [one]}, bytes(sent))
    assert said in str(caught.value)


def test_the_sign_of_zero_does_not_matter() -> None:
    one, data = binary_tensor(-0.0 * PIXELS, "FP32")
    found = read({"inputs": [one]}, data)
    np.testing.assert_array_equal(found.images, np.zeros_like(PIXELS))  # type: ignore[arg-type]


@pytest.mark.parametrize("pixel", [np.nan, np.inf, -np.inf, -1e-6, 1.001, "signalling"])
def test_binary_pixels_outside_are_refused(pixel: Any) -> None:
    array = PIXELS.copy()
    if pixel == "signalling":
        array.view(np.uint32)[1, 0, 2, 3] = 0x7FA00000
    else:
        array[1, 0, 2, 3] = pixel
    one, data = binary_tensor(array, "FP32")
    with pytest.raises(Invalid, match=r"expected 0\.\.1, got .* at \[1, 0, 2, 3\]"):
        read({"inputs": [one]}, data)


@pytest.mark.parametrize("data", [b"", bytes(95), bytes(97), bytes(96 * 1025)])
def test_a_body_of_pixels_alone_holds_whole_images(data: bytes) -> None:
    with pytest.raises(Invalid, match="body: expected 1 to 1024 images of 96 bytes each, FP32"):
        read(b"", data)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (b"", "ends within element 0 of 3"),
        (files_binary()[:2], "ends within element 0 of 3"),
        (files_binary()[:-1], "ends within element 2 of 3"),
        (files_binary()[:-6], "ends within element 2 of 3"),
        (b"\xff\xff\xff\xff" + files_binary()[4:], "ends within element 0 of 3"),
        (files_binary() + b"more", "4 bytes of binary data follow element 2"),
    ],
)
def test_elements_that_do_not_fit_their_bytes_are_refused(broken: bytes, said: str) -> None:
    sized = {"binary_data_size": len(broken)}
    one = tensor(datatype="BYTES", shape=[3], data=None, parameters=sized)
    with pytest.raises(Invalid, match=said):
        read({"inputs": [one]}, broken)


def test_as_many_values_are_taken_as_the_largest_request_holds() -> None:
    """1,024 images of the shape, nested: the count before parsing must let them through."""
    full = np.zeros((1024, *SHAPE)).tolist()
    found = read(body(inputs=[tensor(shape=[1024, *SHAPE], data=full)]))
    assert found.images is not None
    assert found.images.shape == (1024, *SHAPE)
    shapes = itertools.product((1, 3), (1, 5), (1, 7))
    for shape in shapes:
        text = json.dumps(
            {"inputs": [tensor(shape=[1024, *shape], data=np.zeros((1024, *shape)).tolist())]}
        )
        images = read_request(text.encode(), None, shape).images
        assert images is not None
        assert images.shape == (1024, *shape)
    with pytest.raises(Invalid, match="holds about"):
        read(body(inputs=[tensor(shape=[1024, *SHAPE], data=[full, full])]))
