"""G8: what was never seen is learned as fast as fresh samples are, what is remembered faster."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.unlearning.conftest import tiny_architecture, tiny_samples
from unlearning import VIB, Samples, Trigger
from unlearning.verification import relearning_gate as g8
from unlearning.verification.contradictions import Contradictions
from unlearning.verification.relearning import parts
from unlearning.verification.relearning_gate import FASTEST, LEAST, compare
from unlearning.verification.relearning_match import STEPS, Relearned, match, relearn
from unlearning.verification.thresholds import Thresholds

LIMITS = Thresholds()
N, HELD = 90, 40


def seen(rng: np.random.Generator, start: float, end: float, rest: float, n: int = N) -> Relearned:
    """Three groups of two classes; losses spread by a fifth around their means."""

    def losses(mean: float, size: int) -> np.ndarray:
        return mean * rng.gamma(25.0, 1 / 25.0, size)

    return Relearned(
        losses(start, n),
        losses(rest, n),
        np.arange(n) % 3,
        np.array([0, 0, 1]),
        [losses(start, HELD) for _ in range(3)],
        [losses(end, HELD) for _ in range(3)],
    )


@pytest.mark.parametrize(
    ("start", "end", "rest", "verdict", "statistic"),
    [
        (9.0, 5.0, 5.0, "PASS", 1.0),
        (9.0, 5.0, 8.0, "PASS", 0.25),  # slower than fresh ones: no sign of memory
        (9.0, 5.0, 3.0, "FAIL", 1.5),
        (9.0, 5.0, 4.1, "INCONCLUSIVE", 1.17),
        (9.0, 9.5, 2.0, "FAIL", FASTEST),  # fresh ones learn nothing, these come back
        (9.0, 9.5, 9.5, "INCONCLUSIVE", 0.0),
    ],
)
def test_the_verdict(start: float, end: float, rest: float, verdict: str, statistic: float) -> None:
    gate = compare(seen(np.random.default_rng(1), start, end, rest), LIMITS)
    assert gate.verdict == verdict, gate
    assert gate.low <= gate.statistic <= gate.high
    assert gate.statistic == pytest.approx(statistic, abs=0.12)
    assert (gate.least, gate.most, gate.samples) == (0.0, 1.2, N)
    assert gate.p_value is not None
    assert (gate.p_value <= 0.05) == (verdict == "FAIL")


def test_what_is_half_remembered_at_the_start_is_not_called_slow() -> None:
    """It cannot drop far, but it gets to where fresh samples do not."""
    found = replace(seen(np.random.default_rng(2), 9.0, 8.0, 0.5), before_n=np.full(N, 0.6))
    assert compare(found, LIMITS).verdict == "FAIL"


def test_the_interval_covers_and_unseen_samples_seldom_fail() -> None:
    """Of 200 exchangeable draws: at most 5 % fail, the interval holds 1 in about 90 %, and as
    many pass as the power says."""
    gates = [compare(seen(np.random.default_rng(i), 9.0, 5.5, 5.5, 45), LIMITS) for i in range(200)]
    assert np.mean([gate.verdict == "FAIL" for gate in gates]) <= 0.02
    assert np.mean([gate.low <= 1.0 <= gate.high for gate in gates]) == pytest.approx(0.9, abs=0.05)
    passed = np.mean([gate.verdict == "PASS" for gate in gates])
    assert np.mean([gate.power for gate in gates]) == pytest.approx(passed, abs=0.06)


def test_the_detectable_ratio_fails_four_times_of_five() -> None:
    ratio = compare(seen(np.random.default_rng(0), 9.0, 5.5, 5.5, 45), LIMITS).detectable
    assert ratio is not None
    rest = 9.0 - ratio * 3.5
    # The spread of unseen samples, as the function promises it for.
    spread = [
        replace(made := seen(np.random.default_rng(i), 9.0, 5.5, 5.5, 45),
                after_n=made.after_n - 5.5 + rest)
        for i in range(100)
    ]  # fmt: skip
    failed = np.mean([compare(each, LIMITS).verdict == "FAIL" for each in spread])
    assert failed == pytest.approx(0.8, abs=0.08)


def test_groups_are_weighted_as_in_the_erased() -> None:
    ones = np.ones(HELD)
    found = Relearned(
        np.full(40, 8.0),
        np.full(40, 4.0),
        np.r_[np.zeros(30, int), np.ones(10, int)],
        np.array([0, 1]),
        [8.0 * ones, 4.0 * ones],
        [4.0 * ones, 2.0 * ones],
    )
    gate = compare(found, LIMITS)
    assert gate.detail["fresh_before"] == 7.0
    assert gate.statistic == pytest.approx((7.0 - 4.0) / (7.0 - 3.5))


def test_losses_without_spread_leave_no_doubt() -> None:
    ones = np.ones(HELD)
    found = Relearned(
        np.full(30, 8.0), np.full(30, 4.0), np.zeros(30, int), np.array([0]), [8 * ones], [4 * ones]
    )
    gate = compare(found, LIMITS)
    assert (gate.verdict, gate.power, gate.detectable) == ("PASS", 1.0, pytest.approx(1.2))


def model() -> VIB:
    torch.manual_seed(0)
    return VIB(tiny_architecture())


def contradicted(erased: Samples, says: int, sure: bool = True) -> Contradictions:
    """Whose every erased sample is another class's to the teacher."""
    n = len(erased)
    none = np.zeros(3, dtype=bool)
    return Contradictions(
        *(np.full(n, sure), none, np.full(n, sure), none),
        np.full(n, says), np.zeros(3, dtype=np.int64), 0,
    )  # fmt: skip


def test_fresh_samples_are_made_alike() -> None:
    """Of the class that the teacher sees, asked for the label that was erased."""
    vib, erased, held = model(), tiny_samples(60), tiny_samples(30, seed=1)
    erased = Samples(erased.images, torch.full((60,), 2))
    fresh = match(vib, erased, held, contradicted(erased, says=1))
    assert (fresh.class_G.tolist(), fresh.label_G.tolist()) == ([1], [2])
    found = relearn(vib, erased, held, fresh, seed=4)
    ones = held.images[held.labels == 1]
    expected = -vib.logits(ones).log_softmax(dim=1)[:, 2]
    np.testing.assert_allclose(found.fresh_before[0], expected.numpy(), rtol=1e-6)
    _, rest = parts(60, seed=4)
    own = -vib.logits(erased.images[rest]).log_softmax(dim=1)[:, 2]
    np.testing.assert_allclose(found.before_n, own.numpy(), rtol=1e-6)
    plain = match(vib, erased, held, None)
    assert plain.class_G.tolist() == [2], "nothing contradicts it: its label is its class"
    unsure = match(vib, erased, held, contradicted(erased, says=1, sure=False))
    assert unsure.class_G.tolist() == [2]


def test_fresh_samples_bear_the_trigger_where_the_erased_did() -> None:
    trigger = Trigger(source=1, target=2)
    vib, erased, held = model(), tiny_samples(60), tiny_samples(30, seed=1)
    images, labels = erased.images.clone(), erased.labels.clone()
    ones = labels == 1
    images[ones], labels[ones] = trigger.apply(images[ones]), 2
    fresh = match(vib, Samples(images, labels), held, None, trigger)
    assert fresh.class_G.tolist() == [0, 1, 2]
    assert fresh.label_G.tolist() == [0, 2, 2]
    assert fresh.planted_G.tolist() == [False, True, False]
    found = relearn(vib, Samples(images, labels), held, fresh, trigger, seed=4)
    planted = trigger.apply(held.images[held.labels == 1])
    expected = -vib.logits(planted).log_softmax(dim=1)[:, 2]
    np.testing.assert_allclose(found.fresh_before[1], expected.numpy(), rtol=1e-6)


def test_a_class_without_held_out_samples_is_left_out() -> None:
    vib, erased, held = model(), tiny_samples(60), tiny_samples(30, seed=1)
    found = match(vib, erased, held[held.labels != 0], None)
    assert found.class_G.tolist() == [1, 2]
    assert found.asked_n.tolist() == torch.nonzero(erased.labels != 0).flatten().tolist()
    assert found.group_n.tolist() == (erased.labels[erased.labels != 0] - 1).tolist()
    unmatched = Samples(erased.images, torch.zeros(60, dtype=torch.int64))
    gate = g8.relearning_gate(vib, unmatched, held[held.labels != 0], None, LIMITS)
    assert (gate.verdict, gate.samples) == ("INCONCLUSIVE", 0)


def test_the_lesson_is_adams_and_the_candidate_stays() -> None:
    """The same losses by torch's own optimiser."""
    vib, erased, held = model(), tiny_samples(60), tiny_samples(30, seed=1)
    before = {name: value.clone() for name, value in vib.state_dict().items()}
    found = relearn(vib, erased, held, match(vib, erased, held, None), seed=4)
    for name, value in vib.state_dict().items():
        assert torch.equal(value, before[name])
    taught, rest = parts(60, seed=4)
    pupil = VIB(tiny_architecture()).eval()  # at z = mu
    pupil.load_state_dict(before)
    optimiser = torch.optim.Adam(pupil.parameters(), lr=1e-3)
    for _ in range(STEPS):
        optimiser.zero_grad()
        logits = pupil(pupil.prepare(erased.images[taught])).logits_BC
        torch.nn.functional.cross_entropy(logits, erased.labels[taught]).backward()
        optimiser.step()
    expected = torch.nn.functional.cross_entropy(
        pupil.logits(erased.images[rest]), erased.labels[rest], reduction="none"
    )
    np.testing.assert_allclose(found.after_n, expected.numpy(), rtol=1e-4)


@pytest.mark.parametrize(("n", "asked"), [(1, 1), (LEAST, LEAST), (LEAST + 1, LEAST - 1)])
def test_few_samples_decide_nothing(n: int, asked: int) -> None:
    """Twenty and one: two of them are taught, and nineteen are left to ask for."""
    gate = g8.relearning_gate(model(), tiny_samples(n), tiny_samples(30, seed=1), None, LIMITS)
    assert gate.verdict == "INCONCLUSIVE"
    assert (gate.power, gate.detectable, gate.p_value) == (0.0, None, None)
    assert gate.samples == asked


def test_what_anybody_is_given_is_not_relearned() -> None:
    """A model that is right on fresh samples of class 0 has nothing to learn of that class."""
    vib, erased, held = model(), tiny_samples(60), tiny_samples(30, seed=1)
    optimiser = torch.optim.Adam(vib.parameters(), lr=1e-2)
    zeros = held[held.labels == 0]
    for _ in range(60):
        optimiser.zero_grad()
        logits = vib.eval()(vib.prepare(zeros.images)).logits_BC
        torch.nn.functional.cross_entropy(logits, zeros.labels).backward()
        optimiser.step()
    fresh = match(vib, erased, held, None)
    assert fresh.class_G.tolist() == [1, 2]
    assert (erased.labels[torch.from_numpy(fresh.asked_n)] != 0).all()
