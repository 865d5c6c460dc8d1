"""The second step of a job: does the candidate still remember, and is it still right?

The protocol is `unlearning.verification.protocol`; here its verdict meets the model's policy.
"""

from __future__ import annotations

from typing import Any

import scipy.stats  # noqa: F401  # a worker loads it at its start, not in its first job

from core import drift, holding, plots, policy, registry
from core.certificates import STATEMENT
from core.db import Transaction, database_now
from core.points import reached
from core.records import Job, Version
from core.transitions import move
from unlearning.verification.gate import Gate
from unlearning.verification.protocol import Report, check_utility
from unlearning.verification.protocol import verify as run_protocol
from worker.context import Context
from worker.evidence import distance, evidence_of, histograms, measure, thresholds_of
from worker.forget import RETRAIN, ladder, retrain

_CARRIED = (
    *("strategy", "rung", "steps", "seconds", "converged", "flagged", "warnings"),
    *("erased", "erased_train", "copies"),
)
"""What the verification's record takes over from the candidate's."""


def verify(context: Context) -> str:
    """Measure the candidate and decide; returns the state that the job is in then."""
    context.report("verifying", 0.72, now=True)
    candidate = context.job.candidate
    assert candidate is not None, "a job is verified with its candidate on record"
    before = context.engine.load_model(context.base.digest)
    after = context.engine.load_model(candidate["digest"])
    exact = candidate["strategy"] == RETRAIN
    limits, seed = thresholds_of(context), context.job.seed
    if len(context.erased_train):
        report = run_protocol(
            before,
            after,
            evidence_of(context),
            limits,
            exact=exact,
            relearning=policy.in_force(context.model.policy)["relearning"],
            seed=seed,
        )
    else:  # a retraining that no request asked for: it has only its utility to show
        report = check_utility(before, after, context.test, limits, seed=seed)
    measures: dict[str, Any] = {
        "before": measure(context, before, report.before),
        "after": measure(context, after, report.after) | {"seconds": candidate["seconds"]},
        "retrained": None,
    }
    if context.job.audit_retrain and not exact:
        beside = retrain(context, "retraining beside", 0.75, 0.9)
        measures["retrained"] = measure(context, beside.model) | {"seconds": beside.seconds}
        measures["distance_to_retrained"] = distance(context, after, beside.model)
    _keep_scores(context, report)
    context.stop_if_asked()
    return _decide(context, report.verdict, _record(context, candidate, report, measures))


def _keep_scores(context: Context, report: Report) -> None:
    """For the job's page, as histograms: not for the record, nor for the certificate."""
    if report.before is None or report.after is None:
        return
    found = histograms(report.before, report.after)
    if found is None:
        return
    with context.engine.backend.db.transaction() as tx:
        plots.keep_scores(tx, holding.check(tx, context.held).id, found)


def _record(
    context: Context, candidate: dict[str, Any], report: Report, measures: dict[str, Any]
) -> dict[str, Any]:
    """The verification as the job, the certificate and the dashboard show it."""
    return {
        "verdict": report.verdict,
        "statement": STATEMENT,
        "gates": [_gate(gate, report) for gate in report.gates],
        "thresholds": thresholds_of(context).to_dict(),
        "policy_deviations": policy.deviations(context.model.policy),
        "measures": measures,
        "verification_seconds": report.seconds,
        **{key: candidate[key] for key in _CARRIED},
        "rungs_before": _rungs_before(context),
        "contradicted": report.contradicted,
        "drift": _account(context, candidate, measures),
    }


def _rungs_before(context: Context) -> list[dict[str, Any]]:
    """What the rungs below this one came to, the first one first: why the job climbed."""
    below = context.job.verification
    if context.job.rung == 0 or below is None:
        return []  # the first rung, also of a job that a person has it do again
    summary = {key: below[key] for key in ("rung", "strategy", "verdict", "steps", "seconds")}
    told = ("gate", "name", "verdict", "statistic", "least", "most", "samples")
    return [
        *below["rungs_before"],
        summary
        | {
            "gates": [
                {key: gate[key] for key in told} for gate in below["gates"] if _troubled(gate)
            ]
        },
    ]


def _troubled(gate: dict[str, Any]) -> bool:
    return bool(gate["decisive"]) and gate["verdict"] != "PASS"


def _account(
    context: Context, candidate: dict[str, Any], measures: dict[str, Any]
) -> drift.Account:
    """The drift account that the candidate will carry."""
    if candidate["strategy"] == RETRAIN:
        with context.engine.backend.db.reading() as session:
            now = database_now(session)
        return drift.opened(trained=candidate["trained"], below=candidate["below"], at=now)
    before, after = (measures[when]["test_accuracy"] for when in ("before", "after"))
    account = context.base.metrics["drift"]
    return drift.charged(account, erased=candidate["erased_train"], lost=before - after)


def _gate(gate: Gate, report: Report) -> dict[str, Any]:
    return gate.to_dict() | {"decisive": any(gate is each for each in report.decisive)}


def _decide(context: Context, verdict: str, verification: dict[str, Any]) -> str:
    """Publish, climb the ladder, or ask a person; the job's state is set with the evidence."""
    inconclusive = policy.in_force(context.model.policy)["inconclusive"]
    steps = ladder(context.job.strategy)
    exact = verification["strategy"] == RETRAIN
    if verdict == "PASS" or (verdict == "INCONCLUSIVE" and (exact or inconclusive == "publish")):
        return _advance(context, "publishing", verification)
    if verdict == "INCONCLUSIVE" and inconclusive == "review":
        return _review(context, verification, "the verification is inconclusive; policy: review")
    if exact:
        gates = [g for g in verification["gates"] if g["verdict"] == "FAIL"]
        failing = [g["what"] for g in gates if g["decisive"]]
        return _review(context, verification, f"exact retraining failed: {'; '.join(failing)}")
    rung = len(steps) - 1 if verdict == "INCONCLUSIVE" else context.job.rung + 1
    return _climb(context, verification, rung)


def _advance(context: Context, to: str, verification: dict[str, Any]) -> str:
    with context.engine.backend.db.transaction() as tx:
        context.job = holding.advance(tx, context.held, to, verification=verification)
        _note_figures(tx, context.job, verification)
        reached("verify:before-commit")
    reached("verify:after-commit")
    return to


def _note_figures(tx: Transaction, job: Job, verification: dict[str, Any]) -> None:
    """The candidate's row gets what was measured of it."""
    assert job.result_version_id is not None, "what is verified has a version"
    version = tx.session.get_one(Version, job.result_version_id)
    version.metrics = verification["measures"]["after"] | {"drift": verification["drift"]}


def _review(context: Context, verification: dict[str, Any], reason: str) -> str:
    with context.engine.backend.db.transaction() as tx:
        job = holding.check(tx, context.held)
        _note_figures(tx, job, verification)
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
