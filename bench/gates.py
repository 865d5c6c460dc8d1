"""How often the gates err: verdicts over seeds on models whose truth is known.

python -m bench.gates [--dataset digits|mnist] [--data DIR] [--seeds 20] [--json]

Each seed splits the data anew, trains a model, retrains it exactly without the erased
samples, and unlearns. A retrained model must not fail (the false-fail rate); a model that
remembers a trigger or wrong labels must.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from unlearning import (
    VIB,
    Preset,
    Problem,
    Samples,
    Teacher,
    Trigger,
    digits,
    mnist,
    preset_for,
    train,
    train_teacher,
    unlearn,
)
from unlearning.verification.protocol import Evidence, verify

TRIGGER = Trigger(source=1, target=2)
MODELS = ("retrained", "before", "fine_tune", "rfu_ss")


@dataclass
class Parts:
    """The splits of one seed: T, R, H and what may be trained on."""

    test: Samples
    references: Samples
    held: Samples
    pool: Samples


def split(dataset: str, data: str | None, seed: int) -> Parts:
    """A seeded split; MNIST keeps its test set, of digits a tenth is set aside."""
    source = digits() if dataset == "digits" else mnist(data or "data")
    samples = source.samples("train")
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
    share = 0.15 if len(samples) < 10_000 else 0.05
    held = round(share * len(samples))
    test = round(0.1 * len(samples)) if dataset == "digits" else 0
    cuts = [held, held, test, len(samples) - 2 * held - test]
    r, h, t, pool = (samples[part] for part in torch.split(order, cuts))
    return Parts(t if test else source.samples("test"), r, h, pool)


def scenarios(pool: Samples, sizes: list[int]) -> dict[str, tuple[Samples, torch.Tensor]]:
    """Name -> what is trained on, and the indices to erase."""
    found = {f"{n} ordinary": (pool, torch.arange(n)) for n in sizes}
    ones = torch.nonzero(pool.labels == 1).flatten()[: max(sizes[-1], len(pool) // 16)]
    images, labels = pool.images.clone(), pool.labels.clone()
    images[ones] = TRIGGER.apply(images[ones])
    labels[ones] = TRIGGER.target
    found[f"{len(ones)} triggered"] = (Samples(images, labels), ones)
    chosen = torch.arange(sizes[-1])
    wrong = pool.labels.clone()
    wrong[chosen] = (wrong[chosen] + 1 + chosen % 9) % 10
    found[f"{len(chosen)} wrong labels"] = (Samples(pool.images, wrong), chosen)
    return found


def models(
    preset: Preset,
    trained: Samples,
    erased: torch.Tensor,
    parts: Parts,
    teacher: Teacher,
    seed: int,
) -> tuple[VIB, dict[str, VIB], Samples, Samples]:
    """The model before, the candidates by name, E and D_r."""
    kept = torch.ones(len(trained), dtype=torch.bool)
    kept[erased] = False
    forget, remain = trained[erased], trained[kept]
    architecture = preset.architecture(trained.shape, 10)
    before = train(architecture, trained, preset.training, seed=seed)
    problem = Problem(forget, remain, parts.references, teacher)
    candidates = {
        "retrained": train(architecture, remain, preset.training, seed=1000 + seed),
        "before": before,
        "fine_tune": unlearn(before, problem, strategy="fine_tune", seed=seed).model,
        "rfu_ss": unlearn(before, problem, seed=seed).model,
    }
    return before, candidates, forget, remain


def measure(dataset: str, data: str | None, seeds: int, sizes: list[int]) -> list[dict[str, Any]]:
    """A row for each scenario and model: verdicts, and the gates that failed."""
    verdicts: Counter[tuple[str, str, str]] = Counter()
    failed: Counter[tuple[str, str, str]] = Counter()
    for seed in range(seeds):
        parts = split(dataset, data, seed)
        preset = preset_for(parts.pool.shape)
        architecture = preset.architecture(parts.pool.shape, 10)
        teacher = train_teacher(architecture, parts.references, preset.teacher, seed=seed)
        for name, (trained, erased) in scenarios(parts.pool, sizes).items():
            before, found, forget, remain = models(preset, trained, erased, parts, teacher, seed)
            trigger = TRIGGER if "triggered" in name else None
            evidence = Evidence(forget, remain, parts.held, parts.test, teacher, trigger)
            for model, candidate in found.items():
                report = verify(before, candidate, evidence, seed=seed)
                verdicts[name, model, report.verdict] += 1
                for gate in report.gates:
                    failed[name, model, f"{gate.gate} {gate.name}"] += gate.verdict == "FAIL"
        sys.stderr.write(f"seed {seed + 1} of {seeds}\n")
    names = dict.fromkeys(key[0] for key in verdicts)
    return [
        {
            "scenario": name,
            "model": model,
            **{v: verdicts[name, model, v] for v in ("PASS", "INCONCLUSIVE", "FAIL")},
            "failed": {k[2]: n for k, n in failed.items() if k[:2] == (name, model) and n},
        }
        for name in names
        for model in MODELS
    ]


def main() -> None:
    """Print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dataset", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--data", help="folder of the MNIST files")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)  # models this small run best on one
    sizes = options.sizes or ([10, 30, 100] if options.dataset == "digits" else [30, 300, 3000])
    rows = measure(options.dataset, options.data, options.seeds, sizes)
    if options.json:
        print(json.dumps({"dataset": options.dataset, "seeds": options.seeds, "rows": rows}))
        return
    print(f"| {options.dataset}, {options.seeds} seeds | model | pass | inconclusive | fail | by |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        by = ", ".join(f"{gate} {n}" for gate, n in sorted(row["failed"].items()))
        cells = (row["scenario"], row["model"], row["PASS"], row["INCONCLUSIVE"], row["FAIL"], by)
        print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()
