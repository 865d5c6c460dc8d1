"""The description of a VIB: what a checkpoint's metadata says of the model's shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unlearning._fields import check_choice, check_int, check_number, from_fields, to_fields

Kind = Literal["mlp", "resnet18", "cnn"]
KINDS: tuple[Kind, ...] = ("mlp", "resnet18", "cnn")
CNN_LEAST = 8
"""Pixels a side that a CNN's three halvings leave one of."""


@dataclass(frozen=True)
class Architecture:
    """A VIB's shape, in plain values that round-trip through JSON.

    kind: "mlp" (two dense layers), "resnet18" (torchvision's, 3 x 3 stem, no max-pool) or "cnn"
    (four convolutions and three max-pools: a judge that learns from a few thousand images).
    input_shape: (C, H, W) in pixels.
    classes: number of labels.
    hidden: width of the representer's hidden layer (an MLP's) or of its first convolution (a
    CNN's; the last ones have four times as much); a ResNet ignores it.
    latent: dimensions K of z.
    approximator_hidden: width of the approximator's hidden layer.
    mean, std: one value a channel, for images in 0..1.

    Raises ValueError naming the bad field.
    """

    kind: Kind
    input_shape: tuple[int, int, int]
    classes: int
    hidden: int
    latent: int
    approximator_hidden: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        check_choice("Architecture", "kind", self.kind, KINDS)
        if not isinstance(self.input_shape, tuple) or len(self.input_shape) != 3:
            raise ValueError(f"Architecture: input_shape must be (C, H, W), got {self.input_shape}")
        least = CNN_LEAST if self.kind == "cnn" else 1
        for size, at_least in zip(self.input_shape, (1, least, least), strict=True):
            check_int("Architecture", "input_shape", size, at_least)
        check_int("Architecture", "classes", self.classes, 2)
        check_int("Architecture", "hidden", self.hidden, 1)
        check_int("Architecture", "latent", self.latent, 1)
        check_int("Architecture", "approximator_hidden", self.approximator_hidden, 1)
        channels = self.input_shape[0]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not isinstance(values, tuple) or len(values) != channels:
                raise ValueError(
                    f"Architecture: {name} must hold one number for each of the "
                    f"{channels} channels, got {values!r}"
                )
            for value in values:
                if name == "std":
                    check_number("Architecture", name, value, above=0.0)
                else:
                    check_number("Architecture", name, value)

    def to_dict(self) -> dict[str, Any]:
        """The description in JSON's own types."""
        return to_fields(self)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Architecture:
        """The description from decoded JSON; ValueError names the bad field."""
        return from_fields(cls, d)
