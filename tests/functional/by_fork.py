"""A `lethe` for shell scripts, as quick as a fork: tests/functional/relay.py makes it.

SOCKET ARGUMENTS... It hands its arguments, environment, folder, stdin, stdout and stderr to the
tests' warm process, passes on the signals that end commands, and ends as the fork does. It is run
without site-packages, for it must start in no time, and imports nothing of the tests.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

PASSED_ON = {signal.SIGTERM, signal.SIGINT}


def main(path: str, arguments: list[str]) -> int:
    """Ask for the command; returns its exit status."""
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until there is whom to pass them on to
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as relay:
        relay.connect(path)
        wanted = {
            "arguments": arguments,
            "environment": dict(os.environ),
            "folder": os.getcwd(),  # noqa: PTH109  # pathlib would take longer than the rest
        }
        socket.send_fds(relay, [json.dumps(wanted).encode()], [0, 1, 2])
        pid = int.from_bytes(relay.recv(4), "big")
        for number in PASSED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda number, _: os.kill(pid, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        told = relay.recv(4)
    status = int.from_bytes(told, "big", signed=True) if told else 70
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
