"""What the Open Inference Protocol says of this server and of its models, and what it counts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.inference.open_inference_request import INFORMATION, INPUT
from service.inference.open_inference_tensors import DATATYPES
from service.inference.versions import Served
from service.schemas.predictions import MOST_IMAGES, MOST_SAMPLES

PLATFORM = "pytorch_vib"

EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "statistics"]


def server_metadata(version: str) -> dict[str, Any]:
    """Name, version, and the extensions that are offered whole."""
    return {"name": "lethe", "version": version, "extensions": EXTENSIONS}


def _outputs(served: Served) -> list[tuple[str, str, list[int]]]:
    """Name, datatype and shape without N of every output."""
    return [
        ("probabilities", "FP32", [len(served.classes)]),
        ("class_index", "INT64", []),
        ("label", "BYTES", []),
        ("uncertainty", "FP32", []),
    ]


def model_metadata(served: Served, versions: Sequence[int]) -> dict[str, Any]:
    """The tensors of a model; N, the number of images, is -1. versions: may be asked for."""
    return {
        "name": served.model,
        "versions": [str(number) for number in versions],
        "platform": PLATFORM,
        "inputs": [
            {
                "name": INPUT,
                "datatype": "FP32",
                "shape": [-1, *served.shape],
                "parameters": {"datatypes": DATATYPES, "max_images": MOST_IMAGES},
            }
        ],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": [-1, *shape]}
            for name, datatype, shape in _outputs(served)
        ],
        "parameters": {
            "digest": served.digest,
            "classes": served.classes,
            "on_request": {INFORMATION: f"FP32 [N], with the parameter samples 1..{MOST_SAMPLES}"},
        },
    }


def model_config(served: Served, versions: Sequence[int]) -> dict[str, Any]:
    """The same as Triton's model configuration has it: shapes without N."""
    return {
        "name": served.model,
        "platform": PLATFORM,
        "version_policy": {"specific": {"versions": list(versions)}},
        "max_batch_size": MOST_IMAGES,
        "input": [{"name": INPUT, "data_type": "TYPE_FP32", "dims": list(served.shape)}],
        "output": [
            {
                "name": name,
                "data_type": "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}",
                # Triton writes no empty shape: one value an image is [1], reshaped to none.
                **({"dims": shape} if shape else {"dims": [1], "reshape": {"shape": []}}),
            }
            for name, datatype, shape in _outputs(served)
        ],
        "parameters": {"digest": {"string_value": served.digest}},
    }


def repository_index(
    status: Mapping[str, Mapping[str, Any]], *, only_ready: bool
) -> list[dict[str, str]]:
    """Every model that the registry has published, and whether this process serves it."""
    return [
        {
            "name": name,
            "version": str(entry["version"] or ""),
            "state": "READY" if entry["version"] else "UNAVAILABLE",
            "reason": entry["error"] or "",
        }
        for name, entry in sorted(status.items())
        if entry["version"] or not only_ready
    ]


@dataclass
class _Duration:
    """How often, and how long in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns


@dataclass
class Tally:
    """Of one version of a model: the calls of this protocol since this process began."""

    images: int = 0
    last_ms: int = 0
    success: _Duration = field(default_factory=_Duration)
    fail: _Duration = field(default_factory=_Duration)
    compute_input: _Duration = field(default_factory=_Duration)
    compute_infer: _Duration = field(default_factory=_Duration)
    compute_output: _Duration = field(default_factory=_Duration)

    def answered(self, images: int, marks: tuple[int, int, int, int]) -> None:
        """A call was answered; `marks`: ns at its begin, as read, as predicted, as written."""
        begun, read, predicted, written = marks
        self.images += images
        self.last_ms = time.time_ns() // 1_000_000
        self.success.add(written - begun)
        self.compute_input.add(read - begun)
        self.compute_infer.add(predicted - read)
        self.compute_output.add(written - predicted)

    def shown(self, name: str, version: int) -> dict[str, Any]:
        """As the statistics extension has it."""
        parts = ("success", "fail", "compute_input", "compute_infer", "compute_output")
        return {
            "name": name,
            "version": str(version),
            "last_inference": self.last_ms,
            "inference_count": self.images,
            "execution_count": self.success.count,
            "inference_stats": {part: vars(getattr(self, part)) for part in parts},
            "batch_stats": [],
        }
