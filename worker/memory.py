"""Memory that runs out: the same work again in smaller minibatches, and an end to that."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from worker.context import Context

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_HALVINGS = 4
"""A sixteenth of the minibatch: what does not fit then is not the minibatch's doing."""

_SAID = ("out of memory", "can't allocate memory", "not enough memory", "std::bad_alloc")
"""What PyTorch's allocators say in a RuntimeError that has no class of its own."""


class OutOfMemory(ValueError):
    """Memory ran out with the smallest minibatch too: no retry will help on this machine."""


def ran_out(error: BaseException) -> bool:
    """Is this error a want of memory, on the CPU or on a GPU?"""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID)


def with_less_memory(context: Context, run: Callable[[int], T]) -> tuple[T, list[str]]:
    """`run(halvings)`, halving the minibatches once more each time that memory runs out.

    Returns what it gave, and a warning for the job's record if they were halved. Raises
    `OutOfMemory`, which says what to do, when `MOST_HALVINGS` are not enough.
    """
    for halvings in range(MOST_HALVINGS + 1):
        try:
            result = run(halvings)
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            said = str(error).partition("\n")[0] or "MemoryError"
        else:
            share = f"a {2**halvings}th" if halvings > 1 else "half"
            warning = f"memory ran out: the minibatches were {share} of what is usual"
            return result, [warning] if halvings else []
        # Outside the handler: the error's traceback held on to every tensor of the failed run.
        log.warning("memory ran out with minibatches halved %d times: %s", halvings, said)
        gc.collect()
        if context.engine.device.startswith("cuda"):
            torch.cuda.empty_cache()
    raise OutOfMemory(
        f"memory ran out, with minibatches of a {2**MOST_HALVINGS}th of the usual size too "
        f"({said}). Give the worker a machine with more memory, or less beside it, then retry the "
        "job"
    )
