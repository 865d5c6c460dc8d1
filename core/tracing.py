"""Traces from POST to swap, by OpenTelemetry: with `lethe[otel]`, where an endpoint is set.

Without OTEL_EXPORTER_OTLP_ENDPOINT nothing is imported, and a span is a context that does
nothing. A request keeps the context of its POST (W3C Trace Context, `traceparent`), so that a
worker and an inference process go on with the same trace. Attributes name jobs, no person.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from core.errors import SettingsError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""OpenTelemetry's own variables; it reads the rest of its settings from others itself."""

_NOTHING = nullcontext()
_provider: Any = None
_tracer: Any = None


def configure(service: str) -> None:
    """Send this process's spans where the environment says; call it after a fork.

    Raises `SettingsError` when an endpoint is set and the library is missing.
    """
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(
            f"{ENDPOINTS[0]} is set, but {error.name} is missing; install `lethe[otel]`"
        ) from None
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    install(provider)


def install(provider: Any) -> None:
    """Let this TracerProvider make the spans; None ends that."""
    global _provider, _tracer
    _provider = provider
    _tracer = provider and provider.get_tracer("lethe")


def close() -> None:
    """Send what has not been sent yet."""
    if _provider is not None:
        _provider.shutdown()
    install(None)


def enabled() -> bool:
    """Is it worth asking where a trace began?"""
    return _tracer is not None


def span(
    name: str,
    *,
    parent: str | None = None,
    links: Sequence[str] = (),
    began_ns: int | None = None,
    **attributes: str | int,
) -> AbstractContextManager[Any]:
    """A span around a block. Its parent is the current one, or the one that `parent` names.

    parent, links: traceparents. began_ns: when it began, in nanoseconds since 1970, if not now.
    """
    if _tracer is None:
        return _NOTHING
    from opentelemetry import trace

    found: AbstractContextManager[Any] = _tracer.start_as_current_span(
        name,
        context=_context(parent) if parent else None,
        links=[
            trace.Link(trace.get_current_span(_context(each)).get_span_context()) for each in links
        ],
        start_time=began_ns,
        attributes={f"lethe.{key}": value for key, value in attributes.items()},
        record_exception=False,  # its message may quote what a caller sent
        set_status_on_exception=False,
    )
    return found


def traceparent() -> str | None:
    """The current span, as it is handed on; None where nothing is traced."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def _context(traceparent: str) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})
