"""`python -m lethe.demo.child COMMAND...`: a `lethe` command that ends when the demo does."""

from __future__ import annotations

import ctypes
import signal

from lethe.__main__ import main

_PR_SET_PDEATHSIG = 1  # prctl(2), Linux


if __name__ == "__main__":
    # Even a demo that is killed leaves no service behind. Elsewhere it ends its children itself.
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    main()
