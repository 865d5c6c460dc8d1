"""Names of models and data sets: they stand in URLs, on the command line and in file names."""

from __future__ import annotations

import re

from core.errors import Invalid

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(name: str) -> None:
    """Raise `Invalid` unless the name is 1 to 100 letters, digits, dots, dashes, underscores."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{name!r} cannot be a name: use up to 100 letters, digits, '.', '-' or '_', "
            "beginning with a letter or digit"
        )
