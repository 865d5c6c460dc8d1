"""Plain descriptions: frozen dataclasses that round-trip through JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

T = TypeVar("T")


def from_fields(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build the dataclass `cls` from decoded JSON.

    Raises ValueError naming the first field that is unknown, missing or (through the
    dataclass's own checks) of a wrong value.
    """
    if not isinstance(values, Mapping):
        # Bad input is a ValueError throughout, whatever is bad about it.
        raise ValueError(f"{cls.__name__}: expected an object, got {values!r}")  # noqa: TRY004
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ValueError(f"{cls.__name__}: unknown field {name!r}")
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{cls.__name__}: field {name!r} is missing")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def to_fields(value: Any) -> dict[str, Any]:
    """The dataclass `value` as a dict of JSON's own types (tuples become lists)."""
    plain: dict[str, Any] = {}
    for field in fields(value):
        item = getattr(value, field.name)
        plain[field.name] = list(item) if isinstance(item, tuple) else item
    return plain


def check_int(owner: str, name: str, value: object, least: int) -> None:
    """Raise ValueError unless `value` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{owner}: {name} must be an integer of at least {least}, got {value!r}")


def check_number(
    owner: str,
    name: str,
    value: object,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
) -> None:
    """Raise ValueError unless `value` is a finite number, > above, >= least, <= most."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and math.isfinite(value) and value > above and least <= value <= most:  # type: ignore[operator,arg-type]
        return
    bounds = [f"above {above}"] if above > -math.inf else []
    bounds += [f"at least {least}"] if least > -math.inf else []
    bounds += [f"at most {most}"] if most < math.inf else []
    raise ValueError(f"{owner}: {name} must be a number {' and '.join(bounds)}, got {value!r}")


def check_choice(owner: str, name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{owner}: {name} must be one of {', '.join(choices)}, got {value!r}")
