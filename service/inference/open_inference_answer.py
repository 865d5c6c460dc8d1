"""The answer to an inference request of the Open Inference Protocol, as JSON or with binary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from service.inference.engine import Answered
from service.inference.open_inference_request import INFORMATION, InferenceRequest, Requested

_STORED = {"FP32": "<f4", "INT64": "<i8"}


def write_answer(request: InferenceRequest, answered: Answered) -> tuple[bytes, int | None]:
    """The body, and how many of its bytes are JSON (None where all are).

    The tensors come in the order in which they were asked for, row-major; what is binary
    follows the JSON in the same order. The parameter `digest` says which checkpoint answered.
    """
    outputs, binary = [], []
    for wanted in request.outputs:
        datatype, shape, data = _tensor(wanted, answered)
        output: dict[str, Any] = {"name": wanted.name, "datatype": datatype, "shape": shape}
        if wanted.binary:
            chunk = _bytes(datatype, data)
            output["parameters"] = {"binary_data_size": len(chunk)}
            binary.append(chunk)
        else:
            output["data"] = data
        outputs.append(output)
    served = answered.served
    document = {
        "model_name": served.model,
        "model_version": str(served.number),
        **({} if request.id is None else {"id": request.id}),
        "parameters": {"digest": served.digest},
        "outputs": outputs,
    }
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([text, *binary]), len(text)) if binary else (text, None)


def _tensor(
    wanted: Requested, answered: Answered
) -> tuple[str, Sequence[int], NDArray[Any] | list[str]]:
    """Datatype, shape and row-major values of one output."""
    if wanted.classes is not None:
        return _classification(answered, wanted.classes)
    count = len(answered.labels)
    if wanted.name == "label":
        classes = answered.served.classes
        return "BYTES", [count], [classes[at] for at in answered.labels.tolist()]
    if wanted.name == "class_index":
        return "INT64", [count], answered.labels
    if wanted.name == "uncertainty":
        return "FP32", [count], answered.uncertainty.ravel()
    if wanted.name == INFORMATION:
        assert answered.information is not None, "it was asked for with draws of z"
        return "FP32", [count], answered.information.ravel()
    return "FP32", answered.probabilities.shape, answered.probabilities.ravel()


def _classification(answered: Answered, most: int) -> tuple[str, Sequence[int], list[str]]:
    """The likeliest classes as "probability:index:label", at most as many as there are.

    Of equally likely ones the lower index comes first.
    """
    found = answered.probabilities
    classes = answered.served.classes
    best = np.argsort(-found, axis=1, kind="stable")[:, :most]
    texts = [
        f"{probability:.7g}:{index}:{classes[index]}"
        for row, indexes in zip(found.tolist(), best.tolist(), strict=True)
        for index, probability in ((at, row[at]) for at in indexes)
    ]
    return "BYTES", best.shape, texts


def _bytes(datatype: str, data: NDArray[Any] | list[str]) -> bytes:
    """Little-endian; of BYTES each element after its length in four bytes."""
    if isinstance(data, list):
        encoded = [text.encode() for text in data]
        return b"".join(len(each).to_bytes(4, "little") + each for each in encoded)
    return data.astype(_STORED[datatype], copy=False).tobytes()
