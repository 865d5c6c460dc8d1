"""The calls of the Open Inference Protocol, one function each, and the table of their paths."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import orjson
from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import Receive

from core.errors import Invalid, Unavailable
from service.inference.engine import Answered, Inference
from service.inference.inputs import from_files
from service.inference.open_inference_answer import write_answer
from service.inference.open_inference_body import accepted_coding, packed, read_object, unpacked
from service.inference.open_inference_facts import (
    Tally,
    model_config,
    model_metadata,
    repository_index,
    server_metadata,
)
from service.inference.open_inference_request import InferenceRequest, read_request
from service.inference.predict import unless_gone
from service.inference.versions import Served
from service.receiving import whole_body

AT_ONCE = 64 * 1024
"""Bodies of more bytes are read in a thread: others would wait meanwhile."""

AT_ONCE_PACKED = 4 * 1024
"""Likewise for packed ones, which may become a thousand times as long."""


@dataclass(slots=True)
class Call:
    """One call, once it is known which: what its handler needs."""

    app: FastAPI
    headers: Mapping[bytes, bytes]
    receive: Receive
    model: str
    version: int | None
    tallies: dict[tuple[str, int], Tally]
    only: str | None = None
    """The one model that the key is for."""

    @property
    def inference(self) -> Inference:
        """The door through which every protocol predicts."""
        inference: Inference = self.app.state.inference
        return inference

    def header(self, name: bytes) -> str | None:
        """A header's value, None where it was not sent."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    async def body(self) -> bytes:
        """All of it, unpacked."""
        body = await whole_body(self.receive)
        coding = self.header(b"content-encoding")
        if coding is None:
            return body
        most: int = self.app.state.settings.max_body_bytes
        if len(body) > AT_ONCE_PACKED:
            return await asyncio.to_thread(unpacked, body, coding, most)
        return unpacked(body, coding, most)


Handler = Callable[[Call], Awaitable[Response]]


def _json(document: object) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")


async def _live(_: Call) -> Response:
    return _json({"live": True})


async def _ready(call: Call) -> Response:
    if call.app.state.watcher.closing:
        raise Unavailable("this process stops: send nothing more to it")
    if not call.inference.loader.ready():
        raise Unavailable("no model is served yet, or none can be: see /readyz")
    return _json({"ready": True})


async def _server(call: Call) -> Response:
    return _json(server_metadata(call.app.version))


async def _model_ready(call: Call) -> Response:
    async with call.inference.use(call.model, call.version) as served:
        return _json({"name": served.model, "ready": True})


async def _metadata(call: Call) -> Response:
    async with call.inference.use(call.model, call.version) as served:
        return _json(model_metadata(served, await _versions(call, served)))


async def _config(call: Call) -> Response:
    async with call.inference.use(call.model, call.version) as served:
        return _json(model_config(served, await _versions(call, served)))


async def _versions(call: Call, served: Served) -> list[int]:
    """Those that may be asked for; the serving one too while it still remembers somebody."""
    offered = await asyncio.to_thread(call.inference.loader.pins.offered, served.model)
    return sorted({*offered, served.number})


async def _index(call: Call) -> Response:
    body = await call.body()
    asked = read_object(body, AT_ONCE) if body else {}
    only_ready = asked.get("ready", False)
    if not isinstance(only_ready, bool):
        raise Invalid("ready: expected true or false")
    status = {
        name: entry
        for name, entry in call.inference.loader.status().items()
        if call.only in (None, name)
    }
    return _json(repository_index(status, only_ready=only_ready))


async def _statistics(call: Call) -> Response:
    model = call.model or call.only or ""
    shown = {
        key: tally
        for key, tally in sorted(call.tallies.items(), key=lambda item: item[0])
        if model in ("", key[0]) and call.version in (None, key[1])
    }
    if call.model and not shown:  # known, and not called yet; or not known
        async with call.inference.use(call.model, call.version) as served:
            shown = {(served.model, served.number): Tally()}
    return _json({"model_stats": [tally.shown(*key) for key, tally in shown.items()]})


async def _infer(call: Call) -> Response:
    arrived = asyncio.get_running_loop().time()
    body = await call.body()
    async with call.inference.use(call.model, call.version) as served:
        tally = call.tallies.setdefault((served.model, served.number), Tally())
        begun = time.perf_counter_ns()
        try:
            request = await _read(body, call.header(b"inference-header-content-length"), served)
            read = time.perf_counter_ns()
            answered = await _predicted(call, request, served, arrived)
            predicted = time.perf_counter_ns()
            content, json_length = write_answer(request, answered)
        except Exception:  # any: counted, then answered as it is
            tally.fail.add(time.perf_counter_ns() - begun)
            raise
        written = time.perf_counter_ns()
        tally.answered(len(answered.labels), (begun, read, predicted, written))
        seconds = (written - begun) / 1e9
        call.app.state.metrics.predicted(served.model, len(answered.labels), seconds)
    headers = {"X-Model-Version": str(served.number)}
    if json_length is not None:
        headers["Inference-Header-Content-Length"] = str(json_length)
    accepted = call.header(b"accept-encoding")
    coding = accepted and accepted_coding(accepted, len(content))
    if coding:
        headers["Content-Encoding"] = coding
        content = packed(content, coding)
    kind = "application/json" if json_length is None else "application/octet-stream"
    return Response(content, headers=headers, media_type=kind)


async def _read(body: bytes, length: str | None, served: Served) -> InferenceRequest:
    if len(body) > AT_ONCE:
        return await asyncio.to_thread(read_request, body, length, served.shape)
    return read_request(body, length, served.shape)


async def _predicted(
    call: Call, request: InferenceRequest, served: Served, arrived: float
) -> Answered:
    images = request.images
    if images is None:
        images = await asyncio.to_thread(
            from_files, request.encoded, served.shape, "inputs[0].data"
        )
    answering = call.inference.infer(
        served, images, samples=request.samples, deadline=arrived + request.seconds
    )
    return await unless_gone(answering, call.receive, served, len(images))


async def _logging(call: Call) -> Response:
    shown = call.app.state.settings.log
    return _json(
        {
            "log_file": "",
            "log_info": True,
            "log_warnings": True,
            "log_errors": True,
            "log_verbose_level": 0,
            "log_format": shown or "default",
        }
    )


async def _trace(call: Call) -> Response:
    if call.model:
        async with call.inference.use(call.model):
            pass
    return _json({"trace_mode": "opentelemetry", "trace_level": ["OFF"], "trace_rate": "0"})


async def _no_regions(_: Call) -> Response:
    return _json([])


def _refused(message: str) -> Handler:
    """A call that clients of the protocol know and that is not offered."""

    async def refuse(_: Call) -> Response:
        raise Invalid(message)

    return refuse


_BY_REGISTRY = _refused(
    "models are not loaded or unloaded by call: every replica serves what the registry has "
    "published; `lethe train` and erasure requests publish"
)
_NO_MEMORY = _refused("shared memory is not offered here; send and read the data over HTTP")
_LOG_FIXED = _refused("what is logged is set when the service starts: LETHE_LOG")
_TRACE_FIXED = _refused(
    "single inferences are not traced; traces of erasures are set when the service starts: "
    "OTEL_EXPORTER_OTLP_ENDPOINT"
)

_OF_A_MODEL: Mapping[str, Mapping[str, Handler]] = {
    "": {"GET": _metadata},
    "/ready": {"GET": _model_ready},
    "/config": {"GET": _config},
    "/stats": {"GET": _statistics},
    "/infer": {"POST": _infer},
}
_OF_MEMORY: Mapping[str, Mapping[str, Handler]] = {
    "/status": {"GET": _no_regions},
    "/unregister": {"POST": _NO_MEMORY},
    "/region/{region}/status": {"GET": _NO_MEMORY},
    "/region/{region}/register": {"POST": _NO_MEMORY},
    "/region/{region}/unregister": {"POST": _NO_MEMORY},
}

CALLS: Mapping[str, Mapping[str, Handler]] = {
    "/v2": {"GET": _server},
    "/v2/health/live": {"GET": _live},
    "/v2/health/ready": {"GET": _ready},
    "/v2/models/stats": {"GET": _statistics},
    **{f"/v2/models/{{model}}{call}": by for call, by in _OF_A_MODEL.items()},
    **{f"/v2/models/{{model}}/versions/{{version}}{c}": by for c, by in _OF_A_MODEL.items()},
    "/v2/models/{model}/trace/setting": {"GET": _trace, "POST": _TRACE_FIXED},
    "/v2/trace/setting": {"GET": _trace, "POST": _TRACE_FIXED},
    "/v2/logging": {"GET": _logging, "POST": _LOG_FIXED},
    "/v2/repository/index": {"POST": _index},
    "/v2/repository/models/{model}/load": {"POST": _BY_REGISTRY},
    "/v2/repository/models/{model}/unload": {"POST": _BY_REGISTRY},
    **{f"/v2/systemsharedmemory{call}": by for call, by in _OF_MEMORY.items()},
    **{f"/v2/cudasharedmemory{call}": by for call, by in _OF_MEMORY.items()},
}
"""Every call of the protocol: the path's template, the method, what answers it."""

OPEN = frozenset({"/v2/health/live", "/v2/health/ready"})
"""Calls that need no key, like /livez and /readyz: probes have none."""
