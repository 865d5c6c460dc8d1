"""Prometheus metrics: what the database counts, read at each scrape."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from core import canaries, facts, registry
from core.datasets import datasets
from core.db import Database
from core.states import JOB, REQUEST

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Counts(Collector):
    def __init__(self, db: Database) -> None:
        self._db = db

    def collect(self) -> Iterator[Metric]:
        with self._db.reading() as session:
            requests, jobs = facts.counts(session)
            models = facts.of_models(session, registry.models(session))
            planted, named = canaries.counts(session), datasets(session)
        for noun, counted, states in (
            ("erasure_requests", requests, REQUEST.moves),
            ("jobs", jobs, JOB.moves),
        ):
            family = GaugeMetricFamily(
                f"lethe_{noun}",
                f"{noun.replace('_', ' ').capitalize()} by state.",
                labels=["state"],
            )
            for state in states:
                family.add_metric([state], counted.get(state, 0))
            yield family
        left = GaugeMetricFamily(
            "lethe_drift_budget_left_ratio",
            "What is left of each limit of a model's drift budget; at 0 it is retrained exactly.",
            labels=["model", "limit"],
        )
        for found in models:
            if found.drift is not None:
                for limit, share in found.drift.left.items():
                    left.add_metric([found.model.name, limit], share)
        yield left
        groups = GaugeMetricFamily(
            "lethe_canary_groups_left",
            "Groups of canaries that jobs to come may spend; without one a job proves less.",
            labels=["dataset"],
        )
        for dataset in named:
            if dataset.id in planted:
                groups.add_metric([dataset.name], planted[dataset.id].left)
        yield groups


class Metrics:
    """One registry an application, so that two in one process do not meet."""

    def __init__(self, db: Database) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_Counts(db))

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)
