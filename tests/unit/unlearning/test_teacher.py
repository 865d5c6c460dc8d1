"""The teacher: honest margins, export and load, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.unlearning.conftest import Scene, tiny_architecture, tiny_samples
from unlearning import (
    Cancelled,
    Samples,
    Teacher,
    TeacherConfig,
    TrainingConfig,
    TrainProgress,
    references_digest,
    train_teacher,
)

CONFIG = TeacherConfig(2, TrainingConfig(epochs=3, batch=16, lr=3e-3, beta=1e-3))
LONGER = replace(CONFIG.training, epochs=40, lr=1e-2)
COLOURS = {"mean": (0.5,) * 3, "std": (0.25,) * 3}


def test_it_knows_the_digits_from_few_references(scene: Scene) -> None:
    assert scene.teacher.accuracy > 0.8
    log_p_FNC = scene.teacher.log_probabilities(scene.held_out.images)  # noqa: N806
    assert log_p_FNC.shape == (5, len(scene.held_out), 10)
    torch.testing.assert_close(log_p_FNC.exp().sum(2), torch.ones(5, len(scene.held_out)))
    right = log_p_FNC.mean(0).argmax(1) == scene.held_out.labels
    assert float(right.float().mean()) > 0.9


def test_each_margin_is_from_a_model_that_left_the_sample_out() -> None:
    """Contradict one reference: only models that trained on it can have learnt it."""
    clean = tiny_samples(20)
    labels = clean.labels.clone()
    labels[3] = (labels[3] + 1) % 3
    config = TeacherConfig(2, TrainingConfig(epochs=300, batch=16, lr=1e-2, beta=0.0))
    architecture = tiny_architecture(hidden=64)
    teacher = train_teacher(architecture, Samples(clean.images, labels), config)
    seen = teacher.log_probabilities(clean.images)[:, 3, labels[3]]
    assert float(seen.max()) > -0.7, "a fold that saw it knows it by heart"
    assert float(teacher.honest_margins_R[3]) < 0.0
    assert torch.equal(teacher.reference_labels_R, labels)


def test_a_small_cnn_judges_for_a_network_that_needs_more_images() -> None:
    pupil = tiny_architecture(kind="resnet18", input_shape=(3, 8, 8), latent=64, **COLOURS)
    config = TeacherConfig(2, CONFIG.training, width=8)
    judge = config.judge(pupil)
    assert (judge.kind, judge.hidden, judge.latent) == ("cnn", 8, 32)
    assert (judge.input_shape, judge.classes) == (pupil.input_shape, pupil.classes)
    assert TeacherConfig.from_dict(config.to_dict()) == config
    clean = tiny_samples(40)
    images = clean.images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    references = Samples(images.repeat(1, 3, 1, 1), clean.labels)
    longest = replace(LONGER, epochs=120)  # of 40, one in four seeds ends under 0.9
    teacher = train_teacher(pupil, references, replace(config, training=longest))
    assert teacher.architecture == judge
    assert teacher.accuracy > 0.9
    again = Teacher.load(*teacher.export())
    assert again.architecture == judge
    assert torch.equal(
        again.log_probabilities(references.images), teacher.log_probabilities(references.images)
    )


def test_images_too_small_for_a_cnn_are_judged_by_the_pupils_own_kind() -> None:
    pupil = tiny_architecture()
    assert TeacherConfig(2, CONFIG.training, width=4).judge(pupil) == pupil
    assert TeacherConfig(2, CONFIG.training).judge(replace(pupil, input_shape=(1, 8, 8))).kind == (
        "mlp"
    )


def test_it_round_trips(tiny: Scene) -> None:
    arrays, metadata = tiny.teacher.export()
    again = Teacher.load(arrays, json.loads(json.dumps(metadata)))
    images = tiny.held_out.images
    assert torch.equal(again.log_probabilities(images), tiny.teacher.log_probabilities(images))
    assert torch.equal(again.honest_log_p_RC, tiny.teacher.honest_log_p_RC)
    assert again.references_digest == references_digest(tiny.references)
    assert again.to("cpu").accuracy == tiny.teacher.accuracy == metadata["accuracy"]


def test_same_seed_same_bits() -> None:
    one, two = (
        train_teacher(tiny_architecture(), tiny_samples(20), CONFIG, seed=3).export()[0]
        for _ in range(2)
    )
    assert all(np.array_equal(one[name], two[name]) for name in one)


Damage = Callable[[dict[str, Any], dict[str, Any]], object]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda a, m: m.pop("folds"), "no 'folds'"),
        (lambda a, m: m.update(format=9), "format 9"),
        (lambda a, m: m.update(folds="two"), "folds"),
        (
            lambda a, m: a.pop("honest_log_probabilities"),
            "'honest_log_probabilities' is missing",
        ),
        (
            lambda a, m: a.update(honest_log_probabilities=np.zeros((3, 3))),
            "a row for each of reference_labels",
        ),
        (lambda a, m: m.update(folds=3), "missing"),
        (lambda a, m: a.update(extra=np.zeros(3)), "unknown array 'extra'"),
        (lambda a, m: a.pop("fold1.approximator.0.bias"), "approximator.0.bias"),
    ],
)
def test_a_damaged_export_is_refused(tiny: Scene, damage: Damage, message: str) -> None:
    arrays, metadata = tiny.teacher.export()
    damage(arrays, metadata)
    with pytest.raises(ValueError, match=message):
        Teacher.load(arrays, metadata)


def test_the_digest_names_pixels_labels_and_order() -> None:
    samples = tiny_samples(6)
    digest = references_digest(samples)
    assert digest == references_digest(tiny_samples(6))
    other = Samples(samples.images.clone(), samples.labels.clone())
    other.images[0, 0, 0, 0] += 1
    assert references_digest(other) != digest
    assert references_digest(samples[torch.tensor([1, 0, 2, 3, 4, 5])]) != digest
    assert references_digest(samples[:5]) != digest


def test_progress_runs_over_all_folds_and_a_cancel_is_seen() -> None:
    seen: list[TrainProgress] = []
    train_teacher(tiny_architecture(), tiny_samples(20), CONFIG, on_progress=seen.append)
    assert [(p.epoch, p.epochs) for p in seen] == [(3, 6), (6, 6)]
    assert [p.step for p in seen] == [3, 6]
    assert seen[-1].total_steps == 6
    with pytest.raises(Cancelled):
        train_teacher(tiny_architecture(), tiny_samples(20), CONFIG, should_stop=lambda: True)


def test_too_few_or_bad_references_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 10 references, got 9"):
        train_teacher(tiny_architecture(), tiny_samples(9))
    with pytest.raises(ValueError, match="references: label 2"):
        train_teacher(tiny_architecture(classes=2), tiny_samples(20), CONFIG)
