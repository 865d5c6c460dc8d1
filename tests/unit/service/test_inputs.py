"""Nested lists are read the quick way or NumPy's: nobody may be able to tell which."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import Invalid
from service.inference import inputs
from service.inference.inputs import from_lists

SHAPES = ((1, 2, 3), (3, 2, 2), (1, 1, 1))

FRACTIONS = st.floats(0, 1)
STRANGE = st.one_of(
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.integers(-1, 2),
    st.sampled_from((2**53 + 1, 2**64, 10**400, 1e300, -1e-50, -0.0, 1.00000001, 1.0000002)),
    st.lists(FRACTIONS, max_size=3),
    st.dictionaries(st.text(max_size=1), FRACTIONS, max_size=2),
)


@st.composite
def asked(draw: st.DrawFn) -> tuple[list[Any], tuple[int, int, int]]:
    """Images of one of the forms, with perhaps something strange somewhere in them."""
    shape = draw(st.sampled_from(SHAPES))
    form = draw(st.sampled_from(inputs._forms(shape)))
    number = draw(st.sampled_from((FRACTIONS, st.integers(0, 1), st.booleans(), FRACTIONS)))

    def nested(sizes: tuple[int, ...]) -> Any:
        return [nested(sizes[1:]) for _ in range(sizes[0])] if sizes else draw(number)

    items: list[Any] = [nested(form) for _ in range(draw(st.integers(1, 3)))]
    for _ in range(draw(st.integers(0, 2))):
        within = items
        for _ in range(draw(st.integers(0, len(form)))):
            inner = within[draw(st.integers(0, len(within) - 1))]
            if not isinstance(inner, list) or not inner:
                break
            within = inner
        within[draw(st.integers(0, len(within) - 1))] = draw(STRANGE)
    return items, shape


def told(items: list[Any], shape: tuple[int, int, int]) -> tuple[Any, ...]:
    """The images' bits, or the refusal."""
    try:
        found = from_lists(items, shape)
    except Invalid as error:
        return str(error), error.details
    assert found.dtype == np.float32
    return found.shape, found.tobytes()


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@example(([0], (1, 1, 1)))
@example(([[True]], (1, 1, 1)))
@given(asked())
def test_the_quick_way_takes_and_refuses_what_numpy_does(
    question: tuple[list[Any], tuple[int, int, int]],
) -> None:
    quick = told(*question)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "_fitting", lambda *_: None)
        assert quick == told(*question)


def test_what_is_usual_goes_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs.np, "asarray", None)
    pixels = np.random.default_rng(0).random((2, 3, 4, 5))
    for form in ((3, 4, 5), (60,)):
        found = from_lists(pixels.reshape(2, *form).tolist(), (3, 4, 5))
        np.testing.assert_array_equal(found, pixels.astype(np.float32))
