"""An executable that shell scripts call for `lethe`, forked from the tests' warm process."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.functional.launching import Launch, Running

CALLED = Path(__file__).with_name("by_fork.py")


@contextmanager
def executable(folder: Path, launch: Launch) -> Iterator[Path]:
    """The path of the executable; what was started by it ends with the block."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    address = folder / "relay"
    listening.bind(str(address))
    listening.listen(16)
    script = folder / "lethe"
    command = [sys.executable, "-I", "-S", str(CALLED), str(address)]
    script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    script.chmod(0o755)
    started: list[Running] = []
    threading.Thread(target=_serve, args=(listening, launch, started), daemon=True).start()
    try:
        yield script
    finally:
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for running in started:
            with suppress(ProcessLookupError):
                running.send_signal(signal.SIGKILL)


def _serve(listening: socket.socket, launch: Launch, started: list[Running]) -> None:
    while True:
        try:
            caller, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_run, args=(caller, launch, started), daemon=True).start()


def _run(caller: socket.socket, launch: Launch, started: list[Running]) -> None:
    with caller:
        message, files, _, _ = socket.recv_fds(caller, 1 << 20, 3)
        wanted = json.loads(message)
        running = launch(
            wanted["arguments"],
            environment=wanted["environment"],
            folder=Path(wanted["folder"]),
            files=(files[0], files[1], files[2]),
        )
        for each in files:
            os.close(each)
        started.append(running)
        with suppress(BrokenPipeError):
            caller.send(running.pid.to_bytes(4, "big"))
            caller.send(running.wait().to_bytes(4, "big", signed=True))
