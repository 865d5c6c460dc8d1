"""Every figure of a certificate's gates, from arrays captured at the gate, by other code.

Canaries and G7: tests/integration/worker/test_canaries.py, where there are some.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from core import policy, registry
from tests.integration.capturing import Captured, captured
from tests.integration.checking import FIGURES, PATCH, check, compare, recomputed
from worker.engine import Engine

LENIENT = {"accuracy_loss": 0.05, "drift_loss": 0.06, "class_loss": 0.2, "calibration_loss": 0.1}
"""So small a test split swings by a point."""


def _policy(engine: Engine, **change: Any) -> None:
    with engine.backend.db.transaction() as tx:
        policy.change(tx, registry.model_named(tx.session, "digits"), change)


@pytest.fixture
def ordinary(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Captured:
    with engine.backend.db.reading() as session:
        dataset = registry.model_named(session, "digits").dataset_id
    batch = engine.backend.samples.load(dataset, "train")
    planted = (batch.images[..., *PATCH] == 255).all(axis=(1, 2, 3))
    clean = [i for i, bad in zip(batch.sample_ids, planted, strict=True) if not bad]
    _policy(engine, thresholds=LENIENT, relearning=True)
    return captured(engine, monkeypatch, sample_ids=tuple(clean[200:240]))


def test_an_ordinary_request(ordinary: Captured) -> None:
    check(ordinary)
    assert ordinary.said["strategy"] == "rfu_ss", "every gate decides"
    gates = ordinary.gates
    assert {gate["gate"] for gate in gates.values()} == {"G0", "G1", "G2", "G3", "G5", "G6", "G8"}
    assert gates["outliers_low"]["samples"] == 40
    assert gates["relearning"]["verdict"] == "INCONCLUSIVE", "there is nothing to learn again"


def test_a_triggered_request(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    _policy(engine, relearning=True)
    with engine.backend.db.transaction() as tx:
        registry.model_named(tx.session, "digits").audit_next = True
    found = captured(engine, monkeypatch, subject_id="subject-trigger")
    check(found)
    assert found.retrained is not None
    gates = found.gates
    assert {gate["gate"] for gate in gates.values()} == {"G0", "G4", "G5", "G6", "G8"}
    assert gates["contradicted_labels"]["samples"] == len(found.evidence.erased)
    assert gates["relearning"]["verdict"] == "PASS"
    assert gates["relearning"]["power"] > 0.5


def test_a_figure_that_was_altered_is_noticed(ordinary: Captured) -> None:
    """The comparison itself must be able to fail: of every gate, at every figure."""
    said, expected = ordinary.said, recomputed(ordinary)
    compare(ordinary, expected)
    for i, gate in enumerate(said["gates"]):
        figures = [name for name in FIGURES if gate[name] is not None]
        for name in figures:
            ordinary.said = copy.deepcopy(said)
            ordinary.said["gates"][i][name] += 0.5
            with pytest.raises(AssertionError):
                compare(ordinary, expected)
        ordinary.said = copy.deepcopy(said)
        ordinary.said["gates"][i]["verdict"] = "FAIL"
        with pytest.raises(AssertionError, match=gate["name"]):
            compare(ordinary, expected)
