"""`lethe worker`: how it ends."""

from __future__ import annotations

import pytest
import typer

from lethe.commands.worker import worker
from lethe.stopping import Terminated


@pytest.mark.parametrize("stop", [Terminated(), KeyboardInterrupt()])
def test_stopped_while_it_starts_it_ends_cleanly(
    monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    """It holds nothing yet."""

    def stopped() -> None:
        raise stop

    monkeypatch.setattr("core.settings.read_settings", stopped)
    with pytest.raises(typer.Exit) as ended:
        worker()
    assert ended.value.exit_code == 0
