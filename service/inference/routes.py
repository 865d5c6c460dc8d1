"""POST /predict as a route: described here, answered by `service.inference.predict`."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Header, Query
from fastapi.routing import APIRoute
from starlette.types import Scope

from service.deps import CanPredict
from service.inference.predict import predict
from service.openapi import problems
from service.schemas import PREDICT_BODY, Predictions
from service.schemas.predictions import MOST_SAMPLES


def _described(
    _: CanPredict,
    model: Annotated[str | None, Query(description="Needed where more than one is served.")] = None,
    version: Annotated[
        int | None,
        Query(ge=1, description="A retained version that remembers nothing to be forgotten."),
    ] = None,
    samples: Annotated[
        int, Query(ge=0, le=MOST_SAMPLES, description="Draws of z behind the uncertainty.")
    ] = 0,
    dtype: Annotated[Literal["float32", "uint8"], Query(description="Of raw numbers.")] = "float32",
    x_request_timeout: Annotated[
        float | None, Header(gt=0, description="Seconds until 504, at most LETHE_PREDICT_SECONDS.")
    ] = None,
) -> None:
    """Classify images: JSON (lists in 0..1 or base64), raw numbers, an image, or a form of files.

    Raw numbers (`application/octet-stream`) are images one after another, C x H x W, as
    little-endian float32 in 0..1, or as uint8 with `dtype=uint8`. All of an answer is computed
    by the `version` that it names, also in `X-Model-Version`; `probabilities`, at the mean of z,
    are in the order of the model's classes. `uncertainty` is their entropy in nats; with
    `samples`, the entropy of the mean prediction over so many draws of z, and
    `mutual_information` its part that comes from not knowing z.
    """


def route() -> APIRoute:
    """The route; what FastAPI would do with a call is left out."""
    found = APIRoute(
        "/predict",
        _described,
        methods=["POST"],
        tags=["inference"],
        name="predict",
        response_model=Predictions,
        responses=problems(404, 409, 410, 429, 504),
        openapi_extra=PREDICT_BODY,
    )
    found.app = predict
    return found


def takes(scope: Scope) -> bool:
    """Is this HTTP call one of the route's?"""
    return bool(scope["path"] == "/predict" and scope["method"] == "POST")
