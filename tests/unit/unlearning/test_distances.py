"""Distances to a retrained model, and relearning."""

from __future__ import annotations

import pytest
import torch

from tests.unit.unlearning.conftest import Scene, tiny_architecture
from unlearning import accuracy, copy_model, export_arrays, initialise
from unlearning.verification.distances import output_kl, representation_kl
from unlearning.verification.relearning import relearned


def test_a_model_is_at_no_distance_from_itself_and_at_some_from_another(tiny: Scene) -> None:
    images = tiny.held_out.images
    other = initialise(tiny_architecture(), 5).eval()
    for distance in (output_kl, representation_kl):
        assert distance(tiny.model, tiny.model, images) == pytest.approx(0.0, abs=1e-6)
        assert distance(other, tiny.model, images) > 0.01
        with pytest.raises(ValueError, match="at least one image"):
            distance(other, tiny.model, images[:0])


def test_distances_agree_with_torchs_own(tiny: Scene) -> None:
    images = tiny.held_out.images
    other = initialise(tiny_architecture(), 5).eval()
    with torch.no_grad():
        p, q = (m(m.prepare(images)) for m in (other, tiny.model))
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=p.logits_BC),
        torch.distributions.Categorical(logits=q.logits_BC),
    ).mean()
    assert output_kl(other, tiny.model, images) == pytest.approx(float(expected), rel=1e-4)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(p.mu_BK, (0.5 * p.log_var_BK).exp()),
        torch.distributions.Normal(q.mu_BK, (0.5 * q.log_var_BK).exp()),
    ).mean()
    found = representation_kl(other, tiny.model, images, chunk=7)
    assert found == pytest.approx(float(expected), rel=1e-4)


def test_what_is_still_held_comes_back_sooner(scene: Scene) -> None:
    before = export_arrays(scene.model)
    held = relearned(scene.model, scene.erased, steps=2)
    fresh = initialise(scene.model.architecture, 3).eval()
    assert held > relearned(fresh, scene.erased, steps=2) + 0.5
    after = export_arrays(scene.model)
    assert all((after[name] == before[name]).all() for name in before)


def test_without_steps_nothing_is_learned(tiny: Scene) -> None:
    erased = tiny.erased
    order = torch.randperm(len(erased), generator=torch.Generator().manual_seed(0))
    rest = erased[order[1:]]
    assert relearned(copy_model(tiny.model), erased, steps=0) == accuracy(tiny.model, rest)


def test_relearning_needs_two(tiny: Scene) -> None:
    with pytest.raises(ValueError, match="two erased samples or more, got 1"):
        relearned(tiny.model, tiny.erased[:1])
