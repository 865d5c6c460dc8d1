"""The loop that methods share: forget on one minibatch, remember on another, one step.

Parameter self-sharing: both objectives descend on one parameter vector theta_D (Wang, Zhang,
Tian, Yu, IEEE TIFS 2024, doi 10.1109/TIFS.2023.3331239, section V and Algorithm 1).

Shapes: D parameters, m erased and r remaining samples in a step, B = m + r, K dimensions of z.
"""

# ruff: noqa: N803, N806 - symbols carry their shapes

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from unlearning import _cuda
from unlearning._adam import Adam
from unlearning._batches import EndlessBatches
from unlearning._closed_forms import Remember
from unlearning._flat import FlatParameters
from unlearning._gradients import Objective, two_gradients
from unlearning._snapshot import Keeper, Moving, Stateful
from unlearning.methods._parts import (
    ClosedForm,
    Estimator,
    Following,
    ForgetLoss,
    Stop,
    Update,
    Variables,
    Weights,
)
from unlearning.methods._protocol import Problem, Run, StepReport
from unlearning.training import Cancelled
from unlearning.vib import VIB, copy_model
from unlearning.weighting import Weighting, gram, norm_of, weight


@dataclass(frozen=True)
class Descent:
    """steps: at most. erased_batch, remaining_batch: m and r; 0 for an objective that has no
    part. lr: the rate of each step. clip: the greatest norm of the gradient followed. average:
    the decay of the exponential moving average of theta, which is what is shipped (0: none).
    frozen_statistics: batch normalisation keeps the statistics that it has, as it must where
    erased samples alone would set them. check_every: steps between reports and checks, which wait
    for the device.
    """

    steps: int
    erased_batch: int
    remaining_batch: int
    lr: float
    beta: float
    weighting: Weighting
    fixed_alpha: float
    clip: float
    average: float
    frozen_statistics: bool = False
    check_every: int = 10


@dataclass(frozen=True, eq=False)
class Ended:
    """model: the averaged one. steps taken. converged: whether `stop` ended them. seconds: of
    the steps, those before a snapshot included.
    """

    model: VIB
    steps: int
    converged: bool
    history: list[StepReport]
    seconds: float


class Step:
    """One step, without a value ever leaving the device.

    gradients: how they are found; another way may be put in its place.
    """

    def __init__(
        self,
        model: VIB,
        problem: Problem,
        settings: Descent,
        forget_loss: ForgetLoss,
        vary: Variables,
        update: Update,
        flat: FlatParameters,
        noise: torch.Generator,
        precision: str = "float32",
    ) -> None:
        self._model, self._problem, self._settings = model, problem, settings
        self._forget_loss, self._vary, self._update, self._noise = forget_loss, vary, update, noise
        closed: object = forget_loss
        self._closed = closed if isinstance(closed, ClosedForm) else None
        self.gradients = two_gradients(model, flat, precision)
        self.average_V = vary.theta_V.clone()

    def __call__(self, e: Tensor, r: Tensor, report: bool = True) -> Tensor:
        """Take the step of erased samples e [m] and remaining ones r [r].

        Returns L_u, L_r, alpha and gram_22, row by row, as they were before it. Without `report`
        the losses may be 0: what nobody reads need not be computed.
        """
        self._vary.place(self._noise)
        latent = self._model.architecture.latent
        noise_BK = torch.randn(
            len(e) + len(r), latent, generator=self._noise, device=self.average_V.device
        )
        g_V, values = self._direction(e, r, noise_BK, report)
        with torch.no_grad():
            self._update.step(g_V, self._settings.lr)
            self.average_V.lerp_(self._vary.theta_V, 1.0 - self._settings.average)
        return values

    def _direction(
        self, e: Tensor, r: Tensor, noise_BK: Tensor, report: bool
    ) -> tuple[Tensor, Tensor]:
        """The gradient to follow, and the values of the step: neither draws nor writes."""
        erased, remaining, settings = self._problem.erased, self._problem.remaining, self._settings
        images = torch.cat([erased.images.index_select(0, e), remaining.images.index_select(0, r)])
        closed = None if self._closed is None else partial(self._closed.gradient, e=e)
        forget = Objective(partial(self._forget_loss, e=e), closed)
        eq2 = Remember(remaining.labels.index_select(0, r), settings.beta)
        remember = Objective(eq2, eq2.gradient)
        x = self._model.prepare(images)
        loss_u, loss_r = self.gradients(x, noise_BK, len(e), forget, remember, report=report)
        with torch.no_grad():
            g_2V, loss_u = self._vary.gradients(self.gradients.g_2D, loss_u)
            gram_22 = gram(g_2V)
            alpha = weight(settings.weighting, gram_22, settings.fixed_alpha)
            short = settings.clip / norm_of(gram_22, alpha).clamp_min(settings.clip)
            g_V = torch.stack([alpha, 1.0 - alpha]).mul_(short) @ g_2V
            return g_V, torch.cat([torch.stack([loss_u, loss_r, alpha]), gram_22.view(4)])


def descend(
    model: VIB,
    problem: Problem,
    settings: Descent,
    forget_loss: ForgetLoss,
    stop: Stop,
    run: Run,
    *,
    variables: Callable[[FlatParameters], Variables] = Weights,
    update: Callable[[Tensor, FlatParameters], Update] | None = None,
) -> Ended:
    """Train `model` itself (a copy of the caller's).

    Resumed from a snapshot it gives, on the CPU, the same bits as uninterrupted. Raises
    Cancelled when `run.should_stop` answers True, ValueError for a snapshot of another run.
    """
    began = time.perf_counter()
    device = model.device
    settings = replace(
        settings,
        erased_batch=run.halved(settings.erased_batch),
        remaining_batch=run.halved(settings.remaining_batch),
    )
    shipped = copy_model(model).eval()
    shipped_D = FlatParameters(shipped).theta_D
    flat = FlatParameters(model.train(not settings.frozen_statistics))
    vary = variables(flat)
    follow = Adam(vary.theta_V) if update is None else update(vary.theta_V, flat)
    noise = torch.Generator(device).manual_seed(run.seed)
    one_step = Step(model, problem, settings, forget_loss, vary, follow, flat, noise, run.precision)
    graphed = device.type == "cuda" and update is None
    # One graph serves all steps, so that it always computes what is reported.
    replay = _cuda.captured(one_step, noise) if graphed else None
    erased_batches, remaining_batches = (
        EndlessBatches(len(samples), batch, run.seed, stream, device)
        for samples, batch, stream in (
            (problem.erased, settings.erased_batch, "erased"),
            (problem.remaining, settings.remaining_batch, "remaining"),
        )
    )

    parts: dict[str, Stateful] = {
        "weights": Moving(now=vary.theta_V, average=one_step.average_V),
        "model": Moving(**{k.replace(".", "_"): b for k, b in model.named_buffers()}),
        "update": follow,
    }
    estimator: object = forget_loss
    if isinstance(estimator, Estimator):
        estimator.draw_from(noise)
        parts["estimator"] = estimator
    follower = estimator if isinstance(estimator, Following) else None
    if follower is not None:
        parts["level"] = follower
    keeper = Keeper(run.snapshots, run.identity, parts, {"noise": noise})
    history: list[StepReport] = []
    done = 0
    if (state := keeper.restore()) is not None:
        done, began = state["step"], began - state["seconds"]
        history = [StepReport(*values) for values in state["history"]]
        stop.restore(state["stop"])

    def state_now() -> dict[str, Any]:
        return {
            "seconds": time.perf_counter() - began,
            "history": [list(astuple(report)) for report in history],
            "stop": stop.state(),
        }

    for step in range(done + 1, settings.steps + 1):
        if run.should_stop is not None and run.should_stop():
            keeper.give(step - 1, state_now)
            raise Cancelled(f"unlearning was cancelled at step {step - 1}")
        checked = step % settings.check_every == 0 or step == settings.steps
        if follower is not None and (step - 1) % follower.every == 0:
            follower.follow(model, step)
        e, r = erased_batches[step - 1], remaining_batches[step - 1]
        values = one_step(e, r, report=checked) if replay is None else replay(e, r)
        if checked:
            history.append(_report(step, settings.steps, values))
            if run.on_step is not None:
                run.on_step(history[-1])
            vary.ship(one_step.average_V, shipped_D)
            for mine, theirs in zip(shipped.buffers(), model.buffers(), strict=True):
                mine.copy_(theirs)
            if stop(shipped, step):
                return Ended(shipped, step, True, history, time.perf_counter() - began)
        keeper.offer(step, state_now)
    return Ended(shipped, settings.steps, False, history, time.perf_counter() - began)


def _report(step: int, steps: int, values: Tensor) -> StepReport:
    loss_u, loss_r, alpha, uu, ur, _, rr = values.tolist()
    norm_u, norm_r = math.sqrt(uu), math.sqrt(rr)
    cosine = ur / max(norm_u * norm_r, 1e-30)
    return StepReport("unlearning", step, steps, loss_u, loss_r, alpha, norm_u, norm_r, cosine)


def weighting_warnings(history: list[StepReport]) -> list[str]:
    """A warning when alpha stayed at an end: one of the objectives was never followed."""
    if history and all(report.alpha < 1e-3 for report in history):
        return ["alpha stayed at 0: the steps only remembered, nothing was asked to be forgotten"]
    if history and all(report.alpha > 1.0 - 1e-3 for report in history):
        return ["alpha stayed at 1: the steps only forgot, nothing was asked to be remembered"]
    return []
