"""Unlearning methods: one protocol, one private file for each paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from unlearning._precision import Precision, resolve
from unlearning._snapshot import Resumption, Snapshot, identity
from unlearning.methods import _fine_tune, _hbu, _retrain, _rfu, _rfu_ss, _rfu_ss_paper, _vbu
from unlearning.methods._fine_tune import FineTuneConfig
from unlearning.methods._hbu import HBUConfig
from unlearning.methods._protocol import Outcome, Problem, Run, StepReport
from unlearning.methods._retrain import lean
from unlearning.methods._rfu import RFUConfig
from unlearning.methods._rfu_ss import RFUSSConfig
from unlearning.methods._rfu_ss_paper import PaperConfig
from unlearning.methods._vbu import VBUConfig
from unlearning.training import TrainingConfig
from unlearning.vib import VIB, copy_model

__all__ = [
    "STRATEGIES",
    "FineTuneConfig",
    "HBUConfig",
    "Outcome",
    "PaperConfig",
    "Problem",
    "RFUConfig",
    "RFUSSConfig",
    "StepReport",
    "Strategy",
    "VBUConfig",
    "lean",
    "rungs",
    "unlearn",
]


Config = (
    RFUSSConfig | PaperConfig | RFUConfig | HBUConfig | VBUConfig | FineTuneConfig | TrainingConfig
)


@dataclass(frozen=True)
class Strategy:
    """summary: one line for people. rungs: of its ladder. needs_teacher: whether a problem
    must have one. config: its configuration class. run, default_config: for `unlearn`.
    """

    summary: str
    rungs: int
    needs_teacher: bool
    config: type[Any]
    default_config: Callable[[VIB], Any]
    run: Callable[[VIB, Problem, Any, Run], Outcome]


STRATEGIES: dict[str, Strategy] = {
    "rfu_ss": Strategy(
        "RFU-SS, calibrated: erased samples are made to look like ones never seen",
        _rfu_ss.RUNGS,
        True,
        RFUSSConfig,
        _rfu_ss.default_config,
        _rfu_ss.rfu_ss,
    ),
    "rfu_ss_paper": Strategy(
        "RFU-SS as its paper prints it (Eqs. 8, 9 and 14), for study",
        _rfu_ss_paper.RUNGS,
        False,
        PaperConfig,
        _rfu_ss_paper.default_config,
        _rfu_ss_paper.rfu_ss_paper,
    ),
    "rfu": Strategy(
        "RFU: the forgetting terms of its paper alone; costs accuracy, for comparison",
        _rfu.RUNGS,
        False,
        RFUConfig,
        _rfu.default_config,
        _rfu.rfu,
    ),
    "hbu": Strategy(
        "HBU: a damped Newton step away from the erased samples, for comparison",
        _hbu.RUNGS,
        False,
        HBUConfig,
        _hbu.default_config,
        _hbu.hbu,
    ),
    "vbu": Strategy(
        "VBU: variational Bayes on a Gaussian around the trained weights, for comparison",
        _vbu.RUNGS,
        False,
        VBUConfig,
        _vbu.default_config,
        _vbu.vbu,
    ),
    "fine_tune": Strategy(
        "Training on with what remains; a trigger survives it, for comparison",
        _fine_tune.RUNGS,
        False,
        FineTuneConfig,
        _fine_tune.default_config,
        _fine_tune.fine_tune,
    ),
    "retrain": Strategy(
        "Exact retraining on what remains",
        _retrain.RUNGS,
        False,
        TrainingConfig,
        _retrain.default_config,
        _retrain.retrain,
    ),
}


def _strategy(name: str) -> Strategy:
    if name not in STRATEGIES:
        raise ValueError(f"unknown strategy {name!r}: choose from {', '.join(STRATEGIES)}")
    return STRATEGIES[name]


def rungs(strategy: str) -> int:
    """How many rungs the ladder of `strategy` has; `unlearn` takes 0 to one less."""
    return _strategy(strategy).rungs


def unlearn(
    model: VIB,
    problem: Problem,
    *,
    strategy: str = "rfu_ss",
    config: Config | Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    precision: Precision = "auto",
    rung: int = 0,
    halvings: int = 0,
    on_step: Callable[[StepReport], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    resume: Snapshot | None = None,
    on_snapshot: Callable[[Snapshot], None] | None = None,
    snapshot_every: float = 10.0,
) -> Outcome:
    """Make a copy of `model` forget `problem.erased`; `model` itself is left as it is.

    config: the strategy's own (an object, or its `to_dict`); its defaults when None.
    precision: of the arithmetic; "auto" is bfloat16 for convolutions where the processor has it,
    else float32. rung: how hard to try, 0 first. halvings: how often the minibatches are halved,
    for want of memory; the steps stay as many. `on_step` is called every few steps (ten, for most),
    `should_stop` before each, `on_snapshot` after one, every `snapshot_every` seconds (0:
    each). Given one of those snapshots as `resume`, and all else alike, another process goes on
    from it, to the same bits. Same seed, same bits on the CPU.

    Raises ValueError, saying what and why, for an unknown strategy or rung, a configuration
    of another strategy, a missing teacher, no erased samples, no remaining ones, a class that
    would vanish, images of another shape, labels outside the classes, NaN weights or a
    snapshot of another run; Cancelled when `should_stop` answers True.
    """
    chosen = _strategy(strategy)
    if isinstance(rung, bool) or not isinstance(rung, int) or not 0 <= rung < chosen.rungs:
        raise ValueError(f"rung must be 0 to {chosen.rungs - 1} for {strategy}, got {rung!r}")
    if config is None:
        config = chosen.default_config(model)
    elif isinstance(config, Mapping):
        config = chosen.config.from_dict(config)
    if not isinstance(config, chosen.config):
        raise ValueError(  # noqa: TRY004 - bad input is a ValueError throughout
            f"{strategy} takes a {chosen.config.__name__}, got {type(config).__name__}"
        )
    problem.check(model)
    if chosen.needs_teacher and problem.teacher is None:
        raise ValueError(
            f"{strategy} needs a teacher: train one from the references (train_teacher)"
        )
    working = copy_model(model).to(device).eval()
    moved = replace(
        problem,
        erased=problem.erased.to(device),
        remaining=problem.remaining.to(device),
        references=problem.references.to(device),
    )
    width = resolve(precision, model.architecture, device)
    asked = Resumption(resume, on_snapshot, snapshot_every)
    name = ""
    if asked.wanted:
        described = {"strategy": strategy, "config": config.to_dict(), "seed": seed, "rung": rung}
        described |= {"precision": width, "noise": problem.noise, "halvings": halvings}
        judges = problem.teacher.models if problem.teacher else ()
        weights = [model.state_dict() for model in (model, *judges)]
        name = identity(described, problem.erased, problem.remaining, problem.references, *weights)
    run = Run(seed, device, rung, on_step, should_stop, asked, width, name, halvings)
    return chosen.run(working, moved, config, run)
