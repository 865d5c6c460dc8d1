"""A store of six fragments, a fresh copy for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.samples import (
    SampleStore,
)
from tests.unit.core.samples.making import ROWS, SHAPE, batch_of


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six fragments of 100 samples."""
    root = tmp_path_factory.mktemp("original")
    store = SampleStore(str(root))
    store.create("digits", SHAPE)
    for start in range(0, ROWS, 100):
        store.append("digits", [batch_of(range(start, start + 100))])
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "samples"))


@pytest.fixture
def store(root: Path) -> SampleStore:
    return SampleStore(str(root))
