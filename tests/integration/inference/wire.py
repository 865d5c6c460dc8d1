"""A service with a model of the digits, called over HTTP as bytes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from core.settings import Settings
from service.app import create_app
from tests.conftest import SECRET

INFER = "/v2/models/digits/infer"
BLANK: dict[str, Any] = {
    "name": "image",
    "datatype": "FP32",
    "shape": [1, 1, 8, 8],
    "data": [0.0] * 64,
}


@contextmanager
def served(trained: Path, folder: Path) -> Iterator[TestClient]:
    """A client with a key of all scopes; bodies may have 50,000 bytes."""
    home = folder / "home"
    shutil.copytree(trained, home)
    app = create_app(Settings(home=home, secret=SECRET, max_body_bytes=50_000))
    with TestClient(app, raise_server_exceptions=False) as client:
        key = (home / "api-key").read_text().strip()
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


def error_of(answer: Any, status: int) -> str:
    """The one thing that an error says."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert list(body) == ["error"]
    assert isinstance(body["error"], str)
    assert body["error"]
    assert answer.headers["X-Request-ID"]
    found: str = body["error"]
    return found


def infer(client: TestClient, *, path: str = INFER, **changed: Any) -> Any:
    """The answer to one blank picture, or to what was changed of that."""
    return client.post(path, json={"inputs": [BLANK]} | changed)
