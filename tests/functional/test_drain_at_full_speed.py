"""The service is stopped while clients call as fast as they can: none is cut off.

Some go elsewhere when /readyz says so, as whoever spreads the calls would; others never look, and
call until they are refused.
"""

from __future__ import annotations

import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench._serving import contenders, scene
from bench._serving.load import REFUSED, Load, load
from bench._swap.judge import judge
from bench._swap.versions import expected

pytestmark = pytest.mark.timeout(180)

CONNECTIONS = 4


@pytest.mark.parametrize(
    "workers", [2, *(pytest.param(number, marks=pytest.mark.long) for number in (1, 4))]
)
def test_nobody_is_cut_off(tmp_path: Path, workers: int) -> None:
    image, vib = scene.digit(), scene.vib()
    with ExitStack() as opened:
        home = opened.enter_context(scene.home(tmp_path, vib))
        known = {1: expected(home.serving(), vib, image)}
        lethe = contenders.lethe(home, image)
        # Long enough for /readyz to be asked on a machine that is busy with other tests.
        settings = {"BENCH_WORKERS": str(workers), "LETHE_DRAIN_SECONDS": "2"}
        server = opened.enter_context(lethe.running(tmp_path, settings))
        heeding, deaf = (
            opened.enter_context(load(server.port, lethe.call(), CONNECTIONS)) for _ in range(2)
        )
        for each in (heeding, deaf):
            each.wait()
        told = time.monotonic()
        server.popen.send_signal(signal.SIGTERM)
        until_told_to_leave(server.port, heeding)
        went, stayed = heeding.stop(), deaf.ended()
        assert server.popen.wait(40) == 0
        assert "Traceback" not in server.log.read_text()
    assert set(went.status) == {200}
    assert Counter(stayed.status)[REFUSED] == CONNECTIONS
    assert set(stayed.status) == {200, REFUSED}
    judged = judge([went, stayed], known)
    assert (judged.errors, judged.mixed) == (CONNECTIONS, 0)
    answered = [answer.sent for answer in judged.right]
    assert min(answered) < told < max(answered), "it answered before and after it was told"


def until_told_to_leave(port: int, running: Load) -> None:
    """Wait until /readyz says 503; connections of its own, as many processes may answer."""
    while running.popen.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30).close()
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return
        time.sleep(0.02)
