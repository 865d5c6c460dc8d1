"""Answers: what the public client reads back out of them is what was predicted."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tritonclient.http import InferResult

from service.inference.engine import Answered
from service.inference.open_inference_answer import write_answer
from service.inference.open_inference_request import (
    INFORMATION,
    OUTPUTS,
    InferenceRequest,
    Requested,
)

CLASSES = ["null", "eins", "zwei:2", "dreißig"]
PROBABILITIES = np.array(
    [[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25], [1e-7, 0.9999999, 0.0, 0.0]], np.float32
)
SERVED: Any = SimpleNamespace(model="digits", number=3, digest="d" * 64, classes=CLASSES)
ANSWERED = Answered(
    SERVED, PROBABILITIES, PROBABILITIES.argmax(axis=1), np.array([1.2, 1.4, 0.0], np.float32)
)


def asked(*outputs: Requested, named: str | None = None) -> InferenceRequest:
    return InferenceRequest(named, outputs, 0, math.inf, None, [])


def read(body: bytes, json_length: int | None) -> InferResult:
    return InferResult.from_response_body(body, header_length=json_length)


@pytest.mark.parametrize("binary", [True, False])
def test_the_client_reads_back_every_tensor(binary: bool) -> None:
    wanted = [Requested(name, binary) for name in OUTPUTS]
    body, json_length = write_answer(asked(*wanted, named="a"), ANSWERED)
    assert (json_length is None) is not binary
    result = read(body, json_length)
    np.testing.assert_array_equal(result.as_numpy("probabilities"), PROBABILITIES)
    np.testing.assert_array_equal(result.as_numpy("class_index"), [3, 0, 1])
    np.testing.assert_array_equal(result.as_numpy("uncertainty"), ANSWERED.uncertainty)
    labels = [each if isinstance(each, str) else each.decode() for each in result.as_numpy("label")]
    assert labels == ["dreißig", "null", "eins"]
    response = result.get_response()
    assert (response["model_name"], response["model_version"], response["id"]) == (
        "digits",
        "3",
        "a",
    )
    assert response["parameters"] == {"digest": "d" * 64}
    assert [each["datatype"] for each in response["outputs"]] == ["FP32", "INT64", "BYTES", "FP32"]
    assert [each["shape"] for each in response["outputs"]] == [[3, 4], [3], [3], [3]]


def test_json_and_binary_in_one_answer_and_in_the_order_asked_for() -> None:
    wanted = [
        Requested("uncertainty", True),
        Requested("label", False),
        Requested("class_index", True),
    ]
    body, json_length = write_answer(asked(*wanted), ANSWERED)
    assert json_length is not None
    document = json.loads(body[:json_length])
    assert "id" not in document
    assert [each["name"] for each in document["outputs"]] == ["uncertainty", "label", "class_index"]
    assert document["outputs"][1]["data"] == ["dreißig", "null", "eins"]
    assert len(body) == json_length + 3 * 4 + 3 * 8
    result = read(body, json_length)
    np.testing.assert_array_equal(result.as_numpy("class_index"), [3, 0, 1])
    np.testing.assert_array_equal(result.as_numpy("uncertainty"), ANSWERED.uncertainty)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("most", [1, 3, 4, 9, 2**40])
def test_the_likeliest_classes_come_first_and_no_more_than_there_are(
    most: int, binary: bool
) -> None:
    body, json_length = write_answer(asked(Requested("probabilities", binary, most)), ANSWERED)
    result = read(body, json_length)
    (output,) = result.get_response()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [3, min(most, 4)])
    rows = [
        [each if isinstance(each, str) else each.decode() for each in row]
        for row in result.as_numpy("probabilities")
    ]
    full = [
        ["0.4:3:dreißig", "0.3:2:zwei:2", "0.2:1:eins", "0.1:0:null"],
        ["0.25:0:null", "0.25:1:eins", "0.25:2:zwei:2", "0.25:3:dreißig"],
        ["0.9999999:1:eins", "1e-07:0:null", "0:2:zwei:2", "0:3:dreißig"],
    ]
    assert rows == [row[:most] for row in full]


@pytest.mark.parametrize("binary", [True, False])
def test_columns_of_a_larger_array_are_written_too(binary: bool) -> None:
    """A pass in PyTorch gives all its outputs in one array."""
    whole = np.column_stack([PROBABILITIES, ANSWERED.uncertainty, ANSWERED.uncertainty / 2])
    parts = Answered(SERVED, whole[:, :-2], ANSWERED.labels, whole[:, -2], whole[:, -1])
    names = (*OUTPUTS, INFORMATION)
    result = read(*write_answer(asked(*(Requested(name, binary) for name in names)), parts))
    np.testing.assert_array_equal(result.as_numpy("probabilities"), PROBABILITIES)
    np.testing.assert_array_equal(result.as_numpy("uncertainty"), ANSWERED.uncertainty)
    np.testing.assert_array_equal(result.as_numpy(INFORMATION), ANSWERED.uncertainty / 2)
