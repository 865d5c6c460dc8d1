"""One repetition of one row, in a process of its own, so that its peak memory is its own."""

from __future__ import annotations

import itertools
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bench._unlearn_speed.loop import Loop
from bench._unlearn_speed.scene import read
from unlearning import VIB, PaperConfig, Problem, unlearn
from unlearning._adam import Adam
from unlearning._batches import EndlessBatches
from unlearning._flat import FlatParameters
from unlearning._gradients import Autograd, DenseGradients
from unlearning.methods._descent import Descent, Step
from unlearning.methods._erased_accuracy import ErasedAccuracy
from unlearning.methods._parts import Weights
from unlearning.methods._rfu_ss_paper import forget_loss_of

ROWS = ("dataloader_loop", "autograd", "ours", "ours_compiled")
STOP = 0.05  # of the erased samples still have their label
_AT_MOST = 400  # steps
_CHECK_EVERY = 10  # steps, as the library does
_CONFIG = PaperConfig(beta_u=1.0, limit=0.4)  # as printed it does not forget
_WARM_UP = 5  # steps before the clock starts


def run_row(name: str, directory: Path, steps: int) -> dict[str, Any]:
    """steps_per_second and cpu_ms_per_step over `steps` steps; seconds_to_stop and
    cpu_seconds_to_stop from there on a fresh copy (None: not in 400 steps), every tenth step
    checked; peak_mb of this process; compile_seconds for a compiled row.
    """
    torch.set_num_threads(1)
    model, problem = read(directory)
    found: dict[str, Any] = {}
    began = time.process_time()
    taking, _ = _steps(name, model, problem)
    for _ in itertools.islice(taking, _WARM_UP):
        pass
    if name == "ours_compiled":
        found["compile_seconds"] = time.process_time() - began
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in itertools.islice(taking, steps):
        pass
    found["steps_per_second"] = steps / (time.perf_counter() - wall)
    found["cpu_ms_per_step"] = 1e3 * (time.process_time() - cpu) / steps

    model, problem = read(directory)
    taking, trained = _steps(name, model, problem)
    stop = ErasedAccuracy(problem.erased, STOP)
    wall, cpu = time.perf_counter(), time.process_time()
    found |= {"seconds_to_stop": None, "cpu_seconds_to_stop": None, "steps_to_stop": None}
    for step, _ in enumerate(itertools.islice(taking, _AT_MOST), 1):
        if step % _CHECK_EVERY == 0 and stop(trained, step):
            found["seconds_to_stop"] = time.perf_counter() - wall
            found["cpu_seconds_to_stop"] = time.process_time() - cpu
            found["steps_to_stop"] = step
            break
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def run_calibrated(directory: Path) -> dict[str, Any]:
    """The default method to its own stop rule: targets and checks included, the teacher not."""
    torch.set_num_threads(1)
    model, problem = read(directory)
    wall, cpu = time.perf_counter(), time.process_time()
    outcome = unlearn(model, problem)
    return {
        "seconds_to_stop": time.perf_counter() - wall,
        "cpu_seconds_to_stop": time.process_time() - cpu,
        "steps_to_stop": outcome.steps,
        "converged": outcome.converged,
    }


def _steps(name: str, model: VIB, problem: Problem) -> tuple[Iterator[None], VIB]:
    """Steps without end, and the model that they train."""
    if name == "dataloader_loop":
        loop = Loop(model, problem.erased, problem.remaining, _CONFIG.beta_u, _CONFIG.limit)
        return loop.steps(), model
    forget_loss = forget_loss_of(model, problem, _CONFIG, 0)
    flat = FlatParameters(model.train())
    settings = Descent(
        steps=_AT_MOST,
        erased_batch=100,
        remaining_batch=100,
        lr=1e-3,
        beta=1e-3,
        weighting="eq14",
        fixed_alpha=0.5,
        clip=1e9,
        average=0.0,
    )
    noise = torch.Generator().manual_seed(0)
    adam = Adam(flat.theta_D)
    step = Step(model, problem, settings, forget_loss, Weights(flat), adam, flat, noise)
    if name == "autograd":
        step.gradients = Autograd(model, flat)
    if name == "ours_compiled":
        assert isinstance(step.gradients, DenseGradients)
        step.gradients.forward = torch.compile(step.gradients.forward)
        step.gradients.backward = torch.compile(step.gradients.backward)
    return _endless(step, problem), model


def _endless(step: Step, p: Problem) -> Iterator[None]:
    erased = EndlessBatches(len(p.erased), 100, 0, "erased")
    remaining = EndlessBatches(len(p.remaining), 100, 0, "remaining")
    for number in itertools.count():
        step(erased[number], remaining[number], report=(number + 1) % _CHECK_EVERY == 0)
        yield
