"""POST /predict: images in, labels and uncertainty out, all from one version."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import numpy as np
import torch
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray

from core.errors import Invalid
from service.deps import CanPredict
from service.inference.inputs import PredictionInput, read_json, to_array
from service.inference.loader import Loader, Served
from service.metrics import Metrics

router = APIRouter(tags=["inference"])

UNCERTAINTY_SAMPLES = 16
"""Draws of z behind the predictive entropy in an answer."""


def loader_of(request: Request) -> Loader:
    """The process's loader."""
    loader: Loader = request.app.state.loader
    return loader


@router.post("/predict")
async def predict(
    request: Request, _: CanPredict, loader: Annotated[Loader, Depends(loader_of)]
) -> Response:
    """Classify images given as nested lists C x H x W in 0..1, as base64, or as an image body.

    The answer's `version` is the one that computed it; `probabilities` are in the order of
    the model's classes, `uncertainty` is the predictive entropy in nats.
    """
    body = await request.body()
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if not body:
        raise Invalid('the body is empty; send {"inputs": [...]} as JSON or an image')
    if kind.startswith("image/"):
        source = PredictionInput(request.query_params.get("model"), None, [body])
    else:
        source = read_json(body)
    started = time.perf_counter()
    answer, version = await asyncio.to_thread(_answer, loader, source)
    metrics: Metrics = request.app.state.metrics
    seconds = time.perf_counter() - started
    metrics.predicted(answer["model"], len(answer["predictions"]), seconds)
    return JSONResponse(answer, headers={"X-Model-Version": str(version)})


def _answer(loader: Loader, source: PredictionInput) -> tuple[dict[str, Any], int]:
    with loader.use(source.model) as served:
        images = to_array(source, served.vib.architecture.input_shape)
        return _predictions(served, images), served.number


def _predictions(served: Served, images: NDArray[np.float32]) -> dict[str, Any]:
    found = served.vib.predict(torch.from_numpy(images), samples=UNCERTAINTY_SAMPLES)
    rows = found.probabilities_BC.tolist()
    labels = found.label_B.tolist()
    uncertainty = found.uncertainty_B.tolist()
    return {
        "model": served.model,
        "version": served.number,
        "digest": served.digest,
        "predictions": [
            {
                "label": served.classes[label],
                "probability": row[label],
                "probabilities": row,
                "uncertainty": doubt,
            }
            for row, label, doubt in zip(rows, labels, uncertainty, strict=True)
        ],
    }
