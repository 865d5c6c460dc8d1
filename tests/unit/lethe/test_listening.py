"""Leaving a port: whoever has connected is still there, whoever comes is refused, none is reset."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from lethe.listening import listen, turn_away


def test_who_waits_is_kept_and_who_comes_is_refused() -> None:
    listening = listen("127.0.0.1", 0)
    address = listening.getsockname()
    with socket.create_connection(address) as waiting:  # in the queue: nobody has accepted it
        waiting.sendall(b"call")
        turn_away(listening)
        outcome: list[OSError | None] = []

        def come() -> None:
            try:
                socket.create_connection(address, timeout=20).close()
            except OSError as error:
                outcome.append(error)
            else:
                outcome.append(None)

        late = threading.Thread(target=come)
        late.start()
        time.sleep(0.2)
        assert not outcome, "it is neither let in nor refused yet"
        accepted, _ = listening.accept()
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()
        listening.close()
        with accepted:
            assert accepted.recv(4) == b"call"
            accepted.sendall(b"answer")
        assert waiting.recv(6) == b"answer"
    late.join(20)
    assert isinstance(outcome[0], ConnectionRefusedError)


def test_a_socket_that_takes_no_filter_is_left_as_it_is() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    turn_away(ours)
    theirs.close()
