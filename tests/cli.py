"""Running `lethe` commands in the test's own process: fast, and counted by coverage."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lethe.cli import run


@dataclass
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


@dataclass
class Commands:
    """Runs commands with these LETHE_* variables, in this folder."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: str = "", **extra: str) -> Done:
        """Run one command to its end."""
        with self.monkeypatch.context() as patch:
            patch.chdir(self.folder)
            for name, value in {**self.variables, **extra}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            self.capsys.readouterr()
            status = run(list(arguments))
            said = self.capsys.readouterr()
        return Done(status, said.out, said.err)

    def ok(self, *arguments: str, **options: str) -> str:
        """Its stdout, once it has succeeded."""
        done = self(*arguments, **options)
        assert done.status == 0, done.err
        return done.out

    def json(self, *arguments: str, **options: str) -> Any:
        """Its one JSON value."""
        return json.loads(self.ok(*arguments, "--json", **options))

    def fails(self, *arguments: str, status: int = 1, **options: str) -> str:
        """The one line that it fails with."""
        done = self(*arguments, **options)
        assert done.status == status, f"{done.out}\n{done.err}"
        lines = [line for line in done.err.splitlines() if line.startswith("lethe: ")]
        assert len(lines) == 1, done.err
        return lines[0]
