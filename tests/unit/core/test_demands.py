"""What a model's jobs ask of a worker, from its architecture, its policy and what they took."""

from __future__ import annotations

from typing import Any

import pytest

from core import demands, policy
from core.demands import Demand, Offer
from core.errors import Invalid, SettingsError
from core.records import Model
from unlearning import PRESETS


def model(architecture: dict[str, Any], **values: Any) -> Model:
    return Model(id="mdl_1", architecture=architecture, **{"policy": {}, **values})


def architecture(preset: str, shape: tuple[int, int, int] = (1, 28, 28)) -> dict[str, Any]:
    return PRESETS[preset].architecture(shape, 10).to_dict()


@pytest.mark.parametrize(
    ("preset", "job_class", "least", "most"),
    [("digits-mlp", "small", 500, 600), ("mnist-mlp", "small", 550, 700)],
)
def test_a_small_models_demand(preset: str, job_class: str, least: int, most: int) -> None:
    found = demands.of(model(architecture(preset)))
    assert (found.job_class, found.tenant, found.weight) == (job_class, "mdl_1", 1.0)
    assert least < found.memory_mb < most


def test_a_convolutional_models_demand() -> None:
    found = demands.of(model(architecture("cifar-resnet18", (3, 32, 32))))
    assert found.job_class == "gpu"
    assert 2000 < found.memory_mb < 5000


def test_what_was_measured_goes_before_the_estimate_and_policy_before_both() -> None:
    costs = {"erase": 4.5, "memory_mb": 1234}
    mine = model(architecture("digits-mlp"), costs=costs)
    assert demands.of(mine).memory_mb == 1234
    assert demands.seconds_of(mine, "erase") == 4.5
    assert demands.seconds_of(mine, "retrain") == demands.UNMEASURED["retrain"]
    said = {"class": "night", "tenant": "acme", "weight": 2, "memory_mb": 99}
    mine.policy = policy.merged({}, {"scheduling": said})
    assert demands.of(mine) == Demand("night", "acme", 2.0, 99)
    mine.policy = policy.merged(mine.policy, {"scheduling": dict.fromkeys(said)})
    assert mine.policy == {}


def test_an_offer() -> None:
    small = Demand("small", "x", 1.0, 500)
    assert Offer().takes(small)
    assert Offer(frozenset({"small"}), 500).takes(small)
    assert not Offer(frozenset({"gpu"})).takes(small)
    assert not Offer(None, 499).takes(small)


def test_classes_are_read_from_a_list() -> None:
    assert demands.classes(None) is None
    assert demands.classes("small, gpu") == {"small", "gpu"}
    for text in ("", ",", "Small", "a b"):
        with pytest.raises(SettingsError, match="LETHE_WORKER_CLASSES"):
            demands.classes(text)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"weigth": 1}, "scheduling.weigth: there is no such part"),
        ({"weight": 0}, "scheduling.weight: must be above 0"),
        ({"weight": True}, "scheduling.weight: must be above 0"),
        ({"memory_mb": "much"}, "scheduling.memory_mb: must be above 0"),
        ({"class": "Has Blanks"}, "scheduling.class: must be a name"),
        ({"tenant": 5}, "scheduling.tenant: must be a name"),
    ],
)
def test_a_wrong_policy_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        policy.merged({}, {"scheduling": given})
