"""The load of the serving benches sees what happens, and bench.serving measures what answers."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import serving
from bench._serving import contenders
from bench._serving.load import BROKEN, REFUSED, load, request

CALL = request("/predict", b"{}", "a key")


@contextmanager
def answering(*behaviours: str) -> Iterator[int]:
    """A server on a port: its first connection behaves as the first says, and so on; then it goes.

    whole: three answers, in two pieces each, then closes. last: one answer that says it closes.
    breaks: takes the call and closes.
    """
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for behaviour in behaviours:
            connection, _ = listening.accept()
            with connection:
                for _ in range(3 if behaviour == "whole" else 1):
                    connection.recv(65_536)
                    if behaviour != "breaks":
                        closes = "Connection: close\r\n" if behaviour == "last" else ""
                        head = f"HTTP/1.1 200 OK\r\n{closes}Content-Length: 4\r\n\r\n"
                        connection.sendall(f"{head}an".encode())
                        time.sleep(0.01)
                        connection.sendall(b"sw")
        listening.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        thread.join(20)


def test_a_load_sees_answers_breaks_and_refusals() -> None:
    with answering("last", "whole", "breaks", "last") as port, load(port, CALL, 1) as running:
        seen = running.ended()  # by itself: nobody listens any more
    # The fourth call of "whole" found the connection closed. Who knocks while the port is being
    # closed may be let in and cut off before it is refused.
    statuses = list(seen.status)
    assert statuses[:7] == [200, 200, 200, 200, BROKEN, BROKEN, 200]
    assert (set(statuses[7:-1]) <= {BROKEN}, statuses[-1]) == (True, REFUSED)
    assert [seen.bodies[index] for index in seen.body[:2]] == ["answ"] * 2
    assert all(sent <= got for sent, got in zip(seen.sent, seen.got, strict=True))
    assert list(seen.sent) == sorted(seen.sent)


@pytest.mark.timeout(120)
def test_serving_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--rounds", "1", "--seconds", "0.5", "--calm", "99"]
    short = ["--names", "lethe", "--concurrency", "1", "4", *quick]
    assert serving.main([*short, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["concurrency"]) for row in found["rows"]] == [
        ("lethe", 1),
        ("lethe", 4),
    ]
    for row in found["rows"]:
        assert row["requests_per_second"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["cpu_us_per_request"] > 0
        least, most = row["requests_per_second_spread"]
        assert least <= row["requests_per_second"] <= most
    assert found["forward_per_second"] > 0


def test_a_contender_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(contenders, "ENVIRONMENTS", tmp_path)
    assert serving.main(["--names", "lethe", "bentoml"]) == 1
    assert (
        "not installed: bentoml; run `python -m bench.serving --setup`" in capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        serving.main(["--concurrency", "0"])
