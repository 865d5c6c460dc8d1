"""A service that serves the digits, once a module, and its test images.

served_home   its LETHE_HOME, a copy of `trained`
predictor     a client of it with a key of all scopes
client        the same, of a service that takes no large bodies (see wire.py)
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from core import registry
from core.backend import open_backend
from core.settings import Settings
from service.app import create_app
from tests.conftest import SECRET
from tests.integration.inference.wire import served


@pytest.fixture(scope="module")
def served_home(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("served") / "home"
    shutil.copytree(trained, copy)
    return copy


@pytest.fixture(scope="module")
def predictor(served_home: Path) -> Iterator[TestClient]:
    settings = Settings(home=served_home, secret=SECRET)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        key = Path(settings.home / "api-key").read_text().strip()
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


@pytest.fixture(scope="module")
def client(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served(trained, tmp_path_factory.mktemp("wire")) as client:
        yield client


def png(pixels: np.ndarray) -> bytes:
    """The file of a grey image, uint8 [H, W]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def digits(home: Path) -> tuple[np.ndarray, np.ndarray]:
    """Test images, uint8 [N, 1, 8, 8], and their labels."""
    backend = open_backend(Settings(home=home, secret=SECRET))
    with backend.db.reading() as session:
        dataset = registry.model_named(session, "digits").dataset_id
    batch = backend.samples.load(dataset, "test")
    backend.close()
    return batch.images, batch.labels
