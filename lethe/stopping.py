"""Ctrl-C and SIGTERM end a command in the same orderly way, also while it is still loading."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_AGAIN_SECONDS = 0.05


class Terminated(SystemExit):
    """SIGTERM came. Status 143, as shells have it."""

    def __init__(self) -> None:
        super().__init__(143)


def install() -> None:
    """Raise KeyboardInterrupt (SIGINT) and `Terminated` (SIGTERM) in the main thread.

    Never inside an import: many a compiled module aborts the process when the code that sets it
    up raises. There the signal comes again, until the import is over.
    """
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    if _importing(frame):
        # To the main thread by name: a signal that another one takes wakes no blocked call.
        main = threading.main_thread().ident
        again = threading.Timer(_AGAIN_SECONDS, signal.pthread_kill, [main, number])
        again.daemon = True
        again.start()
    elif number == signal.SIGINT:
        raise KeyboardInterrupt
    else:
        raise Terminated


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib."):
            return True
        frame = frame.f_back
    return False
