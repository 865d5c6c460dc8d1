"""The benches of bad days and of intake, short: nothing lost, nothing doubled, nothing refused."""

from __future__ import annotations

import json

import pytest

from bench import intake, soak
from tests.functional.launching import Launch


@pytest.mark.timeout(600)
def test_nothing_is_lost_while_workers_are_killed(
    capsys: pytest.CaptureFixture[str], launch: Launch
) -> None:
    small = ["--requests", "6", "--subjects", "3", "--samples", "1500"]
    # On a busy machine every job would be killed, again and again, were there no end of it.
    chaos = ["--kill-every", "3", "--kills", "3"]
    assert soak.main([*small, *chaos, "--seconds", "400", "--json"], launch) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["accepted"], found["completed"]) == (6, 6)
    assert (found["lost"], found["doubled"]) == (0, 0)
    assert 1 <= found["kills"] <= 3
    assert found["peak_mb"] >= max(found["service_mb"]) > 0


@pytest.mark.timeout(300)
def test_intake_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        intake.main(["--rate", "0"])
    capsys.readouterr()
    assert intake.main(["--rate", "8", "--seconds", "2", "--workers", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["errors"], found["read_errors"]) == (0, 0)
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    assert found["service_cpu_ms"] > 0
