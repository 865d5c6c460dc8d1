"""Utility: is the model still right?"""

from __future__ import annotations

import math

import torch

from unlearning.samples import Samples
from unlearning.vib import VIB


def accuracy(model: VIB, samples: Samples) -> float:
    """The share, 0..1, of samples that get their label at z = mu. ValueError for no samples."""
    if len(samples) == 0:
        raise ValueError("accuracy of no samples")
    predicted = model.logits(samples.images).argmax(dim=1)
    return float((predicted == samples.labels.to(predicted.device)).float().mean())


def class_accuracy(model: VIB, samples: Samples) -> list[float]:
    """The accuracy within each class, by label; NaN for a class without samples."""
    if len(samples) == 0:
        raise ValueError("accuracy of no samples")
    classes = model.architecture.classes
    labels = samples.labels.to(model.device)
    right = model.logits(samples.images).argmax(dim=1) == labels
    totals = torch.bincount(labels, minlength=classes).tolist()
    hits = torch.bincount(labels[right], minlength=classes).tolist()
    return [h / t if t else math.nan for h, t in zip(hits, totals, strict=True)]
