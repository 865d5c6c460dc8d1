"""`make test-compose`: finds out whether there is an engine, then runs the tests beside this file.

python -m tests.compose [pytest's own options]
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
NONE = """\
make test-compose needs a Docker engine and Compose 2.20 or newer, and there is none to be had here:
  {reason}
Start one (https://docs.docker.com/engine/install/), or set DOCKER_HOST to where one listens.
"""


def missing() -> str | None:
    """Why there is no engine; None when there is one."""
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except FileNotFoundError:
            return "there is no `docker` command"
        except subprocess.TimeoutExpired:
            return f"`{' '.join(command)}` does not answer"
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            return f"`{' '.join(command)}`: {said[-1] if said else done.returncode}"
    return None


def main(options: list[str]) -> NoReturn:
    """Become pytest, which on Ctrl-C takes the stack down; status 2 where there is no engine."""
    reason = missing()
    if reason:
        sys.stderr.write(NONE.format(reason=reason))
        sys.exit(2)
    command = [sys.executable, "-m", "pytest", "-v", "--exitfirst", "--durations=0", str(HERE)]
    os.execve(sys.executable, [*command, *options], os.environ | {"LETHE_TEST_COMPOSE": "1"})


if __name__ == "__main__":
    main(sys.argv[1:])
