"""The printable page of a certificate: what was signed, in words, and how to check it offline."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from core import certificates
from core.errors import Invalid, LetheError

_FOLDER = Path(__file__).parent / "templates"
_STYLE = (_FOLDER / "certificate.css").read_text()

POLICY = (
    f"default-src 'none'; style-src 'sha256-"
    f"{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of the page: its own style sheet, and nothing else."""

OUTCOMES = {
    "erased": "The samples were erased",
    "no_data_found": "Nothing was found to erase",
}
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
    destroyed: list[tuple[str, str]]
    versions: list[dict[str, Any]]


@dataclass(frozen=True)
class CertificatePage:
    """All that the template gets."""

    request_id: str
    outcome: str
    statement: str
    facts: list[tuple[str, str]]
    commitment: str | None
    opens_with: str
    models: list[ModelPart]
    audit: list[tuple[str, str]]
    signature: list[tuple[str, str]]
    issued_by: str


def render(text: str, public_pem: str) -> str:
    """The page of a certificate as issued, as HTML.

    Raises `LetheError` where the signature does not hold: what was changed is not shown.
    """
    try:
        document = certificates.verify(text, public_pem)
    except Invalid as error:
        raise LetheError(
            f"this certificate cannot be shown, for it does not verify: {error}. Check the copy "
            "that was handed out with the public key that was handed out"
        ) from None
    template = _environment().get_template("certificate.html")
    return template.render(page=page_of(document, json.loads(text)["signature"]), style=_STYLE)


def page_of(document: dict[str, Any], signature: dict[str, Any]) -> CertificatePage:
    """A certificate's document in words, and its signature."""
    request = document["request"]
    facts = [
        ("Request", request["id"]),
        ("The caller's own number", request["external_id"]),
        ("Under", request["regulation"]),
        ("Received", _moment(request["received_at"])),
        ("Due", _moment(request["due_at"])),
        ("Completed", _moment(request["completed_at"])),
        ("Data set", document["dataset"]),
        ("Samples", f"{document['sample_count']:,}"),
    ]
    return CertificatePage(
        request_id=request["id"],
        outcome=OUTCOMES.get(document["outcome"], document["outcome"]),
        statement=document["statement"],
        facts=[(name, value) for name, value in facts if value is not None],
        commitment=document["subject"]["commitment"],
        opens_with=document["subject"]["opens_with"],
        models=[_model(name, job) for name, job in sorted(document["models"].items())],
        audit=[
            ("Events before this certificate", f"{document['audit']['seq']:,}"),
            ("Hash of the last one", document["audit"]["head"]),
        ],
        signature=[
            ("Algorithm", signature["algorithm"]),
            ("Key", signature["key_id"]),
            ("Signature", signature["value"]),
        ],
        issued_by=f"{document['issued_by']['software']} {document['issued_by']['version']}",
    )


def _model(name: str, job: dict[str, Any] | None) -> ModelPart:
    if job is None:
        note = "Nothing had to be done: the model was trained on none of the subject's samples."
        return ModelPart(name, [], None, None, note, [], [], False, [], [], [])
    found = job["verification"] or {}
    measures = found.get("measures") or {}
    verified = bool(found.get("gates"))
    facts = [
        ("Job", job["job"]),
        ("Requests that it carried out together", str(job["requests_together"])),
        ("Method", _method(job, found)),
        ("Exact copies erased with them", _count(found.get("copies"))),
        (
            "Of them with a label that their neighbours contradict",
            _count(found.get("contradicted")),
        ),
        ("Seed", str(job["seed"])),
        ("Canary group erased beside them", _canaries(job["canaries"])),
        ("Began", _moment(job["started_at"])),
        ("Published", _moment(job["published_at"]) if job["published_at"] else None),
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
        measures=_measures(measures) if verified else [],
        with_retrained=measures.get("retrained") is not None,
        limits=[
            (what.replace("_", " "), _number(value))
            for what, value in found.get("thresholds", {}).items()
        ],
        destroyed=_destroyed(destruction),
        versions=[
            {**each, "destroyed_at": _moment(each["destroyed_at"])}
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


def _gate(gate: dict[str, Any]) -> Gate:
    return Gate(
        name=gate["gate"],
        what=gate["what"],
        figure=_number(gate["statistic"]),
        interval=f"{_number(gate['low'])} to {_number(gate['high'])}",
        allowed=_allowed(gate["least"], gate["most"]),
        samples=gate["samples"],
        verdict=gate["verdict"],
        decisive=gate["decisive"],
    )


def _allowed(least: float, most: float) -> str:
    """Losses and rises are differences of shares: from -1 on, any gain is allowed."""
    if least <= -1.0:
        return f"at most {_number(most)}"
    return f"{_number(least)} to {_number(most)}"


def _measures(measures: dict[str, Any]) -> list[Measure]:
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
        ("Done", _moment(destruction["at"])),
    ]


def _number(value: float) -> str:
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.1e}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def _moment(text: str) -> str:
    """2026-05-01T12:00:00.123456Z as 2026-05-01 12:00:00 UTC."""
    return f"{text[:10]} {text[11:19]} UTC"


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
