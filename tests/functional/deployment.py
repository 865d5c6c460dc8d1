"""Lethe as its users run it: real `lethe` processes, told where things are by LETHE_*."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from lethe import Client
from tests.functional.launching import Launch, Running, from_scratch


@dataclass
class Process:
    """A running `lethe` command and what it has written."""

    popen: Running
    log: Path

    @property
    def text(self) -> str:
        """All it wrote, stdout and stderr."""
        return self.log.read_text(errors="replace")

    def wait_for(self, words: str, seconds: float = 120.0) -> str:
        """The first line that has these words; fails when it ends or stays silent."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for line in self.text.splitlines():
                if words in line:
                    return line
            assert self.popen.poll() is None, f"it ended with {self.popen.returncode}: {self.text}"
            time.sleep(0.05)
        raise AssertionError(f"no {words!r} after {seconds} s in: {self.text}")

    def end(self, number: int = signal.SIGTERM, seconds: float = 60.0) -> int:
        """Send the signal, wait, return the exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.popen.wait(seconds)


@dataclass
class Deployment:
    """One home, or one database and broker, and the processes that work on it; `launch`: how
    these are started."""

    folder: Path
    variables: dict[str, str]
    launch: Launch = from_scratch
    url: str = ""
    processes: list[Process] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What every command gets: nothing of the tester's own settings but coverage's."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LETHE_")}
        url = {"LETHE_URL": self.url} if self.url else {}
        return {**kept, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **self.variables, **url}

    def lethe(
        self, *arguments: str, stdin: str | None = None, seconds: float = 200.0, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        with TemporaryFile() as given, TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            given.write((stdin or "").encode())
            given.seek(0)
            running = self.launch(
                arguments,
                environment={**self.environment, **extra},
                folder=self.folder,
                files=(given.fileno(), out.fileno(), err.fileno()),
            )
            try:
                status = running.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()
                raise
            for file in (out, err):
                file.seek(0)
            return subprocess.CompletedProcess(arguments, status, out.read(), err.read())

    def ok(self, *arguments: str, **options: Any) -> str:
        """Its stdout, once it has succeeded."""
        done = self.lethe(*arguments, **options)
        assert done.returncode == 0, f"lethe {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def json(self, *arguments: str, **options: Any) -> Any:
        """Its one JSON value."""
        return json.loads(self.ok(*arguments, "--json", **options))

    def fails(self, *arguments: str, status: int = 1, **options: Any) -> str:
        """The one line that it fails with."""
        done = self.lethe(*arguments, **options)
        assert done.returncode == status, f"{done.returncode}: {done.stdout} {done.stderr}"
        assert "Traceback" not in done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith("lethe: ")]
        assert len(lines) == 1, done.stderr
        return lines[0]

    def start(self, *arguments: str, crash_at: str | None = None) -> Process:
        """Start a command and leave it running; `crash_at`: see tests.functional.crashing."""
        log = self.folder / f"{arguments[0]}-{len(self.processes)}.log"
        with log.open("wb") as output, Path(os.devnull).open("rb") as nothing:
            popen = self.launch(
                arguments,
                environment=self.environment,
                folder=self.folder,
                files=(nothing.fileno(), output.fileno(), output.fileno()),
                crash_at=crash_at,
            )
        self.processes.append(Process(popen, log))
        return self.processes[-1]

    def serve(self, *options: str, crash_at: str | None = None) -> Process:
        """Start the service on a free port and wait until it is ready."""
        process = self.start("serve", "--port", "0", *options, crash_at=crash_at)
        self.url = process.wait_for("Serving on").split()[-1]
        with self.client() as client:
            until = time.monotonic() + 120
            while not client.ready():
                assert process.popen.poll() is None, process.text
                assert time.monotonic() < until, process.text
                time.sleep(0.05)
        return process

    def client(self) -> Client:
        """A client with the key in force."""
        key = self.variables.get("LETHE_API_KEY")
        return Client(self.url, key or (self.home / "api-key").read_text().strip())

    @property
    def home(self) -> Path:
        """LETHE_HOME."""
        return Path(self.variables["LETHE_HOME"])

    def close(self) -> None:
        """End whatever still runs, by id: told twice, a worker hands its job back at once."""
        running = [process for process in self.processes if process.popen.poll() is None]
        for process in running * 2:
            process.popen.send_signal(signal.SIGTERM)
            time.sleep(0.1)  # or two signals would be one
        for process in running:
            try:
                process.popen.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(process.popen.pid, signal.SIGKILL)
                process.popen.wait()
