"""Every figure of a certificate's gates, from arrays captured at the gate, by other code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from core import registry, requests
from core.certificates import verify as verify_certificate
from core.intake import NewRequest, submit
from tests.integration import recomputing as again
from tests.integration.conftest import look
from tests.integration.recomputing import Seen
from unlearning import VIB, Samples
from unlearning.verification.protocol import Evidence, Report
from worker import tasks
from worker import verify as step
from worker.engine import Engine

SETS = ("erased", "held", "remaining", "test")
PLANTED = (slice(-4, -2), slice(-4, -2))


@dataclass
class Captured:
    """What one run of the protocol was given, and its gates as the certificate has them."""

    before: dict[str, Seen]
    after: dict[str, Seen]
    evidence: Evidence
    model: VIB
    limits: dict[str, float]
    gates: dict[str, dict[str, Any]]

    def gate(self, name: str) -> dict[str, Any]:
        return self.gates.pop(name)


def _answers(model: VIB, samples: Samples) -> Seen:
    with torch.no_grad():
        out = model.eval()(model.prepare(samples.images))
    arrays = (out.logits_BC, out.mu_BK, out.log_var_BK)
    return Seen(*(a.double().numpy() for a in arrays), samples.labels.numpy())


def _captured(engine: Engine, monkeypatch: pytest.MonkeyPatch, **wanted: Any) -> Captured:
    """Run a job; listen at the protocol's door; read the certificate that came of it."""
    heard: list[tuple[VIB, VIB, Evidence]] = []
    protocol = step.run_protocol

    def listening(before: VIB, after: VIB, evidence: Evidence, *args: Any, **kw: Any) -> Report:
        heard.append((before, after, evidence))
        return protocol(before, after, evidence, *args, **kw)

    monkeypatch.setattr(step, "run_protocol", listening)
    submitted = submit(engine.backend, NewRequest(model="digits", **wanted), key_id=None)
    assert tasks.work(engine, "by hand") == submitted.job_ids[0]
    job, request = look(engine, submitted.job_ids[0], submitted.request.id)
    assert request.state == "completed", job.error
    before, after, evidence = heard[-1]
    with engine.backend.db.reading() as session:
        text = requests.certificate_of(session, request.id)
    document = verify_certificate(text, engine.backend.signer.public_pem)
    verification = document["models"]["digits"]["verification"]
    gates = {gate["name"]: gate for gate in verification["gates"]}
    answers = [
        {name: _answers(model, getattr(evidence, name)) for name in SETS}
        for model in (before, after)
    ]
    return Captured(*answers, evidence, after, verification["thresholds"], gates)


@pytest.fixture
def ordinary(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Captured:
    with engine.backend.db.reading() as session:
        dataset = registry.model_named(session, "digits").dataset_id
    batch = engine.backend.samples.load(dataset, "train")
    planted = (batch.images[..., *PLANTED] == 255).all(axis=(1, 2, 3))
    clean = [i for i, bad in zip(batch.sample_ids, planted, strict=True) if not bad]
    with engine.backend.db.transaction() as tx:  # so small a test split swings by a point
        model = registry.model_named(tx.session, "digits")
        lenient = {"accuracy_loss": 0.05, "drift_loss": 0.06}
        model.policy = model.policy | {"thresholds": lenient}
    return _captured(engine, monkeypatch, sample_ids=tuple(clean[200:290]))


@pytest.fixture
def triggered(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Captured:
    return _captured(engine, monkeypatch, subject_id="subject-trigger")


def _same(gate: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in ("statistic", "low", "high", "least", "most", "samples", "p_value", "power"):
        if name in expected:
            assert gate[name] == pytest.approx(expected[name], rel=2e-4, abs=2e-4), name
    if "detectable" in expected:
        assert gate["detectable"] == pytest.approx(expected["detectable"], abs=1e-4)
    if "found_with" in expected and gate["detectable"] is not None:
        assert expected["found_with"](gate["detectable"]) == pytest.approx(0.8, abs=1e-3)


def _corrected(gates: list[dict[str, Any]], expected: list[dict[str, Any]], level: float) -> None:
    """Verdicts, after Holm by hand over every test of G1 to G4 that has a p-value."""
    p_values = {g["name"]: g["p_value"] for g in gates if g["p_value"] is not None}
    rejected = again.holm(p_values, level)
    for gate, found in zip(gates, expected, strict=True):
        verdict = "INCONCLUSIVE" if found.get("undecided") else "PASS"
        if found["fails"]:
            proven = gate["p_value"] is None or gate["name"] in rejected
            verdict = "FAIL" if proven else "INCONCLUSIVE"
        assert gate["verdict"] == verdict, gate["name"]


def _utility(captured: Captured) -> None:
    """G5: statistics exactly; bootstrap bounds as near as two bootstraps come."""
    before, after = captured.before["test"], captured.after["test"]
    drift = captured.evidence.drift_so_far
    limits = {"accuracy": "accuracy_loss", "drift": "drift_loss", "calibration": "calibration_loss"}
    for name, (statistic, drawn) in again.utility(before, after, drift).items():
        gate = captured.gate(name)
        assert gate["statistic"] == pytest.approx(statistic, abs=1e-5)
        low, high = np.quantile(drawn, [0.05, 0.95])
        assert gate["low"] == pytest.approx(low, abs=0.006)
        assert gate["high"] == pytest.approx(high, abs=0.006)
        assert gate["most"] == captured.limits[limits[name]]
        assert gate["verdict"] == ("FAIL" if gate["low"] > gate["most"] else "PASS")
        assert gate["samples"] == len(before)
    worst, lost, low, high = again.worst_class(before, after)
    gate = captured.gate("worst_class")
    assert f"class {worst}," in gate["what"]
    assert gate["statistic"] == pytest.approx(lost, abs=1e-5)
    assert gate["samples"] == (before.labels == worst).sum()
    # A resample of all has a class's size vary, which widens a few samples' interval a little.
    assert gate["low"] == pytest.approx(low, abs=0.04)
    assert gate["high"] == pytest.approx(high, abs=0.04)
    assert gate["verdict"] == ("FAIL" if gate["low"] > captured.limits["class_loss"] else "PASS")


def _the_rest(captured: Captured) -> None:
    """G0, G5 and G6; then no gate may be left."""
    b, a, limits = captured.before, captured.after, captured.limits
    for name, expected, limit in (
        (
            "neighbours",
            again.neighbours(b["erased"], b["remaining"], a["remaining"]),
            "neighbour_loss",
        ),
        (
            "membership_of_remaining",
            again.exposure(b["remaining"], a["remaining"], b["held"], a["held"]),
            "membership_rise",
        ),
    ):
        gate = captured.gate(name)
        _same(gate, expected)
        assert gate["most"] == limits[limit]
        assert gate["verdict"] == ("FAIL" if gate["low"] > limits[limit] else "PASS")
    copies = captured.gate("near_copies")
    _same(copies, again.near_copies(b["erased"], b["held"], b["remaining"]))
    _utility(captured)
    assert captured.gates == {}, "every gate of a certificate is recomputed"


def test_the_gates_of_an_ordinary_request(ordinary: Captured) -> None:
    e, h, limits = ordinary.after["erased"], ordinary.after["held"], ordinary.limits
    band, level = limits["auc_band"], limits["level"]
    names = ("membership_margin", "membership_representation", "distribution", "erased_accuracy")
    gates = [ordinary.gate(name) for name in (*names, "outliers_high", "outliers_low")]
    margin, representation, spread, right, high, low = gates
    ks = again.distance(e, h, limits["ks_quantile"])
    expected = [
        again.membership(e, h, "margin", band, level),
        again.membership(e, h, "representation", band, level),
        ks | {"fails": ks["statistic"] > spread["most"]},
        again.accuracy(e, h, limits["erased_gap"]),
        *(
            again.outliers(e, h, sign, limits["conformal_level"], limits["conformal_quantile"])
            for sign in (1, -1)
        ),
    ]
    for gate, found in zip(gates, expected, strict=True):
        _same(gate, found)
    assert spread["most"] == pytest.approx(ks["quantile"], rel=0.12)
    assert spread["p_value"] == pytest.approx((ks["drawn"] >= ks["statistic"]).mean(), abs=0.1)
    assert spread["detectable"] == pytest.approx(spread["most"] + 0.5 * again.Z80)
    _corrected(gates, expected, level)
    assert {g["verdict"] for g in (margin, representation)} <= {"PASS", "INCONCLUSIVE"}
    assert right["detectable"] < 0 < high["detectable"]
    assert low["samples"] == 90
    _the_rest(ordinary)


def test_the_gates_of_a_triggered_request(triggered: Captured) -> None:
    e, h, limits = triggered.after["erased"], triggered.after["held"], triggered.limits
    rise, level = limits["trigger_rise"], limits["level"]
    teacher, evidence = triggered.evidence.teacher, triggered.evidence
    assert teacher is not None
    n = len(e)

    log_p = teacher.log_probabilities(evidence.held.images).numpy().mean(axis=0)
    given = log_p[np.arange(len(h)), h.labels]
    hard = np.exp(log_p.max(axis=1) - given) >= 20
    x, m = hard.sum(), len(hard)
    natural = stats.betabinom(n, x + 1, m - x + 1).ppf(0.99)
    clean = natural / n * (h.right[hard].sum() + 1) / (x + 2)
    labels = triggered.gate("contradicted_labels")
    contradicted = again.rate(int(e.right.sum()), n, clean, rise, level)

    unseen = Samples.concat(evidence.test, evidence.held)
    ones = unseen[unseen.labels == 1]
    planted = ones.images.numpy().copy()
    planted[..., *PLANTED] = 255
    answers = [
        _answers(triggered.model, Samples(torch.from_numpy(images), ones.labels)).logits.argmax(1)
        for images in (planted, ones.images.numpy())
    ]
    hits, by_chance = int((answers[0] == 2).sum()), float((answers[1] == 2).mean())
    patch = triggered.gate("trigger")
    works = again.rate(hits, len(ones), by_chance, rise, level)

    for gate, expected in ((labels, contradicted), (patch, works)):
        _same(gate, expected)
        assert (gate["detectable"] is not None) == expected["can_be_found"]
    assert patch["detail"]["undone"] == pytest.approx((answers[0] == 1).mean())
    assert patch["detail"]["clean_rate"] == pytest.approx(by_chance)
    assert labels["samples"] == n, "most are contradicted, so all of them are"
    _corrected([labels, patch], [contradicted, works], level)
    _the_rest(triggered)


def test_a_figure_that_was_altered_is_noticed(ordinary: Captured) -> None:
    """The comparison itself must be able to fail."""
    e, h, limits = ordinary.after["erased"], ordinary.after["held"], ordinary.limits
    expected = again.membership(e, h, "margin", limits["auc_band"], limits["level"])
    _same(ordinary.gates["membership_margin"], expected)
    for name in ("statistic", "low", "p_value", "detectable"):
        gate = json.loads(json.dumps(ordinary.gates["membership_margin"]))
        gate[name] += 0.002
        with pytest.raises(AssertionError):
            _same(gate, expected)
