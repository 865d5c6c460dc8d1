"""Plain descriptions: round trips, and the name of the field that is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.unlearning.conftest import tiny_architecture
from unlearning import (
    PRESETS,
    Architecture,
    FineTuneConfig,
    HBUConfig,
    PaperConfig,
    RFUConfig,
    RFUSSConfig,
    TeacherConfig,
    TrainingConfig,
    Trigger,
    VBUConfig,
)

DESCRIPTIONS: list[Any] = [
    tiny_architecture(),
    PRESETS["cifar-resnet18"].architecture((3, 32, 32), 10),
    TrainingConfig(epochs=2, batch=3, lr=0.1, beta=0.0, augment="shift"),
    TeacherConfig(),
    Trigger(1, 2, size=3),
    RFUSSConfig(),
    PaperConfig(direction="equations"),
    RFUConfig(estimator="mine"),
    HBUConfig(weighting="eq14"),
    HBUConfig(),
    VBUConfig(),
    FineTuneConfig(),
]


@pytest.mark.parametrize("value", DESCRIPTIONS, ids=lambda v: type(v).__name__)
def test_round_trip_through_json(value: Any) -> None:
    assert type(value).from_dict(json.loads(json.dumps(value.to_dict()))) == value


@pytest.mark.parametrize("value", DESCRIPTIONS, ids=lambda v: type(v).__name__)
def test_an_unknown_field_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match="unknown field 'colour'"):
        type(value).from_dict({**value.to_dict(), "colour": 1})


@pytest.mark.parametrize("value", DESCRIPTIONS, ids=lambda v: type(v).__name__)
def test_anything_but_an_object_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="expected an object"):
        type(value).from_dict(["a", "list"])


def test_a_missing_field_is_named() -> None:
    d = tiny_architecture().to_dict()
    del d["latent"]
    with pytest.raises(ValueError, match="'latent' is missing"):
        Architecture.from_dict(d)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "transformer"),
        ("input_shape", [1, 4]),
        ("input_shape", [1, 0, 4]),
        ("classes", 1),
        ("hidden", 0),
        ("latent", "many"),
        ("latent", True),
        ("approximator_hidden", 2.5),
        ("mean", []),
        ("mean", [float("nan")]),
        ("std", [0.0]),
        ("std", 1.0),
    ],
)
def test_a_bad_architecture_names_its_field(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Architecture.from_dict({**tiny_architecture().to_dict(), field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("batch", 0), ("lr", 0.0), ("beta", -1.0), ("augment", "blur")],
)
def test_a_bad_training_config_names_its_field(field: str, value: object) -> None:
    good = TrainingConfig(epochs=1, batch=1, lr=1.0, beta=0.0).to_dict()
    with pytest.raises(ValueError, match=field):
        TrainingConfig.from_dict({**good, field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("average", 1.0), ("fixed_alpha", 2.0), ("weighting", "most"), ("lr", "fast")],
)
def test_a_bad_method_config_names_its_field(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        RFUSSConfig.from_dict({field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("direction", "both"), ("beta_u", -0.1), ("stop_accuracy", 1.5)]
)
def test_a_bad_paper_config_names_its_field(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        PaperConfig.from_dict({field: value})


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (RFUConfig, "estimator", "guess"),
        (RFUConfig, "steps", 0),
        (RFUConfig, "limit", -1.0),
        (HBUConfig, "damping", 0.0),
        (HBUConfig, "weighting", "most"),
        (HBUConfig, "iterations", 0),
        (VBUConfig, "threshold", 1.5),
        (VBUConfig, "prior_precision", 0.0),
        (VBUConfig, "weighting", "most"),
        (FineTuneConfig, "remaining_batch", 0),
        (FineTuneConfig, "stop_accuracy", -0.1),
    ],
)
def test_a_bad_comparator_config_names_its_field(config: Any, field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        config.from_dict({field: value})


def test_a_teacher_needs_two_folds() -> None:
    with pytest.raises(ValueError, match="folds"):
        TeacherConfig(folds=1)
