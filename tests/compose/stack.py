"""docker-compose.yml as its users run it, under a project name of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from lethe import Client

ROOT = Path(__file__).resolve().parents[2]
FILES = ("docker-compose.yml", "tests/compose/quick.yml")
IMAGES = {"LETHE_API_IMAGE": "api", "LETHE_ML_IMAGE": "ml", "LETHE_FRONT_IMAGE": "front"}


@dataclass
class Stack:
    """One project: its containers, volumes and networks all carry `name`."""

    name: str
    port: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """The tester's own, without what would change what is tested."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LETHE_", "COMPOSE_"))}
        return {
            **kept,
            **{variable: f"lethe-{target}:test" for variable, target in IMAGES.items()},
            "LETHE_INDEX_FILE": os.environ.get("LETHE_INDEX_FILE", ""),
            "COMPOSE_FILE": ":".join(str(ROOT / name) for name in FILES),
            "COMPOSE_PROJECT_NAME": self.name,
            "LETHE_PORT": str(self.port),
        }

    def compose(self, *arguments: str, seconds: float = 120.0, check: bool = True) -> str:
        """`docker compose ...`; returns its stdout. Fails with what it said on both."""
        return self._docker("compose", *arguments, seconds=seconds, check=check)

    def docker(self, *arguments: str, seconds: float = 60.0) -> str:
        """`docker ...`; returns its stdout."""
        return self._docker(*arguments, seconds=seconds, check=True)

    def _docker(self, *arguments: str, seconds: float, check: bool) -> str:
        done = subprocess.run(
            ["docker", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        said = f"{done.stdout}{done.stderr}"
        assert not check or done.returncode == 0, (
            f"docker {' '.join(arguments)} ended with {done.returncode}:\n{said}"
        )
        return done.stdout

    def build(self) -> None:
        """Build the three images, each once."""
        for service in ("api", "inference", "front"):
            self.compose("build", "--quiet", service, seconds=1500)

    def up(self, *options: str) -> None:
        """Bring all up and wait until every part is healthy, or has done its work."""
        try:
            self.compose("up", "--detach", "--no-build", "--wait", *options, seconds=400)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None
        self.find()

    def find(self) -> None:
        """Learn the port, which the engine chooses anew for each container of the front."""
        self.port = int(self.compose("port", "front", "8000").strip().rpartition(":")[2])

    def remove(self) -> None:
        """Take all down, volumes included."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", seconds=180)

    def logs(self, service: str = "") -> str:
        """The end of what each container wrote."""
        named = [service] if service else []
        return self.compose("logs", "--no-color", "--tail", "40", *named, check=False)

    def containers(self, service: str) -> list[str]:
        """The ids of a service's running containers."""
        return self.compose("ps", "--quiet", service).split()

    def inspect(self, container: str) -> dict[str, Any]:
        """What the engine knows of a container."""
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", container))
        return found[0]

    def health(self, container: str) -> str:
        """What the engine last found: starting, healthy or unhealthy."""
        found: str = self.inspect(container)["State"]["Health"]["Status"]
        return found

    def inside(self, container: str, *command: str) -> str:
        """Run a command in a running container."""
        return self.docker("exec", container, *command)

    def crash(self, container: str) -> None:
        """SIGKILL every process in it, as the kernel does when memory has run out: the engine
        starts the container again, unlike after `docker kill`."""
        subprocess.run(
            ["docker", "exec", container, "sh", "-c", "kill -9 -1"],
            env=self.environment,
            capture_output=True,
            timeout=60,
            check=False,  # its shell dies as well
        )

    @property
    def url(self) -> str:
        """The one address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        """The key that the first start made."""
        return self.compose("exec", "-T", "api", "cat", "/var/lib/lethe/api-key").strip()

    def client(self) -> Client:
        """A client of the one address, as patient as a restart takes."""
        return Client(self.url, self.key, retries=60)


def until(true: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    """Wait for it; what cannot be reached is not true yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            if true():
                return
        except (httpx.TransportError, AssertionError):
            pass
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.3)
