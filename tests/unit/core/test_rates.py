"""Rates, as settings write them."""

from __future__ import annotations

import pytest

from core.errors import SettingsError
from core.rates import rate


def test_a_rate_and_none() -> None:
    found = rate("key_rate", "1000/minute")
    assert found is not None
    assert (found.amount, found.get_expiry()) == (1000, 60)
    assert rate("key_rate", " OFF ") is None


@pytest.mark.parametrize("text", ["often", "", "0/minute", "ten/minute"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(SettingsError, match=r"LETHE_KEY_RATE: .* is no rate, such as 1000/minute"):
        rate("key_rate", text)
