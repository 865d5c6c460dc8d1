"""POST /predict, from the socket to the tensor and back: plain ASGI, nothing injected.

Between the socket and the model stand a look at the key, one JSON parser in C and NumPy.
What it takes and gives is described for the OpenAPI document by `service.inference.routes`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.deps import Needs
from service.inference.batcher import quick
from service.inference.bodies import Question, read, seconds_allowed
from service.inference.engine import Answered, Inference
from service.inference.inputs import Floats, Shape, from_bytes, from_files, from_lists
from service.inference.versions import Served
from service.keyring import Keyring, bearer
from service.limiting import address_of
from service.metrics import Metrics
from service.receiving import whole_body

_NEEDS = Needs("predict")


async def predict(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one call; raises what `service.errors` has a row for."""
    state = scope["app"].state
    keyring: Keyring = state.keyring
    inference: Inference = state.inference
    headers: dict[bytes, bytes] = dict(scope["headers"])
    text = bearer(headers.get(b"authorization", b""))
    caller = _NEEDS.check(keyring.known(text) or await keyring.caller(text, address_of(scope)))
    deadline = asyncio.get_running_loop().time() + min(
        seconds_allowed(headers.get(b"x-request-timeout")), inference.seconds
    )
    body = await whole_body(receive)
    began = time.perf_counter()
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    question = await read(body, content_type, scope["query_string"])
    if caller.model is not None:
        question.model = question.model or caller.model
        caller.permit(question.model)
    served = await inference.hold(question.model, question.version)
    try:
        if question.files:
            images = await asyncio.to_thread(from_files, question.files, served.shape)
        else:
            images = _images(question, served.shape)
        answering = inference.infer(served, images, samples=question.samples, deadline=deadline)
        answered = await unless_gone(answering, receive, served, len(images))
    finally:
        inference.loader.release(served)
    metrics: Metrics = state.metrics
    metrics.predicted(served.model, len(images), time.perf_counter() - began)
    content = _content(answered)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(content)),
                (b"x-model-version", b"%d" % served.number),
            ],
        }
    )
    await send({"type": "http.response.body", "body": content})


def _images(question: Question, shape: Shape) -> Floats:
    if question.numbers is not None:
        return from_bytes(question.numbers, question.dtype, shape)
    assert question.lists is not None, "a question has images in one form"
    return from_lists(question.lists, shape)


async def unless_gone(
    answering: Coroutine[Any, Any, Answered], receive: Receive, served: Served, images: int
) -> Answered:
    """The answer; or `ClientDisconnect`, the place in the queue given back, if the client left.

    `receive` must have given all of the body. What is quick is not worth the watching.
    """
    if quick(served.forward, images):
        return await answering
    answer = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(receive())  # the body is read: only a disconnect can follow
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()


def _content(answered: Answered) -> bytes:
    """The answer's body. Numbers are float32's own shortest decimals."""
    served = answered.served
    labels = answered.labels.tolist()
    predictions: list[dict[str, Any]] = [
        {
            "label": served.classes[label],
            "probability": row[label],
            "probabilities": row,
            "uncertainty": doubt,
        }
        for label, row, doubt in zip(
            labels, answered.probabilities, answered.uncertainty, strict=True
        )
    ]
    if answered.information is not None:
        for prediction, information in zip(predictions, answered.information, strict=True):
            prediction["mutual_information"] = information
    return orjson.dumps(
        {
            "model": served.model,
            "version": served.number,
            "digest": served.digest,
            "predictions": predictions,
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
