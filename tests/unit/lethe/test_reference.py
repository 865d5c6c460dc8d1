"""docs/reference says what the code does: the code wrote it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.reference import FOLDER, pages

ROOT = FOLDER.parent.parent


@pytest.mark.parametrize("name", ["cli.md", "settings.md", "http.md"])
def test_pages_are_current(name: str) -> None:
    written = (FOLDER / name).read_text()
    assert written == pages()[name], "run `python -m tests.reference`"


@pytest.mark.parametrize(
    "page", sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]), ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
