"""`lethe capacity`: what a load of requests costs under several batch policies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import Invalid
from lethe.console import AsJson, note, progress, show, table

if TYPE_CHECKING:
    from core.capacity.costs import Costs
    from core.capacity.plan import Figures, Scenario
    from core.capacity.simulation import Batching
    from core.settings import Settings


def capacity(
    requests_per_day: Annotated[
        float | None, typer.Option(help="Erasure requests a day, for all models together.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Whose jobs on record say what one costs.")
    ] = None,
    subjects: Annotated[
        int | None,
        typer.Option(help="People in a model's data set; by default those of the model's."),
    ] = None,
    models: Annotated[int, typer.Option(min=1, help="Models alike.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Workers there are at the most.")] = 1,
    gpu_price: Annotated[
        float, typer.Option(min=0, help="Of an hour of a worker's GPU or core.")
    ] = 0.0,
    deadline_hours: Annotated[
        float, typer.Option(help="From receipt to erasure; a month by default.")
    ] = 720.0,
    window: Annotated[
        list[float] | None,
        typer.Option(metavar="SECONDS", help="A batch window to try; may be given several times."),
    ] = None,
    costs: Annotated[
        Path | None,
        typer.Option(help="Job costs from a file, such as an earlier answer of --json."),
    ] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="Several groups of models, from a file; see the guide.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated requests.")] = 0,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw a figure.")] = None,
    as_json: AsJson = False,
) -> None:
    """How many requests to gather before a job pays: jobs, hours, waits, storage and money.

    From the costs of jobs that ended, and a simulated queue in the service's own order. The batch
    policy in force (LETHE_BATCH_SECONDS, LETHE_BATCH_REQUESTS) is among those compared, and a
    warning says when it cannot meet the deadline.

    Example: `lethe capacity --model digits --requests-per-day 1000 --workers 2`
    """
    from core.capacity import plan
    from core.capacity.simulation import Batching

    asked, settings = _asked(
        scenario, costs, model, requests_per_day, subjects, models, workers, gpu_price,
        deadline_hours, seed,
    )  # fmt: skip
    in_force = Batching(settings.batch_seconds, settings.batch_requests)
    windows = plan.WINDOWS if window is None else tuple(window)
    policies = [Batching(seconds, settings.batch_requests) for seconds in windows]
    if in_force not in policies:
        policies.append(in_force)
    policies.sort(key=lambda each: each.seconds)
    with progress("simulating") as advance:
        found = plan.compare(
            asked, policies, lambda done: advance(done / len(policies), f"{done} policies")
        )
    best = plan.cheapest(found)
    mine = next(each for each in found if each.batching == in_force)
    warning = plan.warning(in_force, mine, asked.deadline)
    unit = asked.groups[0].costs.per
    if plot is not None:
        from lethe.plotting import draw_policies

        draw_policies(found, asked.deadline, unit, plot)
    answer: dict[str, Any] = {
        "requests_per_day": asked.requests_per_day,
        "workers": asked.workers,
        "deadline_hours": asked.deadline / 3600,
        "per": unit,
        "policies": [each.to_dict() for each in found],
        "in_force": mine.to_dict(),
        "cheapest": best and best.to_dict(),
        "warning": warning,
        "costs": asked.groups[0].costs.to_dict(),
        "groups": [group.name for group in asked.groups],
    }
    show(answer, as_json, lambda: _print(asked, found, in_force, best))
    for group in asked.groups:
        for each in group.costs.assumed:
            note(f"Assumed, not measured ({group.name}): {each}")
    if warning:
        note(f"Warning: {warning}")


def _asked(
    scenario: Path | None,
    costs: Path | None,
    model: str | None,
    requests_per_day: float | None,
    subjects: int | None,
    models: int,
    workers: int,
    gpu_price: float,
    deadline_hours: float,
    seed: int,
) -> tuple[Scenario, Settings]:
    from core.capacity.costs import read
    from core.capacity.plan import Group, Prices, Scenario, scenario_of
    from core.settings import read_settings

    settings = read_settings()
    if scenario is not None:
        return scenario_of(_object(scenario)), settings
    if requests_per_day is None:
        raise Invalid("say how many: --requests-per-day N (or --scenario FILE)")
    if costs is not None:
        known, people = read(costs), None
    elif model is not None:
        known, people = _measured(settings, model)
    else:
        raise Invalid(
            "say what a job costs: --model NAME, whose jobs are on record, or --costs FILE"
        )
    there = subjects or people or round(known.trained / max(1.0, known.samples_per_subject))
    if subjects is not None and known.trained:
        known = replace(known, trained=round(subjects * known.samples_per_subject))
    group = Group(models, requests_per_day, max(1, there), known, model or "models")
    return (
        Scenario(
            [group],
            workers,
            3600 * deadline_hours,
            Prices(gpu_price),
            seed=seed,
            review_share=settings.review_share,
        ),
        settings,
    )


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (UnicodeDecodeError, ValueError) as error:
        raise Invalid(f"{path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Invalid(f"{path} is not a JSON object")
    return found


def _measured(settings: Settings, name: str) -> tuple[Costs, int]:
    """Costs of the model's jobs on record, and how many people its data set has."""
    from sqlalchemy import func, select

    from core import registry
    from core.capacity.costs import measured
    from core.records import Subject
    from lethe.home import opened_with

    with opened_with(settings) as backend, backend.db.reading() as session:
        model = registry.model_named(session, name)
        serving = registry.serving(session, model.id)
        size = 0
        if serving is not None:
            arrays = backend.checkpoints.read(serving.digest).arrays
            size = sum(array.nbytes for array in arrays.values())
        people = select(func.count()).select_from(Subject)
        there = session.scalars(people.where(Subject.dataset_id == model.dataset_id)).one()
        return measured(session, model, size / 1e6), there


def _print(asked: Scenario, found: list[Figures], in_force: Batching, best: Figures | None) -> None:
    from lethe.plotting import window

    unit, price = asked.groups[0].costs.per, asked.prices.gpu_hour
    rows = [
        (
            window(each.batching.seconds)
            + (" *" if each is best else "")
            + (" (in force)" if each.batching == in_force else ""),
            f"{each.jobs:,.0f}",
            f"{each.requests_per_job:.1f}",
            f"{each.retrainings:,.0f}",
            f"{each.hours:,.2f}",
            each.workers_needed or "late",
            _time(each.p50),
            _time(each.p99),
            f"{each.storage_gb:,.1f}",
            *((f"{each.money_busy:,.2f}",) if price else ()),
            *((_money(each),) if price else ()),
        )
        for each in found
    ]
    money = ("price, busy", "price, kept") if price else ()
    table(
        (
            *("gather", "jobs", "requests a job", "retrainings", f"{unit}-hours"),
            *(f"{unit}s needed", "p50", "p99", "GB in a year", *money),
        ),
        rows,
        f"{asked.requests_per_day:,.0f} requests a day, {asked.workers} {unit}s at the most, "
        f"erased within {asked.deadline / 3600:g} hours",
    )
    costs = asked.groups[0].costs
    typer.echo(
        f"Costs of a job: {costs.fixed_seconds:.2f} s and {1000 * costs.sample_seconds:.2f} ms a "
        f"sample; a retraining {costs.retrain_seconds:.1f} s ({costs.origin or 'from a file'})."
    )
    if best is None:
        typer.echo("No policy meets the deadline with so many workers.")
    else:
        typer.echo(f"* the cheapest that meets it: LETHE_BATCH_SECONDS={best.batching.seconds:g}")


def _money(each: Figures) -> str:
    return "-" if each.money_reserved is None else f"{each.money_reserved:,.2f}"


def _time(seconds: float) -> str:
    from lethe.plotting import window

    if seconds >= 60:
        size = 3600.0 if seconds >= 3600 else 60.0
        return window(round(seconds / size, 1) * size)
    return f"{seconds:.1f} s"
