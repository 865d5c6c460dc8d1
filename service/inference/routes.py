"""POST /predict: images in, labels and uncertainty out, all from one version."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from core.errors import Invalid
from service.deps import CanPredict
from service.inference.engine import Answered, Inference
from service.inference.inputs import PredictionInput, read_json, to_array
from service.metrics import Metrics
from service.openapi import problems
from service.schemas import PREDICT_BODY, Predictions

router = APIRouter(tags=["inference"])


def inference_of(request: Request) -> Inference:
    """What the process predicts with."""
    inference: Inference = request.app.state.inference
    return inference


@router.post(
    "/predict",
    responses={200: {"model": Predictions}, **problems(404, 429, 504)},
    openapi_extra=PREDICT_BODY,
)
async def predict(
    request: Request, _: CanPredict, inference: Annotated[Inference, Depends(inference_of)]
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
    async with inference.use(source.model) as served:
        images = await run_in_threadpool(to_array, source, served.shape)
        answered = await inference.infer(served, images)
    metrics: Metrics = request.app.state.metrics
    metrics.predicted(served.model, len(images), time.perf_counter() - started)
    return JSONResponse(_answer(answered), headers={"X-Model-Version": str(served.number)})


def _answer(answered: Answered) -> dict[str, Any]:
    served = answered.served
    rows = answered.probabilities.tolist()
    labels = answered.labels.tolist()
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
            for row, label, doubt in zip(rows, labels, answered.uncertainty.tolist(), strict=True)
        ],
    }
