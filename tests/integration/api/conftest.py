"""Fixtures of the HTTP tests: a service with one data set and one model, in a home of its own.

api_settings   embedded settings; the home holds data set "people" and model "digits", served
api_app        the application, role "api"
api            a client of it that is started, with a key of all scopes (Starlette's TestClient)
api_quiet      the same, once a run: for tests that leave nothing behind
api_backend    the backend that it runs on
api_key        api_key("read", ...) makes a key: headers for a call
admin        admin("review", ...) signs in to the dashboard with such a key: a client of it
api_hand     claims jobs and moves them along, as a worker would
api_server     a second application on the same home behind a real uvicorn, in a thread: its URL
api_server_app that application
lethe        runs `lethe` commands against api_server, with the key of all scopes
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from core import keys
from core.backend import Backend, open_backend
from core.migrate import upgrade
from core.settings import Settings
from tests import factories
from tests.cli import Commands
from tests.conftest import SECRET
from tests.integration.api.hand import Hand

MakeKey = Callable[..., dict[str, str]]
SignIn = Callable[..., TestClient]


def _settings(home: Path) -> Settings:
    # Once-a-run fixtures come before the one that hides the environment: hide it here.
    return Settings(
        home=home,
        secret=SECRET,
        database_url=None,
        broker_url=None,
        store_url=None,
        signing_key=None,
        poll_seconds=0.05,
        max_body_bytes=200_000,
    )


@pytest.fixture(scope="session")
def _api_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("api") / "home"
    home.mkdir()
    backend = open_backend(_settings(home))
    upgrade(backend.db)
    factories.with_model(backend)
    backend.close()
    return home


@pytest.fixture
def api_settings(tmp_path: Path, _api_home: Path) -> Settings:
    home = tmp_path / "home"
    shutil.copytree(_api_home, home)
    return _settings(home)


@pytest.fixture
def api_app(api_settings: Settings) -> FastAPI:
    from service.app import create_app

    return create_app(api_settings, "api")


@pytest.fixture
def api(api_app: FastAPI) -> Iterator[TestClient]:
    with TestClient(api_app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {api_app.state.first_key.text}"
        yield client


@pytest.fixture(scope="session")
def api_quiet(tmp_path_factory: pytest.TempPathFactory, _api_home: Path) -> Iterator[TestClient]:
    from service.app import create_app

    home = tmp_path_factory.mktemp("quiet") / "home"
    shutil.copytree(_api_home, home)
    app = create_app(_settings(home), "api")
    with TestClient(app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {app.state.first_key.text}"
        yield client


@pytest.fixture
def api_backend(api: TestClient, api_app: FastAPI) -> Backend:
    backend: Backend = api_app.state.backend
    return backend


@pytest.fixture
def api_key(api_backend: Backend) -> MakeKey:
    def make(*scopes: str) -> dict[str, str]:
        with api_backend.db.transaction() as tx:
            _, text = keys.create(tx, "a test's", list(scopes))
        return {"Authorization": f"Bearer {text}"}

    return make


@pytest.fixture
def api_hand(api_backend: Backend) -> Hand:
    return Hand(api_backend)


@pytest.fixture
def api_server_app(api_settings: Settings) -> FastAPI:
    from service.app import create_app

    return create_app(api_settings, "api")


@pytest.fixture
def api_server(api: TestClient, api_server_app: FastAPI) -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(api_server_app, log_level="error", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)

    async def serve() -> None:
        api_server_app.state.loop = asyncio.get_running_loop()
        await server.serve(sockets=[listening])

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture
def admin(api: TestClient, api_app: FastAPI, api_key: MakeKey) -> SignIn:
    def sign_in(*scopes: str) -> TestClient:
        client = TestClient(api_app, raise_server_exceptions=False, follow_redirects=False)
        client.headers["Origin"] = str(client.base_url)
        key = api_key(*scopes)["Authorization"].removeprefix("Bearer ")
        answer = client.post("/admin/sign-in", data={"key": key})
        assert answer.status_code == 303, answer.text
        return client

    return sign_in


@pytest.fixture
def lethe(
    api_server: str,
    api_app: FastAPI,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Commands:
    key = api_app.state.first_key.text
    return Commands(monkeypatch, capsys, tmp_path, {"LETHE_URL": api_server, "LETHE_API_KEY": key})
