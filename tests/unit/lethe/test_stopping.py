"""Ctrl-C and SIGTERM raise in the main thread, but never inside an import."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lethe import stopping

pytestmark = pytest.mark.timeout(60)

_INTERRUPTED = """
import signal, time
signal.raise_signal(signal.{name})
time.sleep(0.2)
complete = True
"""


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stopping.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_each_signal_raises_its_own() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(stopping.Terminated) as caught:
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 143


@pytest.mark.parametrize(
    ("name", "raised"), [("SIGINT", KeyboardInterrupt), ("SIGTERM", stopping.Terminated)]
)
def test_an_import_ends_before_the_signal_counts(
    name: str, raised: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"stopped_by_{name.lower()}"
    (tmp_path / f"{module}.py").write_text(_INTERRUPTED.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()

    def load_and_wait() -> None:
        importlib.import_module(module)
        time.sleep(10)  # the signal cuts it short

    with pytest.raises(raised):
        load_and_wait()
    assert sys.modules.pop(module).complete


def test_ctrl_c_while_the_command_loads(tmp_path: Path) -> None:
    never = tmp_path / "map.fifo"
    os.mkfifo(never)
    command = ["lethe", "dataset", "import", "digits", "--from", "digits", "--subjects", str(never)]
    code = (
        "import signal, sys\n"
        "class At:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'lethe.cli':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, At())\n"
        f"sys.argv = {command}\n"
        "from lethe.__main__ import main\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stderr) == (130, "lethe: stopped\n")
