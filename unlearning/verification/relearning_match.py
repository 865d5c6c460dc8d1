"""What can be learned again, beside held-out samples made alike, and the lesson itself (G8)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from unlearning.samples import Samples
from unlearning.triggers import Trigger
from unlearning.verification.contradictions import Contradictions, shows
from unlearning.verification.relearning import parts, teach
from unlearning.verification.scores import Bool, Float, Int
from unlearning.vib import VIB

STEPS = 5
"""Of the lesson. With many, what a few random labels teach spoils what fresh samples start from."""


@dataclass(frozen=True, eq=False)
class Fresh:
    """Held-out samples made alike erased ones, in groups 0 .. G - 1: of one true class, given
    one label, with a trigger or without.

    asked_n: the erased samples that can be learned again, indices; group_n: the group of each.
    class_G, label_G: the true class and the label given. planted_G: with the trigger.
    """

    asked_n: Int
    group_n: Int
    class_G: Int  # noqa: N815
    label_G: Int  # noqa: N815
    planted_G: Bool  # noqa: N815


@dataclass(frozen=True, eq=False)
class Relearned:
    """Losses, -log p of the erased label in nats, before and after the lesson.

    before_n, after_n: of the n erased samples that were asked for and not taught. group_n: the
    group of each. class_G: the true class of each group. fresh_before, fresh_after: of the
    held-out samples of each group; groups of one class list the same ones in the same order.
    """

    before_n: Float
    after_n: Float
    group_n: Int
    class_G: Int  # noqa: N815
    fresh_before: list[Float]
    fresh_after: list[Float]


def match(
    model: VIB,
    erased: Samples,
    held: Samples,
    found: Contradictions | None,
    trigger: Trigger | None = None,
) -> Fresh:
    """What can be learned again: erased samples with a label that the model does not give to most
    fresh samples that are made alike. What is given to anybody is not remembered of anyone.

    A held-out sample is made alike: it is asked for the label that the erased one had, and
    bears the trigger if that did. Its true class is that of the erased one: the label, but
    where the neighbours contradict it what the teacher sees, and a trigger's source where it
    was planted. So a model that saw neither cannot tell them apart, taught or not.
    """
    classes, planted = _origin(erased, found, trigger)
    kinds = np.stack([classes, erased.labels.cpu().numpy(), planted.astype(np.int64)], axis=1)
    kinds_G, group_N = np.unique(kinds, axis=0, return_inverse=True)  # noqa: N806
    group_N = group_N.reshape(-1)  # noqa: N806
    whole = Fresh(
        np.arange(len(erased)), group_N, kinds_G[:, 0], kinds_G[:, 1], kinds_G[:, 2].astype(bool)
    )
    # Given most of the time: p of the label is above one half for most, its loss under log 2.
    new = np.array(
        [len(x) > 0 and np.median(x) > math.log(2.0) for x in _fresh(model, whole, held, trigger)],
        dtype=bool,
    )
    asked = np.flatnonzero(new[group_N])
    renamed = np.cumsum(new) - 1
    return Fresh(
        asked, renamed[group_N[asked]], whole.class_G[new], whole.label_G[new], whole.planted_G[new]
    )


def relearn(
    model: VIB,
    erased: Samples,
    held: Samples,
    fresh: Fresh,
    trigger: Trigger | None = None,
    *,
    seed: int = 0,
) -> Relearned:
    """Teach a copy of the model a random tenth of what can be learned again, and ask it for the
    rest and for the fresh samples.

    Raises ValueError for fewer than two erased samples.
    """
    taught, rest = parts(len(fresh.asked_n), seed=seed)
    home, asked = erased.labels.device, torch.from_numpy(fresh.asked_n)
    pupil = teach(model, erased[asked[taught].to(home)], steps=STEPS)
    left = erased[asked[rest].to(home)]
    labels = left.labels.cpu().numpy()
    before, after = (
        _losses(each, left.images)[np.arange(len(labels)), labels] for each in (model, pupil)
    )
    return Relearned(
        before,
        after,
        fresh.group_n[rest.numpy()],
        fresh.class_G,
        *(_fresh(each, fresh, held, trigger) for each in (model, pupil)),
    )


def _fresh(model: VIB, groups: Fresh, held: Samples, trigger: Trigger | None) -> list[Float]:
    """The losses of each group's held-out samples."""
    classes = held.labels.cpu().numpy()
    answers: dict[bool, Float] = {}
    losses = []
    for true, label, planted in zip(
        groups.class_G, groups.label_G, groups.planted_G.tolist(), strict=True
    ):
        if planted not in answers:
            images = trigger.apply(held.images) if trigger and planted else held.images
            answers[planted] = _losses(model, images)
        losses.append(answers[planted][classes == true, label])
    return losses


def _origin(
    erased: Samples, found: Contradictions | None, trigger: Trigger | None
) -> tuple[Int, Bool]:
    """The true class of each erased sample, and whether it bears the trigger, [N]."""
    classes = erased.labels.cpu().numpy().copy()
    planted = np.zeros(len(classes), dtype=bool)
    if found is not None and found.excess:
        classes = np.where(found.sure_E, found.says_E, classes)
    if trigger is not None:
        planted = shows(trigger, erased)
        classes[planted] = trigger.source
    return classes, planted


def _losses(model: VIB, images: torch.Tensor) -> Float:
    """-log p of every label, [N, C]."""
    losses: Float = -model.logits(images).log_softmax(dim=1).double().cpu().numpy()
    return losses
