"""`lethe`, armed: killed as by SIGKILL at the n-th time that it reaches a named point.

python -m tests.functional.crashing POINT[:N] COMMAND...

The process and all that it started are killed at once, as when a machine stops. This is the
only code that ends anything at a point of `core.points`, and it is not installed with Lethe.
"""

from __future__ import annotations

import os
import signal
import sys

from core import points
from lethe.__main__ import main


def arm(where: str) -> None:
    """Kill this process's group at the point `where`, "NAME" or "NAME:N"; N counts all forks."""
    name, _, nth = where.rpartition(":")
    if not nth.isdigit():
        name, nth = where, "1"
    assert name in points.POINTS, f"{name} is not one of {', '.join(points.POINTS)}"
    assert os.getpgrp() == os.getpid(), "it would take whoever started it along"
    left = int(nth)

    def watch(reached: str) -> None:
        nonlocal left
        left -= reached == name
        if reached == name and left == 0:
            os.write(2, f"killed at {name}\n".encode())
            os.killpg(0, signal.SIGKILL)

    points.watch(watch)


if __name__ == "__main__":
    arm(sys.argv[1])
    del sys.argv[1]
    main()
