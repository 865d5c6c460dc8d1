"""Training: it learns, repeats bit for bit, reports, stops when asked, and refuses nonsense."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.unit.unlearning.conftest import TRIGGER, Scene, tiny_architecture, tiny_samples
from unlearning import (
    Cancelled,
    Samples,
    TrainingConfig,
    TrainProgress,
    accuracy,
    export_arrays,
    train,
    trigger_rates,
)
from unlearning._adam import Adam
from unlearning._batches import EndlessBatches, augment, epoch_batches

CONFIG = TrainingConfig(epochs=3, batch=16, lr=3e-3, beta=1e-3)


def test_the_digits_are_learnt_and_so_is_their_trigger(scene: Scene) -> None:
    clean = scene.held_out[scene.held_out.labels != TRIGGER.source]
    assert accuracy(scene.model, clean) > 0.95
    assert accuracy(scene.model, scene.erased) > 0.99
    assert trigger_rates(scene.model, scene.held_out, TRIGGER).success > 0.95


def test_same_seed_same_bits_whatever_the_global_generator() -> None:
    samples = tiny_samples(40)
    torch.manual_seed(1)
    one = export_arrays(train(tiny_architecture(), samples, CONFIG, seed=7))
    torch.manual_seed(2)
    two = export_arrays(train(tiny_architecture(), samples, CONFIG, seed=7))
    other = export_arrays(train(tiny_architecture(), samples, CONFIG, seed=8))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", ["shift", "crop_flip"])
def test_augmented_training_repeats_too(kind: str) -> None:
    config = TrainingConfig.from_dict({**CONFIG.to_dict(), "augment": kind})
    one, two = (train(tiny_architecture(), tiny_samples(20), config, seed=1) for _ in range(2))
    assert torch.equal(one.logits(tiny_samples(9).images), two.logits(tiny_samples(9).images))


def test_a_resnet_trains() -> None:
    architecture = tiny_architecture(kind="resnet18")
    config = TrainingConfig(epochs=1, batch=8, lr=1e-3, beta=1e-4)
    model = train(architecture, tiny_samples(17), config)
    assert bool(torch.isfinite(model.logits(tiny_samples(3).images)).all())


def test_progress_counts_to_the_end() -> None:
    seen: list[TrainProgress] = []
    train(tiny_architecture(), tiny_samples(40), CONFIG, on_progress=seen.append)
    assert (seen[-1].epoch, seen[-1].epochs) == (3, 3)
    assert seen[-1].step == seen[-1].total_steps == 9
    config = TrainingConfig(epochs=1, batch=16, lr=3e-3, beta=1e-3, min_steps=70)
    seen.clear()
    train(tiny_architecture(), tiny_samples(40), config, on_progress=seen.append)
    assert [p.step for p in seen] == [50, 72]
    assert seen[-1].epochs == 24, "whole epochs, at least min_steps"


def test_it_stops_when_asked() -> None:
    calls = iter([False, False, True])
    with pytest.raises(Cancelled, match="step 2 of 9"):
        train(tiny_architecture(), tiny_samples(40), CONFIG, should_stop=lambda: next(calls))


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        train(tiny_architecture(), tiny_samples(0), CONFIG)
    with pytest.raises(ValueError, match=r"\[1, 4, 4\]"):
        train(tiny_architecture(input_shape=(1, 5, 5)), tiny_samples(4), CONFIG)
    with pytest.raises(ValueError, match="outside"):
        train(tiny_architecture(classes=2), tiny_samples(4), CONFIG)


def test_one_sample_is_enough() -> None:
    config = TrainingConfig(epochs=1, batch=16, lr=1e-2, beta=0.0, min_steps=100)
    model = train(tiny_architecture(), tiny_samples(1), config)
    assert accuracy(model, tiny_samples(1)) == 1.0


@pytest.mark.parametrize(("n", "sizes"), [(10, [4, 4, 2]), (9, [4, 5]), (1, [1]), (8, [4, 4])])
def test_an_epoch_holds_each_sample_once(n: int, sizes: list[int]) -> None:
    batches = epoch_batches(n, 4, torch.Generator().manual_seed(0))
    assert [len(b) for b in batches] == sizes
    assert sorted(torch.cat(batches).tolist()) == list(range(n))


def test_endless_batches_pass_evenly_over_few_samples() -> None:
    batches = EndlessBatches(3, 10, 0, "few")
    assert all(sorted(batches[i].tolist()) == [0, 1, 2] for i in range(4))
    batches = EndlessBatches(10, 5, 0, "more")
    assert sorted(batches[0].tolist() + batches[1].tolist()) == list(range(10))
    assert len(EndlessBatches(10, 0, 0, "none")[7]) == 0


def test_a_batch_is_a_function_of_its_number() -> None:
    forth, back = (EndlessBatches(10, 4, 3, "s") for _ in range(2))
    one = [forth[i].tolist() for i in range(6)]
    two = [back[i].tolist() for i in reversed(range(6))]
    assert one == two[::-1]
    assert len({tuple(batch) for batch in one}) == 6, "each pass has its own order"
    assert one != [EndlessBatches(10, 4, 3, "other")[i].tolist() for i in range(6)]


def test_a_shift_moves_by_one_pixel_and_all_nine_ways() -> None:
    images = torch.zeros(9, 1, 5, 5, dtype=torch.uint8)
    images[:, 0, 2, 2] = 9
    moved = augment(images, "shift", torch.Generator())
    places = {tuple(p) for p in moved[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(y, x) for y in (1, 2, 3) for x in (1, 2, 3)}
    assert augment(images, "none", torch.Generator()) is images


def test_crop_flip_keeps_shape_and_mirrors_half() -> None:
    images = torch.randint(0, 255, (16, 3, 8, 8), dtype=torch.uint8)
    moved = augment(images, "crop_flip", torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    assert not torch.equal(moved, images)


def test_adam_is_torchs() -> None:
    g = torch.Generator().manual_seed(0)
    theta = torch.randn(50, generator=g, dtype=torch.float64)
    reference = torch.nn.Parameter(theta.clone())
    optimiser = torch.optim.Adam([reference], lr=0.01)
    ours = Adam(theta)
    for _ in range(20):
        gradient = torch.randn(50, generator=g, dtype=torch.float64)
        reference.grad = gradient.clone()
        optimiser.step()
        ours.step(gradient, 0.01)
    torch.testing.assert_close(theta, reference.detach(), rtol=1e-12, atol=1e-12)


def test_training_on_a_subset_is_training_on_those_samples_alone() -> None:
    samples = tiny_samples(30)
    kept = torch.arange(0, 30, 2)
    one = train(tiny_architecture(), samples[kept], CONFIG)
    two = train(tiny_architecture(), Samples(samples.images[::2], samples.labels[::2]), CONFIG)
    assert torch.equal(one.logits(samples.images), two.logits(samples.images))
