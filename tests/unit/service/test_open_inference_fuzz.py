"""Whatever a request claims: it is read or refused, and memory follows what came, not the claim."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from core.errors import Invalid
from service.inference.open_inference_body import unpacked
from service.inference.open_inference_request import read_request

SHAPE = (1, 2, 3)
MOST = 1 << 16

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**31, 2**31 - 1, 2**63, 2**64, -1, 0, 1, 2, 3, 1024, 1025]),
    st.floats(),
    st.text(max_size=6),
)
NESTED = st.recursive(ODD, lambda inner: st.lists(inner, max_size=7), max_leaves=20)
SHAPES = st.one_of(
    st.just([1, 1, 2, 3]), st.just([2, 1, 2, 3]), st.just([1]), st.lists(ODD, max_size=6), NESTED
)
PARAMETERS = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "binary_data_size": st.one_of(st.integers(0, 60), ODD),
            "binary_data": ODD,
            "binary_data_output": ODD,
            "classification": ODD,
            "shared_memory_region": ODD,
            "timeout": ODD,
        },
    ),
    NESTED,
)
DATA = st.one_of(
    st.lists(st.floats(0, 1), min_size=6, max_size=6),
    st.lists(st.integers(-1, 256), min_size=6, max_size=6),
    st.just([[[[0, 1, 0], [0.5, 1, 0]]]]),
    st.lists(ODD, max_size=13),
    NESTED,
)
TENSORS = st.one_of(
    st.fixed_dictionaries(
        {
            "name": st.one_of(st.just("image"), ODD),
            "datatype": st.one_of(st.sampled_from(["FP32", "UINT8", "BYTES", "BF16"]), ODD),
            "shape": SHAPES,
        },
        optional={"data": DATA, "parameters": PARAMETERS},
    ),
    NESTED,
)
OUTPUTS = st.one_of(
    st.lists(
        st.fixed_dictionaries(
            {"name": st.one_of(st.sampled_from(["label", "probabilities"]), ODD)},
            optional={"parameters": PARAMETERS},
        ),
        max_size=3,
    ),
    NESTED,
)
REQUESTS = st.one_of(
    st.fixed_dictionaries(
        {"inputs": st.one_of(st.lists(TENSORS, min_size=1, max_size=2), NESTED)},
        optional={"id": ODD, "parameters": PARAMETERS, "outputs": OUTPUTS},
    ),
    NESTED,
)
TEXTS = st.one_of(
    REQUESTS.map(lambda each: json.dumps(each).encode()),
    st.binary(max_size=40),
    st.sampled_from([b"[" * 3000, b'{"inputs":' * 3000, b"", b"{}"]),
)
LENGTHS = st.one_of(st.none(), st.integers(-9, 200).map(str), st.text(max_size=8))


def read_or_refused(body: bytes, length: str | None) -> bool:
    """True if it was read. Any other error than a refusal fails the test."""
    tracemalloc.start()
    refused, found = "", None
    try:
        found = read_request(body, length, SHAPE)
    except Invalid as error:
        refused = str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 100_000 + 100 * len(body)
    if found is None:
        assert 0 < len(refused) < 400, "a refusal repeats some of what came, not all of it"
    elif found.images is None:
        assert found.encoded
    else:
        assert found.images.dtype == np.float32
        assert found.images.shape[1:] == SHAPE
        assert 0.0 <= found.images.min() <= found.images.max() <= 1.0
    return found is not None


@given(TEXTS, st.one_of(st.none(), st.binary(max_size=60)), st.one_of(st.none(), LENGTHS))
def test_any_request_is_read_or_refused(text: bytes, binary: bytes | None, lie: str | None) -> None:
    body = text + (binary or b"")
    length = lie if binary is None or lie is not None else str(len(text))
    read_or_refused(body, length)


def _tensor(**fields: Any) -> bytes:
    whole = {"name": "image", "datatype": "FP32", "shape": [1, 1, 2, 3]} | fields
    return json.dumps({"inputs": [whole]}).encode()


@given(st.binary(min_size=0, max_size=72), st.integers(0, 72), st.sampled_from(["FP32", "UINT8"]))
@example(np.array([np.nan] * 6, np.float32).tobytes(), 24, "FP32")
def test_any_binary_data_is_read_or_refused(data: bytes, size: int, datatype: str) -> None:
    text = _tensor(datatype=datatype, parameters={"binary_data_size": size})
    read = read_or_refused(text + data, str(len(text)))
    if read:
        assert size == len(data) == (24 if datatype == "FP32" else 6)


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=4), st.data())
def test_cut_or_changed_elements_are_read_or_refused(
    elements: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(len(each).to_bytes(4, "little") + each for each in elements)
    parameters = {"binary_data_size": len(whole)}
    text = _tensor(datatype="BYTES", shape=[len(elements)], parameters=parameters)
    assert read_request(text + whole, str(len(text)), SHAPE).encoded == elements
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + data.draw(st.binary(min_size=1, max_size=1)) + whole[at + 1 :]
    read_or_refused(text + changed, str(len(text)))
    cut = whole[:at]
    text = _tensor(
        datatype="BYTES", shape=[len(elements)], parameters={"binary_data_size": len(cut)}
    )
    assert not read_or_refused(text + cut, str(len(text)))


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "identity", "br", ""]))
def test_any_packed_body_is_unpacked_or_refused(body: bytes, coding: str) -> None:
    status = 200
    try:
        assert len(unpacked(body, coding, MOST)) <= MOST
    except Invalid:
        status = 400
    except HTTPException as error:
        status = error.status_code
    assert status in ((415,) if coding == "br" else (200, 400, 413))
