"""What the search for garbage need not look at."""

from __future__ import annotations

import gc


def settle() -> None:
    """Once all is loaded, leave it out of every later search: a search of all that PyTorch and the
    rest have made holds every thread up for a tenth of a second, or for a quarter."""
    gc.collect()
    gc.freeze()
