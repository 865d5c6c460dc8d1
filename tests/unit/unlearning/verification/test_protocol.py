"""The whole protocol on real digits: what was retrained does not fail, what remembers does."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from unlearning import (
    PRESETS,
    VIB,
    Samples,
    Teacher,
    Trigger,
    copy_model,
    digits,
    train,
    train_teacher,
)
from unlearning.verification import protocol
from unlearning.verification.contradictions import find_contradictions
from unlearning.verification.protocol import (
    Canaries,
    Evidence,
    Report,
    carries,
    check_utility,
    score_sets,
    verify,
)
from unlearning.verification.scores import score

TRIGGER = Trigger(source=1, target=2)


@dataclass
class Scene:
    before: VIB
    retrained: VIB
    evidence: Evidence


def _names(report: Report, verdict: str = "FAIL") -> set[str]:
    return {gate.name for gate in report.gates if gate.verdict == verdict}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def splits() -> tuple[Samples, Samples, Samples, Samples]:
    everything = digits().samples("train")
    order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(3))
    parts = torch.split(order, [270, 270, 250, len(everything) - 790])
    return tuple(everything[part] for part in parts)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def teacher(splits: tuple[Samples, ...]) -> Teacher:
    preset = PRESETS["digits-mlp"]
    return train_teacher(preset.architecture((1, 8, 8), 10), splits[0], preset.teacher, seed=0)


@pytest.fixture(scope="module")
def triggered(splits: tuple[Samples, ...], teacher: Teacher) -> Scene:
    _, held, test, rest = splits
    ones = torch.nonzero(rest.labels == 1).flatten()[:60]
    images = rest.images.clone()
    images[ones] = TRIGGER.apply(images[ones])
    labels = rest.labels.clone()
    labels[ones] = 2
    poisoned = Samples(images, labels)
    return _scene(poisoned, ones, held, test, teacher, TRIGGER)


@pytest.fixture(scope="module")
def mislabelled(splits: tuple[Samples, ...], teacher: Teacher) -> Scene:
    _, held, test, rest = splits
    chosen = torch.arange(80)
    labels = rest.labels.clone()
    labels[chosen] = (labels[chosen] + 1 + torch.arange(80) % 9) % 10
    return _scene(Samples(rest.images, labels), chosen, held, test, teacher, None, epochs=150)


@pytest.fixture(scope="module")
def ordinary(splits: tuple[Samples, ...], teacher: Teacher) -> Scene:
    _, held, test, rest = splits
    return _scene(rest, torch.arange(120), held, test, teacher, None)


def _scene(
    trained: Samples,
    erased: torch.Tensor,
    held: Samples,
    test: Samples,
    teacher: Teacher,
    trigger: Trigger | None,
    epochs: int = 40,
) -> Scene:
    kept = torch.ones(len(trained), dtype=torch.bool)
    kept[erased] = False
    preset = PRESETS["digits-mlp"]
    architecture = preset.architecture((1, 8, 8), 10)
    training = dataclasses.replace(preset.training, epochs=epochs)
    before = train(architecture, trained, training, seed=0)
    retrained = train(architecture, trained[kept], training, seed=1)
    evidence = Evidence(trained[erased], trained[kept], held, test, teacher, trigger)
    return Scene(before, retrained, evidence)


@pytest.mark.parametrize("name", ["triggered", "mislabelled", "ordinary"])
def test_a_retrained_model_does_not_fail(name: str, request: pytest.FixtureRequest) -> None:
    scene: Scene = request.getfixturevalue(name)
    report = verify(scene.before, scene.retrained, scene.evidence)
    assert report.verdict in ("PASS", "INCONCLUSIVE"), _names(report)
    assert report.seconds > 0


def test_the_model_before_fails_by_its_trigger(triggered: Scene) -> None:
    report = verify(triggered.before, triggered.before, triggered.evidence)
    assert report.verdict == "FAIL"
    assert {"trigger", "contradicted_labels"} <= _names(report)
    assert report.contradicted > 50


def test_the_model_before_fails_by_its_wrong_labels(mislabelled: Scene) -> None:
    report = verify(mislabelled.before, mislabelled.before, mislabelled.evidence)
    assert "contradicted_labels" in _names(report)


def test_over_forgetting_fails(ordinary: Scene) -> None:
    """A model that is wrong on the erased gives them away as well."""
    forgetful = copy_model(ordinary.before)
    erased, kept = ordinary.evidence.erased, ordinary.evidence.remaining
    optimiser = torch.optim.Adam(forgetful.parameters(), lr=3e-3)
    x, y = forgetful.prepare(erased.images), forgetful.prepare(kept.images)
    entropy = torch.nn.functional.cross_entropy
    for _ in range(60):
        optimiser.zero_grad()
        forgot = torch.exp(-entropy(forgetful(x).logits_BC, erased.labels, reduction="none"))
        (
            entropy(forgetful(y).logits_BC, kept.labels) - torch.log1p(-forgot + 1e-6).mean()
        ).backward()
        optimiser.step()
    report = verify(ordinary.before, forgetful, ordinary.evidence)
    assert {"membership_margin", "erased_accuracy"} <= _names(report)


def test_relearning_is_asked_for_and_finds_what_is_remembered(
    mislabelled: Scene, triggered: Scene
) -> None:
    before, retrained = mislabelled.before, mislabelled.retrained
    plain = verify(before, before, mislabelled.evidence)
    asked = verify(before, before, mislabelled.evidence, relearning=True)
    assert "relearning" not in {gate.name for gate in plain.gates}
    assert "relearning" in _names(asked)
    assert [g.to_dict() for g in asked.gates if g.gate != "G8"] == [
        g.to_dict() for g in plain.gates
    ]
    for scene in (mislabelled, triggered):
        report = verify(scene.before, scene.retrained, scene.evidence, relearning=True)
        [found] = [gate for gate in report.gates if gate.gate == "G8"]
        assert found.verdict != "FAIL", found
    recorded = verify(before, retrained, mislabelled.evidence, exact=True, relearning=True)
    assert "G8" not in {gate.gate for gate in recorded.decisive}


def test_an_exact_retraining_is_blocked_by_utility_only(triggered: Scene) -> None:
    report = verify(triggered.before, triggered.before, triggered.evidence, exact=True)
    assert report.verdict == "PASS", "its other figures are recorded, and do not decide"
    assert "trigger" in _names(report)
    assert {gate.gate for gate in report.decisive} == {"G5"}


def test_without_a_teacher_nothing_counts_as_contradicted(triggered: Scene) -> None:
    evidence = triggered.evidence
    bare = Evidence(
        evidence.erased, evidence.remaining, evidence.held, evidence.test, trigger=TRIGGER
    )
    report = verify(triggered.before, triggered.retrained, bare)
    assert report.contradicted == 0
    assert report.verdict == "FAIL", "triggered samples are not exchangeable with held-out ones"


def test_when_all_are_contradicted_no_comparison_is_made(
    triggered: Scene, teacher: Teacher
) -> None:
    evidence = triggered.evidence
    found = find_contradictions(teacher, evidence.erased, evidence.held)
    wrong = Evidence(
        evidence.erased[torch.from_numpy(found.erased_E)],
        evidence.remaining,
        evidence.held,
        evidence.test,
        teacher,
    )
    report = verify(triggered.before, triggered.retrained, wrong)
    assert {gate.gate for gate in report.gates} == {"G0", "G4", "G5", "G6"}


def _canaries(trained_by: VIB, n: int, seed: int) -> tuple[VIB, Canaries]:
    """A model that was trained on half of a group of noise images with random labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (n,), generator=generator)
    coins = np.arange(n) % 2 == 0
    model = copy_model(trained_by)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    x = model.prepare(images[torch.from_numpy(coins)])
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(
            model(x).logits_BC, labels[torch.from_numpy(coins)]
        ).backward()
        optimiser.step()
    return model, Canaries(Samples(images, labels), coins)


def test_canaries_that_are_remembered_or_come_back_are_caught(ordinary: Scene) -> None:
    remembering, group = _canaries(ordinary.retrained, 24, seed=0)
    _, other = _canaries(ordinary.retrained, 24, seed=1)
    evidence = ordinary.evidence
    sets = (evidence.erased, evidence.remaining, evidence.held, evidence.test, evidence.teacher)
    now = verify(ordinary.before, remembering, Evidence(*sets, canaries=group, earlier=[other]))
    assert "canaries" in _names(now)
    assert "reversal" not in _names(now)
    later = verify(ordinary.before, remembering, Evidence(*sets, canaries=other, earlier=[group]))
    assert "reversal" in _names(later)
    for report, inside in ((now, True), (later, False)):
        [reversal] = [gate for gate in report.gates if gate.gate == "G7"]
        assert (reversal.least <= reversal.statistic <= reversal.most) is inside
    assert "canaries" not in _names(later)


def test_utility_alone_for_a_retraining_that_erased_nothing(ordinary: Scene) -> None:
    report = check_utility(ordinary.before, ordinary.retrained, ordinary.evidence.test)
    assert {gate.gate for gate in report.gates} == {"G5"}
    assert report.verdict == "PASS"


def test_a_trigger_is_owed_only_by_who_erased_it(triggered: Scene, ordinary: Scene) -> None:
    assert carries(TRIGGER, triggered.evidence.erased)
    assert not carries(TRIGGER, ordinary.evidence.erased)
    assert not carries(TRIGGER, ordinary.evidence.erased[ordinary.evidence.erased.labels != 2])


@pytest.mark.parametrize("empty", ["erased", "held", "test", "remaining"])
def test_an_empty_set_is_named(ordinary: Scene, empty: str) -> None:
    sets = {n: getattr(ordinary.evidence, n) for n in ("erased", "remaining", "held", "test")}
    sets[empty] = sets[empty][slice(0, 0)]
    with pytest.raises(ValueError, match=f"needs {empty}"):
        verify(ordinary.before, ordinary.retrained, Evidence(**sets))


def test_scores_of_nothing_and_in_chunks(ordinary: Scene) -> None:
    model, samples = ordinary.before, ordinary.evidence.test
    whole, parts = score(model, samples), score(model, samples, chunk=37)
    assert parts.margin == pytest.approx(whole.margin, abs=1e-4)
    assert parts.mu.shape == (len(samples), model.architecture.latent)
    assert len(score(model, samples[slice(0, 0)])) == 0
    assert (whole.representation > 0).all()


def test_what_remains_is_looked_at_evenly_and_scored_once(
    ordinary: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order may be that of the classes: the first ones would tell of one class alone."""
    e = ordinary.evidence
    sets = {"erased": e.erased, "held": e.held, "test": e.test}
    sorted_ = e.remaining[e.remaining.labels.argsort()]
    monkeypatch.setattr(protocol, "MOST_REMAINING", 100)
    seen = score_sets(ordinary.before, remaining=sorted_, **sets).remaining
    assert len(seen) == 100
    assert set(seen.labels) == set(range(10))
    report = verify(ordinary.before, ordinary.retrained, e)
    assert report.before is not None
    assert report.after is not None
    assert report.before.erased.right.mean() > 0.99
    assert report.after.test.margin == pytest.approx(score(ordinary.retrained, e.test).margin)


def test_no_held_out_sample_of_a_triggers_source_leaves_its_gate_out(triggered: Scene) -> None:
    e = triggered.evidence
    clean = Evidence(
        e.erased,
        e.remaining,
        e.held[e.held.labels != 1],
        e.test[e.test.labels != 1],
        e.teacher,
        TRIGGER,
    )
    assert "trigger" not in {
        g.name for g in verify(triggered.before, triggered.before, clean).gates
    }


def test_the_teacher_says_nothing_of_nothing(teacher: Teacher, ordinary: Scene) -> None:
    none = ordinary.evidence.erased[slice(0, 0)]
    found = find_contradictions(teacher, none, ordinary.evidence.held)
    assert len(found.says_E) == 0
    assert not found.excess


def test_hard_samples_are_not_surely_contradicted(teacher: Teacher, ordinary: Scene) -> None:
    """The teacher is wrong on them, but sees the right class not far behind."""
    held = ordinary.evidence.held
    missed = find_contradictions(teacher, held, held).erased_E
    hard = held[torch.from_numpy(missed)]
    found = find_contradictions(teacher, hard, held)
    assert found.erased_E.all()
    assert found.sure_E.mean() < 0.5
    wrong = Samples(held.images, (held.labels + 3) % 10)
    assert find_contradictions(teacher, wrong, held).sure_E.mean() > 0.9
