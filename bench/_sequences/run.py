"""One sequence under one seed: a job after another, and an exact retraining at each tenth."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from bench._paper.data import Data
from core import drift
from unlearning import (
    VIB,
    Architecture,
    Problem,
    Samples,
    Teacher,
    accuracy,
    rungs,
    train,
    train_teacher,
    unlearn,
)
from unlearning.verification.placements import auc
from unlearning.verification.protocol import Evidence, Report, verify
from unlearning.verification.scores import Scores, score

STRATEGY = "rfu_ss"
RETRAIN = "retrain"
TENTHS = 10

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """jobs: how many, of `samples` erased ordinary samples each. obey: is a retraining that the
    drift budget asks for carried out, as the service does, or only noted?"""

    jobs: int
    samples: int
    obey: bool
    epochs: int | None = None


class Sequence:
    """The model as it stands, what is erased by now, and the drift account."""

    def __init__(self, data: Data, seed: int, plan: Plan) -> None:
        self.data, self.seed, self.plan = data, seed, plan
        self.training = data.preset.training
        if plan.epochs is not None:
            self.training = data.preset.training.from_dict(
                data.preset.training.to_dict() | {"epochs": plan.epochs}
            )
        self.order = torch.randperm(
            len(data.pool), generator=torch.Generator().manual_seed(7000 + seed)
        )
        self.budget = drift.Budget()
        self.began = datetime.now(UTC)
        self.asked: list[Row] = []
        self.erased = 0
        self.teacher: Teacher = train_teacher(
            self.architecture, data.references, data.preset.teacher, seed=seed
        )
        self.first = self.model = self._trained(data.pool, seed)
        self.account = self._opened(len(data.pool))

    @property
    def architecture(self) -> Architecture:
        return self.data.preset.architecture(self.data.pool.shape, self.data.classes)

    def run(self, keep: Callable[[Row], None]) -> None:
        """Every job, and a comparison at each tenth; `keep` gets a row for each."""
        keep(self._figures("before", 0, self.model, self.first))
        every = max(1, self.plan.jobs // TENTHS)
        for number in range(1, self.plan.jobs + 1):
            keep(self._job(number))
            if number % every == 0:
                exact = self._trained(self._remaining(), 1000 + self.seed)
                keep(self._figures("sequence", number, self.model, exact))
                keep(self._figures("retrained", number, exact, exact))

    def _job(self, number: int) -> Row:
        """Rung after rung until one does not fail, the last one an exact retraining."""
        erased = self.data.pool[self.order[self.erased : self.erased + self.plan.samples]]
        self.erased += self.plan.samples
        remaining = self._remaining()
        began = time.process_time()
        tried: list[str] = []
        for rung in range(rungs(STRATEGY) + 1):
            exact = rung == rungs(STRATEGY)
            seed = 100 * number + rung
            if exact:
                candidate = self._trained(remaining, seed)
            else:
                problem = Problem(erased, remaining, self.data.references, self.teacher)
                outcome = unlearn(self.model, problem, strategy=STRATEGY, seed=seed, rung=rung)
                candidate = outcome.model
            report = self._verified(candidate, erased, remaining, exact, seed)
            tried.append(report.verdict)
            if exact or report.verdict != "FAIL":
                break
        seconds = time.process_time() - began
        before, after = (accuracy(each, self.data.test) for each in (self.model, candidate))
        self.model = candidate
        if exact:
            self.account = self._opened(len(remaining))
        else:
            lost = before - after
            self.account = drift.charged(self.account, erased=len(erased), lost=lost)
        return {
            "row": "job",
            "job": number,
            "verdict": tried[-1],
            "tried": tried,
            "strategy": RETRAIN if exact else STRATEGY,
            "failing": sorted({g.gate for g in report.decisive if g.verdict == "FAIL"}),
            "seconds": seconds,
            "test_accuracy": after,
            "asked": self._asked(number, remaining),
        }

    def _asked(self, number: int, remaining: Samples) -> str | None:
        """The limit of the drift budget that asks for a retraining after this job."""
        limit = drift.overspent(self.budget, self.account, self.began)
        if limit is not None and self.plan.obey:
            self.model = self._trained(remaining, 5000 + number)
            self.account = self._opened(len(remaining))
        return limit

    def _verified(
        self, candidate: VIB, erased: Samples, remaining: Samples, exact: bool, seed: int
    ) -> Report:
        evidence = Evidence(
            erased,
            remaining,
            self.data.held_out,
            self.data.test,
            self.teacher,
            drift_so_far=self.account["accuracy_lost"],
        )
        return verify(self.model, candidate, evidence, exact=exact, seed=seed)

    def _figures(self, model: str, number: int, judged: VIB, exact: VIB) -> Row:
        """What is known of a model after `number` jobs, over all that was erased by then.

        The gates judge it against the first model, which remembers everything. kl: mean
        KL(p_exact(y|x) || p(y|x)) in nats.
        """
        gone, remaining = self.data.pool[self.order[: self.erased]], self._remaining()
        row: Row = {"row": "tenth", "model": model, "job": number, "erased": len(gone)}
        row["test_accuracy"] = accuracy(judged, self.data.test)
        row["remaining_accuracy"] = accuracy(judged, remaining)
        row["kl_test"] = _kl(exact, judged, self.data.test)
        if not len(gone):
            return row
        seen, held = score(judged, gone), score(judged, self.data.held_out)
        evidence = Evidence(gone, remaining, self.data.held_out, self.data.test, self.teacher)
        report = verify(self.first, judged, evidence, seed=number)
        return row | {
            "erased_accuracy": float(seen.right.mean()),
            "auc": _auc(seen, held),
            "kl_erased": _kl(exact, judged, gone),
            "verdict": report.verdict,
            "failing": sorted({g.gate for g in report.gates if g.verdict == "FAIL"}),
        }

    def _remaining(self) -> Samples:
        return self.data.pool[self.order[self.erased :]]

    def _trained(self, samples: Samples, seed: int) -> VIB:
        return train(self.architecture, samples, self.training, seed=seed)

    def _opened(self, trained: int) -> drift.Account:
        return drift.opened(trained=trained, below=len(self.data.pool), at=self.began)


def _auc(seen: Scores, held: Scores) -> float | None:
    found = auc(seen.margin, seen.labels, held.margin, held.labels)
    return found.value if found else None


def _kl(exact: VIB, model: VIB, samples: Samples) -> float:
    log_p = exact.logits(samples.images).log_softmax(dim=1)
    log_q = model.logits(samples.images).log_softmax(dim=1)
    return float((log_p.exp() * (log_p - log_q)).sum(dim=1).mean())
