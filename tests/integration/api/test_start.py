"""Starting: what is prepared, what is made once, and what stands against it, in one line."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient

from core.errors import SettingsError
from core.settings import Settings
from service.app import create_app
from tests import factories, servers


def test_the_embedded_mode_sets_itself_up(settings: Settings) -> None:
    app = create_app(settings, "api")
    with TestClient(app) as client:
        key = app.state.first_key
        assert key.made
        assert key.path == settings.home / "api-key"
        assert stat.S_IMODE(key.path.stat().st_mode) == 0o600
        assert key.path.read_text().strip() == key.text
        headers = {"Authorization": f"Bearer {key.text}"}
        assert client.get("/keys", headers=headers).status_code == 200
    again = create_app(settings, "api")
    with TestClient(again):
        assert again.state.first_key.text == key.text
        assert not again.state.first_key.made


def test_nothing_is_touched_before_the_start(tmp_path: Path) -> None:
    create_app(Settings(home=tmp_path / "home"), "api").openapi()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("role", "unwanted"),
    [("api", {"torch", "unlearning"}), ("all", {"scipy.stats", "sklearn", "torchvision"})],
)
def test_what_a_role_needs_not_is_not_imported(role: str, unwanted: set[str]) -> None:
    code = (
        "import sys; from pathlib import Path; from core.settings import Settings;"
        f"from service.app import create_app; create_app(Settings(home=Path('x')), {role!r});"
        f"assert not {unwanted!r} & set(sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LETHE_")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def run(app: Any, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The error lines of a server that cannot start."""
    config = uvicorn.Config(app, port=0, log_config=None)
    server = uvicorn.Server(config)
    with caplog.at_level(logging.ERROR), pytest.raises(SystemExit):
        server.run()
    return [
        each.getMessage()
        for each in caplog.records
        if each.levelno >= logging.ERROR and each.name.startswith("uvicorn")
    ]


def test_a_production_database_must_be_current(
    settings: Settings, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with servers.postgres_database(postgres_url) as url:
        app = create_app(factories.other(settings, database_url=url), "api")
        with pytest.raises(SettingsError, match="lethe db upgrade"), TestClient(app):
            pass
        lines = run(app, caplog)
    assert "lethe db upgrade" in lines[0]
    assert all("\n" not in line for line in lines)


def test_a_current_one_starts_and_makes_no_key(settings: Settings, postgres_db: str) -> None:
    app = create_app(factories.other(settings, database_url=postgres_db), "api")
    with TestClient(app) as client:
        assert app.state.first_key is None
        assert client.get("/readyz").status_code == 200
    assert not (settings.home / "api-key").exists()


def test_a_database_that_is_not_there_is_one_line(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    url = "postgresql://nobody@127.0.0.1:9/none"
    lines = run(create_app(factories.other(settings, database_url=url), "api"), caplog)
    assert "the database does not answer" in lines[0]
    assert all("\n" not in line for line in lines)
