"""SIGTERM ends a command in the same orderly way as Ctrl-C."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn


class Terminated(SystemExit):
    """SIGTERM came. Status 143, as shells have it."""

    def __init__(self) -> None:
        super().__init__(143)


def install() -> None:
    """Raise `Terminated` in the main thread at SIGTERM."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(_: int, __: FrameType | None) -> NoReturn:
    raise Terminated
