"""Prometheus metrics: the records' figures, and what this service's processes did themselves.

Calls and predictions are counted in memory; where several processes share a socket
(`lethe serve --workers`), in files of PROMETHEUS_MULTIPROC_DIR, so that each answers for all.
See docs/decisions/0009.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from core.db import Database
from service.counted import Records

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable by which prometheus_client counts in files."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """One registry an application, so that two in one process do not meet."""

    def __init__(self, db: Database, due_warning_days: float) -> None:
        self._records = CollectorRegistry(auto_describe=False)
        self._records.register(Records(db, due_warning_days))
        self._own = CollectorRegistry()
        shared = os.environ.get(SHARED)
        if shared:
            MultiProcessCollector(self._own, path=shared)  # type: ignore[no-untyped-call]
        registry = None if shared else self._own
        self._calls = Counter(
            "lethe_http_requests",
            "Calls answered, by route and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._call_seconds = Histogram(
            "lethe_http_request_seconds",
            "From a call's head to the end of its answer; long-polls and event streams wait.",
            ["method", "route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._predictions = Counter(
            "lethe_predictions", "Inputs classified.", ["model"], registry=registry
        )
        self._prediction_seconds = Histogram(
            "lethe_prediction_seconds",
            "One call's decoding and forward pass.",
            ["model"],
            buckets=SECONDS,
            registry=registry,
        )

        self._of_call: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._of_model: dict[str, tuple[Counter, Histogram]] = {}

    def called(self, method: str, route: str, status: int, seconds: float) -> None:
        """A call was answered."""
        found = self._of_call.get((method, route, status))
        if found is None:  # a family's child is dear to find and cheap to use
            found = (
                self._calls.labels(method, route, str(status)),
                self._call_seconds.labels(method, route),
            )
            self._of_call[method, route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def predicted(self, model: str, inputs: int, seconds: float) -> None:
        """So many inputs were classified in one call."""
        found = self._of_model.get(model)
        if found is None:
            found = self._predictions.labels(model), self._prediction_seconds.labels(model)
            self._of_model[model] = found
        found[0].inc(inputs)
        found[1].observe(seconds)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._records) + generate_latest(self._own)
