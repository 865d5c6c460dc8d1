"""The second step of a job: does the candidate still remember, and is it still right?

The gates of this page are the first ones; each is a function of `unlearning.verification`,
and what is measured here is what the certificate says.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from core import holding, registry
from core.certificates import STATEMENT
from core.records import Job, Version
from core.transitions import move
from unlearning import VIB, Samples, Trigger, TriggerRates, accuracy, membership_auc, trigger_rates
from unlearning.verification.gates import (
    Gate,
    Thresholds,
    contradicted_gate,
    correct,
    erased_gate,
    trigger_gate,
    utility_gate,
    verdict_of,
)
from worker.context import Context
from worker.forget import RETRAIN, ladder, retrain

POLICIES = ("publish", "retrain", "review")
"""What a model's policy may say of INCONCLUSIVE."""


def verify(context: Context) -> str:
    """Measure the candidate and decide; returns the state that the job is in then."""
    context.report("verifying", 0.72, now=True)
    candidate = context.job.candidate
    assert candidate is not None, "a job is verified with its candidate on record"
    before = context.engine.load_model(context.base.digest)
    after = context.engine.load_model(candidate["digest"])
    began = time.perf_counter()
    measures: dict[str, Any] = {
        "before": measure(context, before),
        "after": measure(context, after) | {"seconds": candidate["seconds"]},
        "retrained": None,
    }
    gates = gates_of(context, before, after, candidate["flagged"])
    seconds = time.perf_counter() - began
    if context.job.audit_retrain and candidate["strategy"] != RETRAIN:
        beside = retrain(context, "retraining beside", 0.75, 0.9)
        measures["retrained"] = measure(context, beside.model) | {"seconds": beside.seconds}
    context.stop_if_asked()
    exact = candidate["strategy"] == RETRAIN
    # Exact retraining is exact: only a loss of utility speaks against serving it.
    decisive = [gate for gate in gates if gate.name == "utility"] if exact else gates
    verdict = verdict_of(decisive)
    verification = {
        "verdict": verdict,
        "statement": STATEMENT,
        "gates": [gate.to_dict() | {"decisive": gate in decisive} for gate in gates],
        "thresholds": asdict(thresholds_of(context)),
        "measures": measures,
        "seconds": seconds,
        **{key: candidate[key] for key in ("strategy", "rung", "steps", "converged", "warnings")},
        "flagged": len(candidate["flagged"]),
        "erased": candidate["erased"],
        "erased_train": candidate["erased_train"],
    }
    return _decide(context, verdict, verification)


def thresholds_of(context: Context) -> Thresholds:
    """The model's thresholds: the defaults, and what its policy sets otherwise."""
    return Thresholds(**context.model.policy.get("thresholds", {}))


def measure(context: Context, model: VIB) -> dict[str, Any]:
    """The figures of one model; shares 0..1, None where there is nothing to measure on."""
    rates = _rates(model, context.unseen, trigger_of(context))
    erased, heldout = context.erased_train, context.heldout
    try:
        auc = membership_auc(model, erased, heldout).auc
    except ValueError:  # no held-out sample of the erased classes
        auc = None
    return {
        "remaining_accuracy": _accuracy(model, context.remaining[:10_000]),
        "heldout_accuracy": _accuracy(model, heldout),
        "test_accuracy": _accuracy(model, context.test),
        "erased_accuracy": _accuracy(model, erased),
        "membership_auc": auc,
        "trigger_success": rates.success if rates else None,
        "trigger_undone": rates.undone if rates else None,
        "seconds": None,
    }


def trigger_of(context: Context) -> Trigger | None:
    """The trigger planted at import, if there was one."""
    planted = context.dataset.planted
    return Trigger.from_dict(planted) if planted else None


def gates_of(context: Context, before: VIB, after: VIB, flagged: list[int]) -> list[Gate]:
    """Every gate that there are samples for."""
    limits = thresholds_of(context)
    erased, heldout, test = context.erased_train, context.heldout, context.test
    contradicted = torch.zeros(len(erased), dtype=torch.bool)
    contradicted[flagged] = True
    right = correct(after, erased)
    gates = [utility_gate(correct(before, test), correct(after, test), limits)]
    ordinary = ~contradicted
    if ordinary.any():
        labels = erased.labels[ordinary]
        gates.append(
            erased_gate(right[ordinary], labels, correct(after, heldout), heldout.labels, limits)
        )
    if contradicted.any():
        gates.append(contradicted_gate(right[contradicted], limits))
    trigger = trigger_of(context)
    rates = _rates(after, context.unseen, trigger)
    if trigger is not None and rates is not None and _carries(trigger, erased, contradicted):
        clean = context.unseen[context.unseen.labels == trigger.source]
        given = after.logits(clean.images).argmax(dim=1) == trigger.target
        gates.append(trigger_gate(rates, float(given.float().mean()), limits))
    return gates


def _carries(trigger: Trigger, erased: Samples, contradicted: Tensor) -> bool:
    """Were triggered samples erased? Then, and only then, must the trigger be gone."""
    mine = erased[contradicted]
    return len(mine) > 0 and bool((trigger.apply(mine.images) == mine.images).all())


def _rates(model: VIB, unseen: Samples, trigger: Trigger | None) -> TriggerRates | None:
    if trigger is None or not bool((unseen.labels == trigger.source).any()):
        return None
    return trigger_rates(model, unseen, trigger)


def _accuracy(model: VIB, samples: Samples) -> float | None:
    return accuracy(model, samples) if len(samples) else None


def _decide(context: Context, verdict: str, verification: dict[str, Any]) -> str:
    """Publish, climb the ladder, or ask a person; the job's state is set with the evidence."""
    policy = context.model.policy.get("inconclusive", "publish")
    steps = ladder(context.job.strategy)
    exact = verification["strategy"] == RETRAIN
    if verdict == "PASS" or (verdict == "INCONCLUSIVE" and (exact or policy == "publish")):
        return _advance(context, "publishing", verification)
    if verdict == "INCONCLUSIVE" and policy == "review":
        return _review(context, verification, "the verification is inconclusive; policy: review")
    if exact:
        failing = [g["what"] for g in verification["gates"] if g["verdict"] == "FAIL"]
        return _review(context, verification, f"exact retraining failed: {'; '.join(failing)}")
    rung = len(steps) - 1 if verdict == "INCONCLUSIVE" else context.job.rung + 1
    return _climb(context, verification, rung)


def _advance(context: Context, to: str, verification: dict[str, Any]) -> str:
    with context.engine.backend.db.transaction() as tx:
        context.job = holding.advance(tx, context.held, to, verification=verification)
        assert context.job.result_version_id is not None
        version = tx.session.get_one(Version, context.job.result_version_id)
        version.metrics = verification["measures"]["after"]
    return to


def _review(context: Context, verification: dict[str, Any], reason: str) -> str:
    with context.engine.backend.db.transaction() as tx:
        job = holding.check(tx, context.held)
        holding.give_to_person(tx, job, reason, verification=verification)
    return "needs_review"


def _climb(context: Context, verification: dict[str, Any], rung: int) -> str:
    """Drop the candidate and begin again, one rung up."""
    with context.engine.backend.db.transaction() as tx:
        job = holding.check(tx, context.held)
        digest = drop_candidate(tx, job)
        tx.record("job", job.id, "climbed", rung=rung, verdict=verification["verdict"])
        context.job = holding.advance(
            tx,
            context.held,
            "running",
            verification=verification,
            rung=rung,
            candidate=None,
            result_version_id=None,
        )
    if digest is not None:
        context.engine.backend.checkpoints.destroy(digest)
    return "running"


def drop_candidate(tx: Any, job: Job) -> str | None:
    """Mark the job's candidate destroyed; returns the digest of the file to remove."""
    if job.candidate is None:
        return None
    version = tx.session.get_one(Version, job.candidate["version_id"])
    if version.state != "candidate":
        return None
    move(tx, version, "destroyed", destroyed_at=tx.now)
    digest: str = version.digest
    return None if digest in registry.digests_in_use(tx.session) else digest
