"""Predictions on the wire, as the OpenAPI document describes them.

Neither side goes through these models: a body's numbers are read, and an answer's written, far
faster than one by one. Tests hold the answers to them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from service.schemas.common import Out

_PIXEL = {"type": "number", "minimum": 0, "maximum": 1}
_IMAGE = {
    "type": "array",
    "description": "Channels of rows of columns; of one channel also without the outermost list.",
    "items": {"type": "array", "items": {"type": "array", "items": _PIXEL}},
}
_MODEL = {"type": "string", "description": "Needed where more than one model is served."}


def _object(field: str, items: dict[str, Any]) -> dict[str, Any]:
    listed = {"type": "array", "minItems": 1, "items": items}
    return {
        "type": "object",
        "properties": {"model": _MODEL, field: listed},
        "required": [field],
        "additionalProperties": False,
    }


_BINARY = {"schema": {"type": "string", "format": "binary"}}

PREDICT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [
                        _object("inputs", _IMAGE),
                        _object("images", {"type": "string", "format": "byte"}),
                    ]
                }
            },
            "image/png": _BINARY,
            "image/jpeg": _BINARY,
        },
    }
}
"""What POST /predict takes: `openapi_extra` of its route."""


class Prediction(Out):
    """Of one image."""

    label: Annotated[str, Field(description="The likeliest class, by its name.")]
    probability: Annotated[float, Field(description="Of that class, at z = mu.")]
    probabilities: Annotated[
        list[float], Field(description="Of every class, in the order of the model's classes.")
    ]


class Predictions(Out):
    """Of every image of a call, all by one version."""

    model: str
    version: int
    digest: Annotated[str, Field(description="SHA-256 of the version's checkpoint.")]
    predictions: list[Prediction]
