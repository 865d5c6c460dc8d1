"""Metrics that are facts of the records, counted in the database at each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from core import canaries, deadlines, deliveries, facts, figures, registry
from core.datasets import datasets
from core.db import Database, database_now
from core.facts import ModelFacts
from core.states import DELIVERY, JOB, REQUEST


class Records(Collector):
    """What the database says: any process of any machine answers the same."""

    def __init__(self, db: Database, due_warning_days: float) -> None:
        self._db, self._days = db, due_warning_days

    def collect(self) -> Iterator[Metric]:
        """Every family, from one moment of the database."""
        with self._db.reading() as session:
            found = [
                *_states(session),
                *_work(session),
                *_due(session, self._days),
                *_outcomes(session),
                *_models(facts.of_models(session, registry.models(session))),
                _canaries(session),
            ]
        yield from found


def _gauge(
    name: str, help_: str, labels: Iterable[str], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_, labels=list(labels))
    for key, value in sorted(values.items()):
        family.add_metric(list(key), value)
    return family


def _states(session: Session) -> Iterator[Metric]:
    requests, jobs = facts.counts(session)
    for noun, counted, states in (
        ("erasure_requests", requests, REQUEST.moves),
        ("jobs", jobs, JOB.moves),
        ("deliveries", deliveries.counts(session), DELIVERY.moves),
    ):
        yield _gauge(
            f"lethe_{noun}",
            f"{noun.replace('_', ' ').capitalize()} by state.",
            ["state"],
            {(state,): counted.get(state, 0) for state in states},
        )
    held: dict[tuple[str, ...], float] = {
        (phase,): count for phase, count in figures.phases(session).items()
    }
    yield _gauge("lethe_jobs_held", "Jobs that a worker holds, by phase.", ["phase"], held)


def _work(session: Session) -> Iterator[Metric]:
    standing = figures.standing(session)
    yield GaugeMetricFamily(
        "lethe_workers", "Worker processes that are alive.", value=standing.workers
    )
    yield GaugeMetricFamily(
        "lethe_queue_age_seconds",
        "How long the oldest queued job has waited; 0 without one.",
        value=figures.queue_age(session),
    )


def _due(session: Session, days: float) -> Iterator[Metric]:
    now = database_now(session)
    overdue = deadlines.due_before(session, now)
    soon = deadlines.due_before(session, now + timedelta(days=days)) - overdue
    yield GaugeMetricFamily(
        "lethe_erasure_requests_overdue", "Open and past their due date.", value=overdue
    )
    yield GaugeMetricFamily(
        "lethe_erasure_requests_due_soon", "Open and due within LETHE_DUE_WARNING_DAYS.", value=soon
    )
    nearest = GaugeMetricFamily(
        "lethe_nearest_deadline_seconds",
        "Until the soonest due date of an open request, negative once past; absent without one.",
        labels=[],
    )
    moment = deadlines.nearest(session)
    if moment is not None:
        nearest.add_metric([], (moment - now).total_seconds())
    yield nearest


def _outcomes(session: Session) -> Iterator[Metric]:
    times = figures.erasure_times(session)
    named = [f"{bound:g}" for bound in figures.BUCKETS]
    yield HistogramMetricFamily(
        "lethe_erasure_seconds",
        "From receipt to completion of the requests that were erased.",
        buckets=[*zip(named, times.within, strict=True), ("+Inf", times.count)],
        sum_value=times.total,
    )
    yield _gauge(
        "lethe_job_verdicts",
        "Jobs by the verdict of their last verification.",
        ["verdict"],
        {(verdict,): count for verdict, count in figures.verdicts(session).items()},
    )
    yield _gauge(
        "lethe_gate_verdicts",
        "Jobs by gate, its test, and the verdict in their last verification.",
        ["gate", "test", "verdict"],
        figures.gate_verdicts(session),
    )
    swapped = CounterMetricFamily(
        "lethe_swaps", "Versions published, the first and returns included.", labels=["model"]
    )
    for model, count in sorted(figures.swaps(session).items()):
        swapped.add_metric([model], count)
    yield swapped


def _models(models: list[ModelFacts]) -> Iterator[Metric]:
    yield _gauge(
        "lethe_serving_version",
        "The version that replicas should serve.",
        ["model"],
        {(each.model.name,): each.serving.number for each in models if each.serving},
    )
    yield _gauge(
        "lethe_replica_version",
        "The version that a live replica does serve.",
        ["model", "replica"],
        {
            (each.model.name, f"{served.replica.host}:{served.replica.pid}"): served.version
            for each in models
            for served in each.replicas
            if served.version is not None
        },
    )
    yield _gauge(
        "lethe_replica_load_failed",
        "1 where a live replica could not load the version that it should serve.",
        ["model", "replica"],
        {
            (each.model.name, f"{served.replica.host}:{served.replica.pid}"): bool(served.error)
            for each in models
            for served in each.replicas
        },
    )
    yield _gauge(
        "lethe_drift_budget_left_ratio",
        "What is left of each limit of a model's drift budget; at 0 it is retrained exactly.",
        ["model", "limit"],
        {
            (each.model.name, limit): share
            for each in models
            if each.drift is not None
            for limit, share in each.drift.left.items()
        },
    )


def _canaries(session: Session) -> Metric:
    planted = canaries.counts(session)
    return _gauge(
        "lethe_canary_groups_left",
        "Groups of canaries that jobs to come may spend; without one a job proves less.",
        ["dataset"],
        {(each.name,): planted[each.id].left for each in datasets(session) if each.id in planted},
    )
