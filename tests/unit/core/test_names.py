from __future__ import annotations

import pytest

from core.errors import Invalid
from core.names import check_name


@pytest.mark.parametrize("name", ["digits", "a", "MNIST-2.v1_x", "0" * 100])
def test_a_good_name_passes(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "-x", "a b", "ä", "x" * 101, "a\n"])
def test_a_name_that_would_hurt_in_a_url_or_path_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="cannot be a name"):
        check_name(name)
