"""What a certificate says of one model, in words: what was done, measured and destroyed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

STRATEGIES = {
    "rfu_ss": "unlearning by representation forgetting with parameter self-sharing (RFU-SS)",
    "rfu_ss_paper": "unlearning by RFU-SS as the paper prints it",
    "retrain": "exact retraining on everything that remains",
}
VERDICTS = {
    "PASS": "No test failed, and every test had the power to decide.",
    "INCONCLUSIVE": "No test failed, but at least one had too few samples to decide.",
    "FAIL": "At least one test found evidence of remembering, or of harm.",
}
MEASURES = {
    "erased_accuracy": "Erased samples given the label they had",
    "membership_auc": "Membership AUC, erased against held-out (0.5: told apart no better than "
    "by chance)",
    "remaining_accuracy": "Accuracy on remaining samples",
    "heldout_accuracy": "Accuracy on held-out samples",
    "test_accuracy": "Accuracy on test samples",
    "trigger_success": "Planted trigger works",
    "trigger_undone": "Triggered images given their true label",
}


@dataclass(frozen=True)
class Gate:
    """One test in words. allowed: its bounds; interval: of the figure."""

    name: str
    what: str
    figure: str
    interval: str
    allowed: str
    samples: int
    verdict: str
    decisive: bool


@dataclass(frozen=True)
class Measure:
    """One figure before, after, and of an exact retraining where one was run beside."""

    what: str
    before: str
    after: str
    retrained: str


@dataclass(frozen=True)
class ModelPart:
    """What one job did and measured; everything is text for the page.

    verdict and meaning are None where there was nothing to verify; note says why.
    """

    name: str
    facts: list[tuple[str, str]]
    verdict: str | None
    meaning: str | None
    note: str | None
    gates: list[Gate]
    measures: list[Measure]
    with_retrained: bool
    limits: list[tuple[str, str]]
    deviations: list[str]
    destroyed: list[tuple[str, str]]
    versions: list[dict[str, Any]]


def model_part(name: str, job: dict[str, Any] | None) -> ModelPart:
    """The part of one model, None for a job that had nothing to do."""
    if job is None:
        note = "Nothing had to be done: the model was trained on none of the subject's samples."
        return ModelPart(name, [], None, None, note, [], [], False, [], [], [], [])
    found = job["verification"] or {}
    measures = found.get("measures") or {}
    verified = bool(found.get("gates"))
    facts = [
        ("Job", job["job"]),
        ("Requests that it carried out together", str(job["requests_together"])),
        ("Method", _method(job, found)),
        ("Tried before it", tried(found.get("rungs_before", []))),
        ("Exact copies erased with them", _count(found.get("copies"))),
        ("Samples with a label that neighbours contradict", _count(found.get("contradicted"))),
        ("Seed", str(job["seed"])),
        ("Canary group erased beside them", _canaries(job["canaries"])),
        ("Of its coins, guessed right", _guessed(found.get("gates", []))),
        ("Began", moment(job["started_at"])),
        ("Published", moment(job["published_at"]) if job["published_at"] else None),
        ("Model before", job["digest_before"]),
        ("Model after", job["digest_after"]),
    ]
    destruction = job["destruction"] or {}
    return ModelPart(
        name=name,
        facts=[(what, value) for what, value in facts if value is not None],
        verdict=found["verdict"] if verified else None,
        meaning=VERDICTS[found["verdict"]] if verified else None,
        note=_sentence(found["note"]) if "note" in found else None,
        gates=[_gate(gate) for gate in found.get("gates", [])],
        measures=measures_of(measures) if verified else [],
        with_retrained=measures.get("retrained") is not None,
        limits=[
            (what.replace("_", " "), _number(value))
            for what, value in found.get("thresholds", {}).items()
        ],
        deviations=[_deviation(each) for each in found.get("policy_deviations", [])],
        destroyed=_destroyed(destruction),
        versions=[
            {**each, "destroyed_at": moment(each["destroyed_at"])}
            for each in destruction.get("versions", [])
        ],
    )


def _canaries(group: dict[str, Any] | None) -> str | None:
    """The seed of a spent group, by which anybody draws its coins again."""
    if group is None:
        return None
    return (
        f"group {group['group']} of {group['size']}, seed {group['seed']}, committed to "
        f"beforehand as {group['commitment']}"
    )


def _guessed(gates: list[dict[str, Any]]) -> str | None:
    """How well the model before and the one after give the coins away."""
    detail = [(g["statistic"], g["detail"]) for g in gates if g["name"] == "canaries"]
    if not detail or "guessed_before" not in detail[0][1]:
        return None
    after, before = detail[0][0], detail[0][1]["guessed_before"]
    return f"{before:.0%} from the model before, {after:.0%} from the one after; half by chance"


def _deviation(each: dict[str, Any]) -> str:
    """thresholds.auc_band as: auc band 0.200, by default 0.100."""
    what = each["setting"].rpartition(".")[2].replace("_", " ")
    where = "drift budget, " if each["setting"].startswith("budget.") else ""
    in_force, default = (_setting(each[when]) for when in ("in_force", "default"))
    return f"{where}{what} {in_force}, by default {default}"


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _count(number: int | None) -> str | None:
    """None for nothing: it is not worth a line."""
    return f"{number:,}" if number else None


def _method(job: dict[str, Any], found: dict[str, Any]) -> str | None:
    """How the model forgot; None where nothing was to be unlearnt."""
    if "strategy" not in found:
        return None
    how: str = STRATEGIES.get(found["strategy"], found["strategy"])
    steps = f", {found['steps']:,} steps in {found['seconds']:.2f} s"
    if found["strategy"] != job["strategy"]:
        return f"{how}{steps}, after {job['strategy']} had not sufficed"
    return how + steps


def tried(rungs: list[dict[str, Any]]) -> str | None:
    """What was not published, and for which tests; None where the first try was."""
    said = [
        f"{rung['strategy']}, {rung['steps']:,} steps: {rung['verdict']} by "
        + ", ".join(f"{gate['gate']} {gate['name'].replace('_', ' ')}" for gate in rung["gates"])
        for rung in rungs
    ]
    return "; ".join(said) or None


def _gate(gate: dict[str, Any]) -> Gate:
    return Gate(
        name=gate["gate"],
        what=gate["what"],
        figure=_number(gate["statistic"]),
        interval=f"{_number(gate['low'])} to {_number(gate['high'])}",
        allowed=allowed(gate["least"], gate["most"]),
        samples=gate["samples"],
        verdict=gate["verdict"],
        decisive=gate["decisive"],
    )


def allowed(least: float, most: float) -> str:
    """Losses and rises are differences of shares: from -1 on, any gain is allowed."""
    if least <= -1.0:
        return f"at most {_number(most)}"
    return f"{_number(least)} to {_number(most)}"


def measures_of(measures: dict[str, Any]) -> list[Measure]:
    def shown(when: str, name: str) -> str:
        value = (measures[when] or {}).get(name)
        if value is None:
            return "–"
        return f"{value:.3f}" if name == "membership_auc" else f"{value:.1%}"

    rows = [
        Measure(what, *(shown(when, name) for when in ("before", "after", "retrained")))
        for name, what in MEASURES.items()
    ]
    return [row for row in rows if (row.before, row.after) != ("–", "–")]


def _destroyed(destruction: dict[str, Any]) -> list[tuple[str, str]]:
    samples = destruction.get("samples")
    if samples is None:
        return []
    return [
        ("Samples deleted", f"{samples['samples']:,}"),
        (
            "Pieces of the sample store rewritten without them",
            f"{samples['fragments_rewritten']:,}",
        ),
        ("Files removed", f"{samples['files_removed']:,} ({samples['bytes_removed']:,} bytes)"),
        ("Done", moment(destruction["at"])),
    ]


def _number(value: float) -> str:
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.1e}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def moment(text: str) -> str:
    """2026-05-01T12:00:00.123456Z as 2026-05-01 12:00:00 UTC."""
    return f"{text[:10]} {text[11:19]} UTC"
