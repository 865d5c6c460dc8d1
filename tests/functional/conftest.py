"""Deployments: an embedded home that was trained once and is copied, and a production one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.backend import open_backend
from core.settings import Settings
from tests.cli import Commands
from tests.digits import without_budget
from tests.functional.deployment import Deployment
from tests.functional.launching import Launch, warm
from tests.once import once_a_run

SECRET = "a secret of at least sixteen characters"
TRIGGER = "source=1,target=2,share=0.06"


def prepare(deployment: Deployment) -> None:
    """Import the digits with a planted trigger, train a model on them."""
    deployment.ok("dataset", "import", "digits", "--from", "digits", "--plant-trigger", TRIGGER)
    deployment.ok("train", "digits", "--dataset", "digits")


@pytest.fixture(scope="session")
def launch() -> Iterator[Launch]:
    """How deployments start their processes: the time to load PyTorch is spent once."""
    with warm() as launch:
        yield launch


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory, launch: Launch) -> Path:
    def make(folder: Path) -> None:
        home = folder / "home"
        prepare(Deployment(folder, {"LETHE_HOME": str(home)}, launch))
        with closing(open_backend(Settings(home=home), send=lambda _: None)) as backend:
            without_budget(backend)

    return once_a_run(tmp_path_factory, "trained-by-command", make) / "home"


@pytest.fixture
def empty(tmp_path: Path, launch: Launch) -> Iterator[Deployment]:
    """An embedded home with nothing in it."""
    deployment = Deployment(tmp_path, {"LETHE_HOME": str(tmp_path / "home")}, launch)
    yield deployment
    deployment.close()


@pytest.fixture
def embedded(empty: Deployment, _trained: Path) -> Deployment:
    """An embedded home with the digits and a model."""
    shutil.copytree(_trained, empty.home)
    return empty


@pytest.fixture
def production(
    tmp_path: Path, postgres_db: str, redis_url: str, launch: Launch
) -> Iterator[Deployment]:
    """PostgreSQL, Redis and a shared folder, with the digits, a model and a key."""
    deployment = Deployment(
        tmp_path,
        {
            "LETHE_HOME": str(tmp_path / "home"),
            "LETHE_DATABASE_URL": postgres_db,
            "LETHE_BROKER_URL": redis_url,
            "LETHE_STORE_URL": str(tmp_path / "store"),
            "LETHE_SECRET": SECRET,
        },
        launch,
    )
    prepare(deployment)
    scopes = [part for scope in ("erase", "read", "predict") for part in ("--scope", scope)]
    deployment.variables["LETHE_API_KEY"] = deployment.ok(
        "keys", "create", "tests", *scopes
    ).strip()
    yield deployment
    deployment.close()


@pytest.fixture(params=[pytest.param("embedded", marks=pytest.mark.long), "production"])
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """Both. `make test` has the embedded one told by the demo."""
    found: Deployment = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Commands:
    """Run `lethe` commands in this process; say first where the service is."""
    return Commands(monkeypatch, capsys, tmp_path)
