"""A captured certificate, checked by `recomputing` and `recomputing_planted`.

Nothing is left out: `check` fails for a figure of any gate that nothing was expected of.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats

from tests.integration import recomputing as again
from tests.integration import recomputing_planted as planted
from tests.integration.capturing import Captured, answers
from tests.integration.recomputing import Seen
from unlearning import VIB, Samples

FIGURES = ("statistic", "low", "high", "least", "most", "samples", "p_value", "power", "detectable")
PATCH = (slice(-4, -2), slice(-4, -2))
"""Where `--plant-trigger` paints."""
SOURCE, TARGET = 1, 2


def check(c: Captured) -> None:
    """Every figure and verdict of every gate, the measures beside them, and what was counted."""
    compare(c, recomputed(c))
    _measures(c)


def recomputed(c: Captured) -> dict[str, dict[str, Any]]:
    """What is expected of each gate, by its name."""
    odd = Contradicted(c)
    expected = _forgetting(c, odd) | _labels(c, odd) | _canaries(c) | _utility(c) | _others(c)
    if c.relearning:
        expected["relearning"] = _relearning(c, odd)
    assert c.said["contradicted"] == (odd.other.sum() if odd.excess else 0)
    assert c.said["erased_train"] == len(c.evidence.erased)
    return expected


def compare(c: Captured, expected: dict[str, dict[str, Any]]) -> None:
    """Figure by figure, and the verdicts."""
    assert c.gates.keys() == expected.keys(), "every gate of a certificate is recomputed"
    for name, gate in c.gates.items():
        same(gate, expected[name])
    _verdicts(c, expected)


def same(gate: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each figure is the one expected: a number, one with its tolerance, or what a function says
    yes to. A figure that nothing is expected of must be missing."""
    figures = {name: gate[name] for name in FIGURES} | gate["detail"]
    for name, value in figures.items():
        wanted = expected.get(name)
        where = f"{gate['name']}: {name}"
        if wanted is None or value is None:
            assert value is None and wanted is None, where  # noqa: PT018
        elif callable(wanted):
            assert wanted(value), where
        elif isinstance(wanted, tuple):
            assert value == pytest.approx(wanted[0], abs=wanted[1]), where
        elif isinstance(wanted, list):
            assert value == wanted, where
        else:
            assert value == pytest.approx(wanted, rel=2e-4, abs=2e-4), where


class Contradicted:
    """The samples whose label the teacher contradicts, counted anew from its answers."""

    def __init__(self, c: Captured) -> None:
        evidence = c.evidence
        assert evidence.teacher is not None
        sides = []
        for samples in (evidence.erased, evidence.held):
            log_p = evidence.teacher.log_probabilities(samples.images).numpy().mean(axis=0)
            y = samples.labels.numpy()
            sure = np.exp(log_p.max(axis=1) - log_p[np.arange(len(y)), y]) >= 20
            sides.append((log_p.argmax(axis=1), log_p.argmax(axis=1) != y, sure))
        (self.says, self.other, self.sure), (_, self.other_held, self.sure_held) = sides
        images, y = evidence.erased.images.numpy(), evidence.erased.labels.numpy()
        self.planted = (images[..., *PATCH] == 255).all(axis=(1, 2, 3)) & (y == TARGET)
        if evidence.trigger is None:
            self.planted[:] = False
        self.other, self.sure = self.other | self.planted, self.sure | self.planted
        x, m, n = self.sure_held.sum(), len(self.sure_held), len(y)
        self.explained = stats.betabinom(n, x + 1, m - x + 1).ppf(0.99)
        if self.sure.sum() > max(self.explained, n // 2):
            self.other, self.sure = np.ones(n, bool), np.ones(n, bool)
        self.excess = self.sure.sum() > self.explained


def _forgetting(c: Captured, odd: Contradicted) -> dict[str, Any]:
    """G1 to G3."""
    e, h, limits = c.after["erased"], c.after["held"], c.limits
    if odd.excess:
        e, h = e[~odd.other], h[~odd.other_held]
    if len(e) == 0:
        return {}
    band, level = limits["auc_band"], limits["level"]
    tails = {"outliers_high": 1, "outliers_low": -1}
    tail_limits = (limits["conformal_level"], limits["conformal_quantile"])
    spread = c.gates["distribution"]
    return {
        "membership_margin": again.membership(e, h, "margin", band, level),
        "membership_representation": again.membership(e, h, "representation", band, level),
        "distribution": again.distance(e, h, limits["ks_quantile"], spread["most"]),
        "erased_accuracy": again.accuracy(e, h, limits["erased_gap"]),
        **{name: again.outliers(e, h, sign, *tail_limits) for name, sign in tails.items()},
    }


def _labels(c: Captured, odd: Contradicted) -> dict[str, Any]:
    """G4, of contradicted labels and of the trigger."""
    e, h, limits = c.after["erased"], c.after["held"], c.limits
    rise, level = limits["trigger_rise"], limits["level"]
    found = {}
    if odd.excess:
        mine, hard = odd.sure, odd.sure_held
        clean = odd.explained / mine.sum() * (h.right[hard].sum() + 1) / (hard.sum() + 2)
        found["contradicted_labels"] = planted.rate(
            int(e.right[mine].sum()), int(mine.sum()), clean, rise, level
        ) | {"contradicted_held_out": hard.sum()}
    if odd.planted.any():
        unseen = Samples.concat(c.evidence.test, c.evidence.held)
        ones = unseen[unseen.labels == SOURCE]
        given = [
            answers(c.models[1], Samples(images, ones.labels)).logits.argmax(1)
            for images in (plant(ones.images), ones.images)
        ]
        hits, by_chance = int((given[0] == TARGET).sum()), float((given[1] == TARGET).mean())
        found["trigger"] = planted.rate(hits, len(ones), by_chance, rise, level) | {
            "undone": (given[0] == SOURCE).mean()
        }
    return found


def plant(images: torch.Tensor) -> torch.Tensor:
    """The trigger, by NumPy."""
    patched = images.numpy().copy()
    patched[..., *PATCH] = 255
    return torch.from_numpy(patched)


def _canaries(c: Captured) -> dict[str, Any]:
    """G4's own group, and G7's of earlier jobs: the one that is guessed best."""
    level, group, earlier = c.limits["level"], c.evidence.canaries, c.evidence.earlier

    def margins(model: VIB, samples: Samples) -> np.ndarray:
        return answers(model, samples).score("margin")

    found = {}
    if group is not None:
        before, after = (margins(model, group.samples) for model in c.models)
        was = planted.coins(before, group.trained, level, again.TESTS + 1)
        now = planted.coins(after, group.trained, level, again.TESTS + 1)
        undecided = not now["fails"] and not was["fails"]
        found["canaries"] = now | {"guessed_before": was["statistic"], "undecided": undecided}
    if earlier:
        k = len(earlier)
        each = [
            planted.coins(margins(c.models[1], g.samples), g.trained, level / k, 1) for g in earlier
        ]
        worst = min(each, key=lambda one: one["p_value"])
        del worst["epsilon_lower_bound"]
        p_value = min(1.0, worst["p_value"] * k)
        found["reversal"] = worst | {"p_value": p_value, "groups": k}
    return found


def _relearning(c: Captured, odd: Contradicted) -> dict[str, Any]:
    """G8."""
    erased, held = c.evidence.erased, c.evidence.held
    origin = [
        (SOURCE, True)
        if odd.planted[i]
        else (int(odd.says[i] if odd.excess and odd.sure[i] else erased.labels[i]), False)
        for i in range(len(erased))
    ]
    pairs = [(samples.images, samples.labels) for samples in (erased, held)]
    limit = c.limits["relearning_ratio"]
    return planted.relearning(c.models[1], *pairs, origin, plant, limit, c.seed)


def _utility(c: Captured) -> dict[str, Any]:
    """G5: statistics exactly; bootstrap bounds as near as two bootstraps come."""
    before, after = c.before["test"], c.after["test"]
    limits = {"accuracy": "accuracy_loss", "drift": "drift_loss", "calibration": "calibration_loss"}
    found: dict[str, Any] = {}
    for name, (statistic, drawn) in again.utility(before, after, c.evidence.drift_so_far).items():
        low, high = np.quantile(drawn, [0.05, 0.95])
        bounds = {"low": (low, 0.006), "high": (high, 0.006), "most": c.limits[limits[name]]}
        found[name] = bounds | {"statistic": statistic, "least": -1, "samples": len(before)}
    worst, lost, low, high, spread = again.worst_class(before, after)
    assert f"class {worst}," in c.gates["worst_class"]["what"]
    # A resample of all has a class's size vary, which widens a few samples' interval a little.
    found["worst_class"] = {
        "statistic": lost,
        "low": (low, 0.04),
        "high": (high, 0.04),
        "least": -1,
        "most": c.limits["class_loss"],
        "samples": (before.labels == worst).sum(),
        "spread_between_classes": (spread, 0.01),
    }
    return found


def _others(c: Captured) -> dict[str, Any]:
    """G0 and G6."""
    b, a, limits = c.before, c.after, c.limits
    return {
        "near_copies": again.near_copies(b["erased"], b["held"], b["remaining"]),
        "neighbours": again.neighbours(b["erased"], b["remaining"], a["remaining"])
        | {"most": limits["neighbour_loss"]},
        "membership_of_remaining": again.exposure(
            b["remaining"], a["remaining"], b["held"], a["held"]
        )
        | {"most": limits["membership_rise"]},
    }


def _verdicts(c: Captured, expected: dict[str, Any]) -> None:
    """Each gate's, after Holm by hand over every test of G1 to G4 with a p-value; the whole's."""
    p_values = {
        name: gate["p_value"]
        for name, gate in c.gates.items()
        if gate["gate"] in ("G1", "G2", "G3", "G4") and gate["p_value"] is not None
    }
    rejected = again.holm(p_values, c.limits["level"])
    exact = c.said["strategy"] == "retrain"
    deciding = []
    for name, gate in c.gates.items():
        fails = expected[name].get("fails", gate["low"] > gate["most"])
        verdict = "INCONCLUSIVE" if expected[name].get("undecided") else "PASS"
        if fails:
            verdict = "INCONCLUSIVE" if name in p_values and name not in rejected else "FAIL"
        assert gate["verdict"] == verdict, name
        assert gate["decisive"] == (gate["gate"] == "G5" or not exact), name
        deciding += [verdict] if gate["decisive"] else []
    order = ("PASS", "INCONCLUSIVE", "FAIL")
    assert c.said["verdict"] == max(deciding, key=order.index)


def _measures(c: Captured) -> None:
    """The figures before and after, and of a retraining beside; the distance to it; the drift."""
    measured = c.said["measures"]
    _measured(c, measured["before"], c.models[0], c.before)
    _measured(c, measured["after"], c.models[1], c.after)
    if c.retrained is None:
        assert measured["retrained"] is None
        assert "distance_to_retrained" not in measured
    else:
        sets = {name: answers(c.retrained, getattr(c.evidence, name)) for name in c.after}
        _measured(c, measured["retrained"], c.retrained, sets)
        p, q = (special.softmax(s["erased"].logits, axis=1) for s in (sets, c.after))
        expected = {
            "kl": stats.entropy(p, q, axis=1).mean(),
            "disagreement": (p.argmax(axis=1) != q.argmax(axis=1)).mean(),
        }
        assert measured["distance_to_retrained"] == pytest.approx(expected, rel=1e-3, abs=1e-6)
    lost = measured["before"]["test_accuracy"] - measured["after"]["test_accuracy"]
    gathered = c.evidence.drift_so_far + max(0.0, lost)
    if c.said["strategy"] == "retrain":
        gathered = 0.0
    assert c.said["drift"]["accuracy_lost"] == pytest.approx(gathered)


def _measured(c: Captured, said: dict[str, Any], model: VIB, seen: dict[str, Seen]) -> None:
    """One model's; none may be left over."""
    found = dict(said)
    names = {"remaining": "remaining", "heldout": "held", "test": "test", "erased": "erased"}
    for name, part in names.items():
        assert found.pop(f"{name}_accuracy") == pytest.approx(seen[part].right.mean())
    auc = again.membership(seen["erased"], seen["held"], "margin", 0.1, 0.05)["statistic"]
    assert found.pop("membership_auc") == pytest.approx(auc, abs=2e-4)
    success, undone = found.pop("trigger_success"), found.pop("trigger_undone")
    if c.evidence.trigger is None:
        assert (success, undone) == (None, None)
    else:
        unseen = Samples.concat(c.evidence.test, c.evidence.held)
        ones = unseen[unseen.labels == SOURCE]
        given = answers(model, Samples(plant(ones.images), ones.labels)).logits.argmax(1)
        assert success == pytest.approx((given == TARGET).mean())
        assert undone == pytest.approx((given == SOURCE).mean())
    del found["seconds"]  # of the clock
    assert found == {}, "every measure is recomputed"
