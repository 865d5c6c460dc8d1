"""Predictions on the wire, as the OpenAPI document describes them.

Neither side goes through these models: a body's numbers are read, and an answer's written, far
faster than one by one. Tests hold the answers to them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from service.schemas.common import Out

MOST_IMAGES = 1024
"""Images in one call."""

MOST_SAMPLES = 64
"""Draws of z that one call may ask for."""

_PIXEL = {"type": "number", "minimum": 0, "maximum": 1}
_ROW = {"type": "array", "items": _PIXEL}
_PLANE = {"type": "array", "items": _ROW}
_IMAGE = {
    "description": "Channels of rows of columns; of one channel also without the outermost list; "
    "or all numbers in one list, in that order. All images of a call alike.",
    "anyOf": [{"type": "array", "items": _PLANE}, _PLANE, _ROW],
}
_FILE = {"type": "string", "format": "byte", "description": "PNG or JPEG, brought to size."}
_CHOICES: dict[str, Any] = {
    "model": {"type": "string", "description": "Needed where more than one model is served."},
    "version": {
        "type": "integer",
        "minimum": 1,
        "description": "Another than the serving one: retained, and with nothing left to forget.",
    },
    "samples": {
        "type": "integer",
        "minimum": 0,
        "maximum": MOST_SAMPLES,
        "description": "Draws of z behind the uncertainty; 0: at its mean.",
    },
}


def _object(field: str, items: dict[str, Any]) -> dict[str, Any]:
    listed = {"type": "array", "minItems": 1, "maxItems": MOST_IMAGES, "items": items}
    return {
        "type": "object",
        "properties": {**_CHOICES, field: listed},
        "required": [field],
        "additionalProperties": False,
    }


_BINARY = {"schema": {"type": "string", "format": "binary"}}

PREDICT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [_object("inputs", _IMAGE), _object("images", _FILE)]}
            },
            "application/octet-stream": _BINARY,
            "image/png": _BINARY,
            "image/jpeg": _BINARY,
            "multipart/form-data": {
                "schema": _object("images", {"type": "string", "format": "binary"})
            },
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
    uncertainty: Annotated[
        float,
        Field(
            description="Entropy in nats: of `probabilities`; with `samples`, of the mean "
            "prediction over the draws of z."
        ),
    ]
    mutual_information: Annotated[
        float | None,
        Field(description="With `samples`: the part of `uncertainty` that is from not knowing z."),
    ] = None


class Predictions(Out):
    """Of every image of a call, all by one version."""

    model: str
    version: int
    digest: Annotated[str, Field(description="SHA-256 of the version's checkpoint.")]
    predictions: list[Prediction]
