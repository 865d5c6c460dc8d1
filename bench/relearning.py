"""How often G8 errs and what it finds: `python -m bench.relearning`.

For each seed the scenes of bench.gates: requests whose truth is known, and models that were
retrained without them, that remember them, or that only look as if they had forgotten. On the
digits also whole subjects, ten consecutive digits each: what is taught is then like what is
asked for, as it is in an ordinary request.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bench._gates.scenes import Request, Scene, World
from bench._gates.verdicts import candidate_of
from unlearning import VIB, Samples, Teacher, Trigger, digits, train, train_teacher
from unlearning.verification.contradictions import find_contradictions
from unlearning.verification.relearning_gate import relearning_gate
from unlearning.verification.thresholds import Thresholds

Row = dict[str, Any]
CANDIDATES = ("before", "fine_tune", "class_mean", "rfu_ss", "retrained")
SUBJECT = 10  # consecutive digits of one subject
SUBJECTS = (3, 5, 10)


def main() -> None:
    """Print a table, or one JSON object."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.relearning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds MNIST/")
    parser.add_argument("--seeds", type=int, default=13)
    parser.add_argument("--only-retrained", action="store_true", help="false fails, no others")
    parser.add_argument("--cache", type=Path, help="keeps the models")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    for seed in range(given.seeds):
        world = World(given.dataset, given.data, seed, given.cache)
        rows += scenes(world, CANDIDATES[-1:] if given.only_retrained else CANDIDATES)
        if given.dataset == "digits" and given.only_retrained:
            rows += subjects(world)
    found = summary(rows)
    if given.json:
        print(json.dumps({"dataset": given.dataset, "seeds": given.seeds, "rows": found}))
        return
    for row in found:
        print("  ".join(f"{name} {shown(value)}" for name, value in row.items()))


def scenes(world: World, candidates: tuple[str, ...]) -> Iterator[Row]:
    """Ordinary samples, wrong labels, the same held ten times, and a trigger."""
    ordinary = world.ordinary(requests=1)
    wrong = ordinary.requests[-1]
    asked: list[tuple[Scene, Request]] = [
        (ordinary, next(each for each in ordinary.requests if each.name == "100 ordinary")),
        (ordinary, Request("half of the wrong labels", wrong.indices[: len(wrong.indices) // 2])),
        (ordinary, wrong),
        (world.triggered(), Request("triggered", world.triggered().requests[0].indices)),
    ]
    if len(candidates) > 1:  # the retrained model is the ordinary scene's
        memorised = world.memorised(ordinary)
        asked += [(memorised, request) for request in memorised.requests]
    for scene, request in asked:
        for name in candidates:
            before = world.before(scene) if name != "retrained" else None
            model = world.retrained(scene)
            if before is not None:
                model = candidate_of(name, world, scene, request, before)
            erased = scene.trained[request.indices]
            yield row(request.name, name, model, erased, world, world.teacher, scene.trigger)


def subjects(world: World) -> Iterator[Row]:
    """Models that never saw some whole subjects, whose labels are right, or were wrong."""
    everything, preset = digits().samples("train"), world.preset
    order = torch.randperm(
        len(everything) // SUBJECT, generator=torch.Generator().manual_seed(world.seed)
    )

    def of(some: torch.Tensor) -> Samples:
        return everything[(some[:, None] * SUBJECT + torch.arange(SUBJECT)).flatten()]

    references, world.held = of(order[:27]), of(order[27:54])
    model = train(world.architecture, of(order[64:]), preset.training, seed=world.seed)
    teacher = train_teacher(world.architecture, references, preset.teacher, seed=world.seed)
    for count in SUBJECTS:
        right = of(order[54 : 54 + count])
        wrong = Samples(right.images, (right.labels + 1 + torch.arange(len(right)) % 9) % 10)
        for what, erased in (("right", right), ("wrong", wrong)):
            name = f"{count} subjects, {what} labels"
            yield row(name, "retrained", model, erased, world, teacher, None)


def row(
    request: str,
    name: str,
    model: VIB,
    erased: Samples,
    world: World,
    teacher: Teacher,
    trigger: Trigger | None,
) -> Row:
    """One verdict of G8, and its CPU seconds."""
    found = find_contradictions(teacher, erased, world.held, trigger)
    began = time.process_time()
    gate = relearning_gate(model, erased, world.held, found, Thresholds(), trigger, seed=world.seed)
    return {
        "request": request,
        "model": name,
        "verdict": gate.verdict,
        "ratio": gate.statistic if gate.p_value is not None else None,
        "power": gate.power,
        "cpu_seconds": time.process_time() - began,
    }


def summary(rows: list[Row]) -> list[Row]:
    """Verdicts counted and medians over seeds; a ratio is None where there was nothing to learn."""
    found = []
    for request, model in dict.fromkeys((each["request"], each["model"]) for each in rows):
        mine = [each for each in rows if (each["request"], each["model"]) == (request, model)]
        counts = Counter(each["verdict"] for each in mine)
        ratios = [each["ratio"] for each in mine if each["ratio"] is not None]
        found.append(
            {
                "request": request,
                "model": model,
                **{verdict: counts[verdict] for verdict in ("FAIL", "INCONCLUSIVE", "PASS")},
                "ratio": statistics.median(ratios) if ratios else None,
                "power": statistics.median(each["power"] for each in mine),
                "cpu_seconds": statistics.mean(each["cpu_seconds"] for each in mine),
            }
        )
    return found


def shown(value: object) -> str:
    """A cell of the table."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
