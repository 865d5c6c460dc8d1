"""Killed at every named point, run again: the outcome is that of a run nobody disturbed.

Real processes; SIGKILL takes a whole worker, or the service, at the point. `make test` tries
SAMPLE, `make test-all` every point, on SQLite with files and on PostgreSQL with Redis.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx
import pytest

from core.points import POINTS
from core.settings import Settings
from tests import servers
from tests.functional.deployment import Deployment, Process
from tests.functional.launching import Launch
from tests.functional.outcome import Outcome, Start, look, pictures, prepare
from tests.receiving import ALLOW, Receiver, receiver

pytestmark = pytest.mark.timeout(600)

SECRET = "a secret of at least sixteen characters"
QUICK = {
    "LETHE_LEASE_SECONDS": "2",
    "LETHE_REPLICA_LEASE_SECONDS": "2",
    "LETHE_SWEEP_SECONDS": "0.3",
    "LETHE_POLL_SECONDS": "0.1",
    "LETHE_CHECKPOINT_SECONDS": "0.01",
    "LETHE_CALLBACK_ALLOW": ALLOW,
    "LETHE_CALLBACK_HTTP": "true",
}

SERVICE = [name for name in POINTS if name.startswith(("intake", "swap", "wake"))]
NTH = {
    "swap:loaded": 2,  # the first is the load at the start
    "swap:announced": 2,
    "swap:done": 2,
    "unlearn:step": 6,
    "checkpoint:after-write": 2,  # the first is a teacher's: one of its references is erased
    "checkpoint:after-rename": 2,
}
WORKER = [name for name in POINTS if name not in SERVICE]
SAMPLE = [  # of `make test`: a worker on servers, a service without
    ("production", "publish:before-commit"),
    ("embedded", "intake:before-commit"),
]


def chosen(points: list[str]) -> list[object]:
    """Every point on both kinds of deployment; all but the sample are long."""
    return [
        pytest.param(
            kind,
            f"{point}:{NTH.get(point, 1)}",
            id=f"{kind}-{point}",
            marks=[] if (kind, point) in SAMPLE else pytest.mark.long,
        )
        for kind in ("embedded", "production")
        for point in points
    ]


@dataclass(frozen=True)
class Template:
    """A prepared home of one kind, and the database beside it if it is not in the home."""

    home: Path
    start: Start
    database: str | None


Deploy = Callable[[str, bool], tuple[Deployment, Start]]


@pytest.fixture(scope="module")
def taker() -> Iterator[Receiver]:
    """Who is called back, in every run."""
    with receiver() as found:
        yield found


@pytest.fixture(scope="module")
def template(
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    taker: Receiver,
    trained: Path,
) -> Iterator[Callable[[str, bool], Template]]:
    """Makes each kind of home once."""
    databases = []

    @cache
    def make(kind: str, queued: bool) -> Template:
        home = tmp_path_factory.mktemp(kind) / "home"
        home.mkdir()
        url = None
        if kind == "production":
            made = servers.postgres_database(request.getfixturevalue("postgres_url"))
            url = made.__enter__()
            databases.append(made)
        settings = Settings(home=home, secret=SECRET, database_url=url)
        start = prepare(settings, trained, queued=queued, callback_url=taker.url)
        return Template(home, start, url)

    yield make
    for made in databases:
        made.__exit__(None, None, None)


@pytest.fixture
def deploy(
    template: Callable[[str, bool], Template],
    tmp_path: Path,
    launch: Launch,
    request: pytest.FixtureRequest,
) -> Iterator[Deploy]:
    """Copies a home, and its database, for one run."""
    opened = []

    def copy(kind: str, queued: bool = True) -> tuple[Deployment, Start]:
        made = template(kind, queued)
        folder = tmp_path / str(len(opened))
        shutil.copytree(made.home, folder / "home")
        variables = {"LETHE_HOME": str(folder / "home"), "LETHE_SECRET": SECRET, **QUICK}
        variables["LETHE_API_KEY"] = made.start.key
        database = None
        if made.database is not None:
            server = request.getfixturevalue("postgres_url")
            database = servers.postgres_database(server, template=made.database)
            variables["LETHE_DATABASE_URL"] = database.__enter__()
            variables["LETHE_BROKER_URL"] = request.getfixturevalue("redis_url")
        deployment = Deployment(folder, variables, launch)
        opened.append((deployment, database))
        return deployment, made.start

    yield copy
    for deployment, database in opened:
        deployment.close()
        if database is not None:
            database.__exit__(None, None, None)


_undisturbed: dict[tuple[str, bool], Outcome] = {}


@pytest.fixture
def undisturbed(deploy: Deploy) -> Callable[[str, bool], Outcome]:
    """What the same home is like after a run that nobody disturbed; made once a kind."""

    def of(kind: str, queued: bool) -> Outcome:
        if (kind, queued) not in _undisturbed:
            deployment, start = deploy(kind, queued)
            deployment.serve()
            deployment.start("worker")
            if not queued:
                assert post(deployment).status_code == 202
            _undisturbed[kind, queued] = ended(deployment, start)
        return _undisturbed[kind, queued]

    return of


def post(deployment: Deployment) -> httpx.Response:
    """The request that the runs of the service's front make, always the same."""
    return httpx.post(
        f"{deployment.url}/erasure-requests",
        json={"model": "digits", "subject_id": "subject-trigger"},
        headers={
            "Authorization": f"Bearer {deployment.variables['LETHE_API_KEY']}",
            "Idempotency-Key": "once",
        },
        timeout=30,
    )


def ended(deployment: Deployment, start: Start) -> Outcome:
    """Wait until everything asked for is done, stop every process, and look."""
    with deployment.client() as client:
        for request in list(client.erasure_requests()):
            assert client.wait(request, timeout=240).status == "completed"
        wait_for_swap(deployment)
        wait_for_callbacks(deployment)
        answers = client.predict("digits", pictures())
    alive = [p for p in deployment.processes if p.popen.poll() is None]
    for process in alive:
        process.popen.send_signal(signal.SIGTERM)
    for process in alive:
        assert process.popen.wait(60) == 0, process.text
        assert "Traceback" not in process.text, process.text
    values = {
        name.removeprefix("LETHE_").lower(): value
        for name, value in deployment.variables.items()
        if name != "LETHE_API_KEY"
    }
    predicted = (answers.version, [(p.label, round(p.probability, 6)) for p in answers.predictions])
    return look(Settings(**values), predicted, start.patterns)


def wait_for_swap(deployment: Deployment) -> None:
    """Until the replica serves what is published; a replica that was killed loads it at start."""
    with deployment.client() as client:
        until = time.monotonic() + 60
        while True:
            model = client.model("digits")
            served = client.predict("digits", pictures()[:1]).version
            if model.serving is not None and model.serving.version == served:
                return
            assert time.monotonic() < until, f"{served} is served, {model.serving} published"
            time.sleep(0.1)


def wait_for_callbacks(deployment: Deployment) -> None:
    """Until every callback has arrived; one whose sender was killed is sent again in a while."""
    headers = {"Authorization": f"Bearer {deployment.variables['LETHE_API_KEY']}"}
    until = time.monotonic() + 120
    while True:
        query = {"status": "pending"}
        answer = httpx.get(f"{deployment.url}/deliveries", params=query, headers=headers)
        waiting = answer.json()["items"]
        if not waiting:
            return
        assert time.monotonic() < until, waiting
        time.sleep(0.1)


def killed(process: Process, point: str, seconds: float = 120.0) -> None:
    """It dies by itself at the point."""
    try:
        status = process.popen.wait(seconds)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{point} was not reached: {process.text}") from None
    assert status == -signal.SIGKILL, process.text
    assert "killed at" in process.text


@pytest.mark.parametrize(("kind", "point"), chosen(WORKER))
def test_a_worker_killed(
    deploy: Deploy, undisturbed: Callable[[str, bool], Outcome], kind: str, point: str
) -> None:
    expected = undisturbed(kind, True)
    deployment, start = deploy(kind, True)
    deployment.serve()
    killed(deployment.start("worker", crash_at=point), point)
    deployment.start("worker").wait_for("ready")
    assert ended(deployment, start) == expected


@pytest.mark.long
@pytest.mark.parametrize("kind", ["embedded", "production"])
def test_a_callback_cut_short_comes_again_under_its_id(
    deploy: Deploy, taker: Receiver, kind: str
) -> None:
    deployment, start = deploy(kind, True)
    deployment.serve()
    before = len(taker.got)
    killed(deployment.start("worker", crash_at="callback:sent"), "callback:sent")
    [first] = taker.got[before:]
    deployment.start("worker").wait_for("ready")
    ended(deployment, start)
    again = [got for got in taker.got[before:] if got.body == first.body]
    assert len(again) == 2, "sent, and as nobody had written that down, sent again"
    assert len({got.headers["webhook-id"] for got in again}) == 1


@pytest.mark.parametrize(("kind", "point"), chosen(SERVICE))
def test_the_service_killed(
    deploy: Deploy, undisturbed: Callable[[str, bool], Outcome], kind: str, point: str
) -> None:
    swapping = point.startswith("swap")
    expected = undisturbed(kind, swapping)
    deployment, start = deploy(kind, swapping)
    service = deployment.serve(crash_at=point)
    port = deployment.url.rsplit(":", 1)[-1]
    if swapping:
        deployment.start("worker")
    else:
        # Nobody who asks waits for the wake-up: the answer may have been faster.
        answered_first = suppress if point.startswith("wake:before") else pytest.raises
        with answered_first(httpx.TransportError):
            post(deployment)
    killed(service, point)
    deployment.serve("--port", port)
    if not swapping:
        assert post(deployment).status_code == 202, "the client asks again, with the same key"
        deployment.start("worker")
        assert ended(deployment, start).without_seed() == expected.without_seed()
    else:
        assert ended(deployment, start) == expected
