"""`lethe demo`: what it prints holds, and it leaves nothing running."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import httpx
import pytest

from core.errors import LetheError
from lethe.demo.run import empty_home
from tests.functional.deployment import Deployment, Process

pytestmark = pytest.mark.timeout(600)


def running_under(home: Path) -> list[int]:
    """Processes whose LETHE_HOME is `home`."""
    found = []
    for each in Path("/proc").iterdir():
        try:
            if each.name.isdigit() and f"LETHE_HOME={home}".encode() in (
                each / "environ"
            ).read_bytes().split(b"\0"):
                found.append(int(each.name))
        except OSError:
            continue
    return found


def gone(home: Path, seconds: float) -> bool:
    """Has every process of this home ended, within so many seconds?"""
    until = time.monotonic() + seconds
    while running_under(home) and time.monotonic() < until:
        time.sleep(0.1)
    return not running_under(home)


def check_story(deployment: Deployment, said: str) -> None:
    """What the demo has printed, and the certificate that it has left."""
    assert re.search(r"Predictions meanwhile: \d{2,} answered, 0 failed, 0 from", said)
    assert re.search(r"versions 1 then \d+$", said, re.MULTILINE)
    assert "Forgotten by rfu_ss in" in said, "and not by retraining, which is the last rung"
    assert re.search(r"108 erased images: before in \d+ of \d+ files, now in 0 of", said)
    trigger = next(x for x in said.splitlines() if "planted trigger works" in x).split()
    before, after, retrained = (float(cell.rstrip("%")) for cell in trigger[-3:])
    assert before > 50
    assert after < 15
    assert retrained < 15
    certificate = re.search(r"Certificate: (\S+),", said)
    assert certificate is not None
    key = deployment.folder / "var" / "demo" / "certificate-key.pem"
    assert "holds" in deployment.ok("verify-certificate", certificate[1], "--key", str(key))


def test_its_story_holds_and_it_serves_on_until_ctrl_c(empty: Deployment) -> None:
    demo = empty.start("demo")
    demo.wait_for("Serving until Ctrl-C", 400)
    url = demo.wait_for("Starting the service on").split()[4]
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert demo.end(signal.SIGINT) == 0
    assert gone(empty.folder / "var" / "demo", 0.0)
    check_story(empty, demo.text)


@pytest.mark.long
def test_once(empty: Deployment) -> None:
    done = empty.lethe("demo", "--once", seconds=400)
    assert done.returncode == 0, done.stderr
    assert gone(empty.folder / "var" / "demo", 0.0)
    check_story(empty, done.stdout)


def start(empty: Deployment) -> tuple[Process, Path]:
    """A demo whose service and worker have just been started."""
    demo = empty.start("demo")
    demo.wait_for("POST /erasure-requests", 300)
    home = empty.folder / "var" / "demo"
    assert len(running_under(home)) >= 2
    return demo, home


@pytest.mark.long
def test_ctrl_c_ends_the_children_too(empty: Deployment) -> None:
    demo, home = start(empty)
    assert demo.end(signal.SIGINT) == 130
    assert gone(home, 0.0)
    assert "Traceback" not in demo.text
    assert demo.text.splitlines()[-1] == "lethe: stopped"


@pytest.mark.long
def test_a_killed_demo_leaves_nothing_running(empty: Deployment) -> None:
    demo, home = start(empty)
    os.kill(demo.popen.pid, signal.SIGKILL)
    demo.popen.wait()
    assert gone(home, 40.0)


def test_only_its_own_folder_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("the only copy")
    with pytest.raises(LetheError, match="no demo made it"):
        empty_home(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
    home = empty_home(tmp_path / "new")
    (home / "store").mkdir()
    assert not (empty_home(home) / "store").exists()
