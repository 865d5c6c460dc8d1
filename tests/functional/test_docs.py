"""Every command in the README and the guides runs, in order, as it is written there."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.functional.launching import Launch
from tests.functional.relay import executable
from tests.servers import free_port
from tests.unit.lethe.test_sources import parquet, png

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    "README.md",
    "docs/guides/predicting.md",
    # `make test` has time for a few; what the others call, integration tests call too.
    *(
        pytest.param(f"docs/guides/{name}.md", marks=pytest.mark.long)
        for name in ("first-erasure", "own-data", "callbacks", "opendsr", "capacity", "clients")
    ),
]

# `lethe serve` listens on a free port and the page goes on once it answers, as a person would
# who waits for "Serving on". Whatever the page leaves running is ended by id.
PREAMBLE = """
set -euo pipefail
trap 'status=$?; kill $(jobs -p) 2>/dev/null || true; wait; exit $status' EXIT
lethe() {
  case "$1" in  # what the pages run with `&`: exec, so that the job's id is the process's
    serve) shift; exec "$LETHE" serve --port "$PORT" "$@" ;;
    worker) exec "$LETHE" worker ;;
    *) "$LETHE" "$@" ;;
  esac
}
ready() {
  for _ in $(seq 300); do curl -sf "$LETHE_URL/readyz" >/dev/null && return; sleep 0.2; done
  echo "the service did not become ready" >&2; return 1
}
"""


def programs(page: Path) -> list[str]:
    """The page's Python, which runs before its commands."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def files(page: Path) -> dict[str, str]:
    """The files that the page has its reader write: blocks that have a name beside `python`."""
    blocks = r"^```python (\S+)\n(.*?)^```"
    return dict(re.findall(blocks, page.read_text(), re.DOTALL | re.MULTILINE))


def commands(page: Path) -> list[str]:
    """The lines after `$` in the page's console blocks."""
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def script(page: Path, replaced: dict[str, str]) -> str:
    """The page as a shell script."""
    lines = [PREAMBLE]
    for command in commands(page):
        for old, new in replaced.items():
            command = command.replace(old, new)
        lines += [f"echo '$ {command.split()[0]} ...' >&2", command]
        if command.startswith("lethe serve"):
            lines.append("ready")
    return "\n".join(lines)


def what_the_guides_assume(folder: Path) -> None:
    """A picture of a digit, folders of photographs, a Parquet file and a CSV file."""
    (folder / "seven.png").write_bytes(png(99, size=(8, 8)))
    for name, of_each, first in (("photos", 60, 0), ("more", 20, 60)):
        for label in ("cat", "dog"):
            (folder / name / label).mkdir(parents=True)
            for i in range(of_each):
                picture = png(first + i, size=(8, 8))
                (folder / name / label / f"{i:03d}.png").write_bytes(picture)
    with (folder / "people.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["sample_id", "subject_id"])
        rows.writerows([f"train/{i:05d}", f"person {i // 2}"] for i in range(120))
    subjects: list[object] = [f"person {i}" for i in range(120)]
    parquet(folder / "photos.parquet", rows=120, subject=subjects)


def run(page: Path, folder: Path, launch: Launch, replaced: dict[str, str] | None = None) -> None:
    """Run the page's commands in a folder of their own."""
    what_the_guides_assume(folder)
    for name, text in files(page).items():
        for old, new in (replaced or {}).items():
            text = text.replace(old, new)
        (folder / name).write_text(text)
    for program in programs(page):
        subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)
    with TemporaryDirectory() as apart, executable(Path(apart), launch) as lethe:
        _run_commands(page, folder, lethe, replaced or {})


def _run_commands(page: Path, folder: Path, lethe: Path, replaced: dict[str, str]) -> None:
    port = free_port()
    bash = subprocess.Popen(
        ["bash", "-c", script(page, replaced)],
        cwd=folder,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(folder),
            "LETHE": str(lethe),
            "LETHE_URL": f"http://127.0.0.1:{port}",
            "PORT": str(port),
            "OMP_NUM_THREADS": "1",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = bash.communicate(timeout=500)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(bash.pid, signal.SIGKILL)
    assert bash.returncode == 0, said
    assert "Traceback" not in said
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the page left its service running"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES)
def test_a_page(page: str, tmp_path: Path, launch: Launch) -> None:
    run(ROOT / page, tmp_path, launch, {"8099": str(free_port())})


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_production_guide(
    tmp_path: Path, launch: Launch, postgres_url: str, redis_url: str
) -> None:
    from tests.servers import postgres_database

    with postgres_database(postgres_url) as url:
        run(
            ROOT / "docs/guides/production.md",
            tmp_path,
            launch,
            {
                "postgresql://lethe:password@db/lethe": f"'{url}'",
                "redis://redis:6379/0": redis_url,
                "/srv/lethe": str(tmp_path / "store"),
                "/etc/lethe": str(tmp_path / "home"),
            },
        )


def test_make_runs_what_the_readme_says() -> None:
    """`make demo` and `make test` are the test's own surroundings: here only their recipes."""
    for target, recipe in (("demo", "lethe demo"), ("test", "python -m tests.run")):
        done = subprocess.run(
            ["make", "--dry-run", "--always-make", target],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert recipe in done.stdout
