"""`make test`: all tests with coverage, its gates, and what was left out for want of data.

python -m tests.run [--all] [pytest's own options]

The browser tests need Chromium: root has it installed by apt-get where it is missing, others
are told. Their screenshots are left under var/screenshots.

A file's tests run in one process, files side by side: a process more than there are cores, for
much of a test is waiting, five at most, each with servers of its own. PyTorch gets one thread in
each. Files are taken in the order of their folders, functional tests, which are the longest,
first: what comes at the end is short.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.browser import chromium

ROOT = Path(__file__).resolve().parent.parent
OVERALL = 95
WHOLE = "core/*,unlearning/*"
"""Packages of which every line must be run."""
NEEDS_A_GPU = "unlearning/*cuda*"
SIDE_BY_SIDE = [
    f"--numprocesses={min(len(os.sched_getaffinity(0)) + 1, 5)}",
    "--dist=loadfile",
    "--no-loadscope-reorder",  # by the number of their tests, the longest files would come last
]


def main(arguments: list[str]) -> int:
    """Run the tests, then the gates; returns the exit status."""
    everything = "--all" in arguments
    others = [argument for argument in arguments if argument != "--all"]
    began = time.monotonic()
    if chromium.find_or_install() is None:
        say(f"FAILED: {chromium.MISSING}")
        return 1
    python("coverage", "erase")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        chosen = [] if everything else ["-m", "not long"]
        options = [f"--junitxml={report}", *SIDE_BY_SIDE, *chosen, *others]
        status = python("coverage", "run", "-m", "pytest", *options)
        left_out = skipped(report)
    python("coverage", "combine", "--quiet")
    gates = gate("overall", OVERALL) and gate("core and unlearning", 100, WHOLE)
    for name, reason in left_out:
        say(f"skipped: {name}: {reason}")
    say(f"{time.monotonic() - began:.0f} seconds, {len(left_out)} tests skipped")
    return status or (0 if gates else 1)


def say(text: str) -> None:
    """A line, before whatever a subprocess writes next."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def python(*arguments: str) -> int:
    """Run a module with this interpreter."""
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, check=False).returncode


def gate(name: str, least: int, include: str | None = None) -> bool:
    """Report the coverage of some files; False when it is under its gate."""
    command = ["coverage", "report", "--skip-covered", f"--fail-under={least}"]
    if include:
        command += [f"--include={include}", f"--omit={NEEDS_A_GPU}"]
    say(f"\nCoverage, {name}: at least {least} %")
    good = python(*command) == 0
    if not good:
        say(f"FAILED: the coverage of {name} is under {least} %")
    return good


def skipped(report: Path) -> list[tuple[str, str]]:
    """Tests that did not run, and why."""
    if not report.is_file():  # pytest did not get so far
        return []
    tree = ET.parse(report)
    return [
        (f"{case.get('classname')}.{case.get('name')}", why.get("message", ""))
        for case in tree.iter("testcase")
        if (why := case.find("skipped")) is not None
    ]


if __name__ == "__main__":
    os.chdir(ROOT)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Images of containers often set it: each `lethe` would compile PyTorch's modules anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.exit(main(sys.argv[1:]))
