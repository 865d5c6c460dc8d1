"""Every figure of a row: what a model kept, what it forgot, how far it is from retraining.

All are shares in 0..1 unless said otherwise; None where a figure has no meaning.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench._paper.scenes import TRIGGER, Scene
from unlearning import VIB, accuracy, margins, trigger_rates
from unlearning.samples import Samples
from unlearning.verification.distances import output_kl, representation_kl
from unlearning.verification.membership import class_weighted_auc
from unlearning.verification.relearning import relearned

FIGURES = (
    "test_accuracy",
    "backdoor_accuracy",
    "trigger_undone",
    "remaining_accuracy",
    "erased_accuracy",
    "true_label_accuracy",
    "membership_auc",
    "output_kl_to_retrain",
    "representation_kl_to_retrain",
    "relearn",
    "steps",
    "seconds",
    "teacher_seconds",
)

Figures = dict[str, float | None]


def measure(scene: Scene, model: VIB) -> Figures:
    """The figures of `model` but those of cost.

    test_accuracy, remaining_accuracy: on T and D_r. backdoor_accuracy: triggered test images of
    the source class that are given the trigger's target; trigger_undone: that are given their
    true label. erased_accuracy: of E, given the erased label; true_label_accuracy: given the
    true one. membership_auc: of E against its counterparts, see `Scene`. *_kl_to_retrain: in
    nats, on E. relearn: see `relearned`.
    """
    erased, data = scene.erased, scene.data
    test = data.test.to(scene.device)
    e = margins(model.logits(erased.images), erased.labels)
    h = margins(model.logits(scene.counterparts.images), scene.counterparts.labels)
    membership = class_weighted_auc(e, scene.erased_groups, h, scene.counterpart_groups)
    retrained = scene.retrained.model
    figures: Figures = dict.fromkeys(FIGURES)
    figures |= {
        "test_accuracy": accuracy(model, test),
        "remaining_accuracy": accuracy(model, scene.remaining),
        "erased_accuracy": accuracy(model, erased),
        "true_label_accuracy": accuracy(model, Samples(erased.images, scene.true_labels)),
        "membership_auc": membership.auc,
        "output_kl_to_retrain": output_kl(retrained, model, erased.images),
        "representation_kl_to_retrain": representation_kl(retrained, model, erased.images),
        "relearn": relearned(model, erased) if len(erased) > 1 else None,
    }
    if scene.kind == "trigger":
        rates = trigger_rates(model, test, TRIGGER)
        figures |= {"backdoor_accuracy": rates.success, "trigger_undone": rates.undone}
    return figures


def over_seeds(runs: Sequence[Figures]) -> dict[str, dict[str, float] | None]:
    """Each figure's mean and spread (sample standard deviation; 0 for one seed) over seeds."""
    found: dict[str, dict[str, float] | None] = {}
    for name in runs[0]:
        values = [value for run in runs if (value := run[name]) is not None]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        found[name] = {"mean": statistics.fmean(values), "spread": spread} if values else None
    return found
