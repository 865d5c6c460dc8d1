"""The loop that methods share: forget on one minibatch, remember on another, one step.

Parameter self-sharing: both objectives descend on one parameter vector theta_D (Wang, Zhang,
Tian, Yu, IEEE TIFS 2024, doi 10.1109/TIFS.2023.3331239, section V and Algorithm 1).

Shapes: D parameters, m erased and r remaining samples in a step, K dimensions of z.
"""

# ruff: noqa: N806 - symbols carry their shapes

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning._adam import Adam
from unlearning._batches import endless_batches
from unlearning._flat import FlatParameters
from unlearning.methods._protocol import Problem, Run, StepReport
from unlearning.training import Cancelled
from unlearning.vib import VIB, Output, copy_model, vib_loss
from unlearning.weighting import Weighting, weight

REPORT_EVERY = 10  # steps between reports and checks: both wait for the device


@dataclass(frozen=True)
class Descent:
    """steps: at most. erased_batch, remaining_batch: m and r. lr: Adam's. clip: the greatest
    norm of the gradient followed. average: the decay of the exponential moving average of
    theta, which is what is shipped (0: none).
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


ForgetLoss = Callable[[Output, Tensor], Tensor]
"""L_u from the outputs on m erased samples and their indices [m] in the erased set."""


def descend(
    model: VIB,
    problem: Problem,
    settings: Descent,
    forget_loss: ForgetLoss,
    stop: Callable[[VIB, int], bool],
    run: Run,
) -> tuple[VIB, int, bool, list[StepReport]]:
    """Train `model` itself (a copy of the caller's) and return the averaged one.

    `stop(averaged, step)` is asked every tenth step. Also returned: steps taken, whether
    `stop` ended them, and the reports.

    Raises Cancelled when `run.should_stop` answers True.
    """
    erased, remaining = problem.erased, problem.remaining
    device = model.device
    averaged = copy_model(model).eval()
    average_D = FlatParameters(averaged).theta_D
    flat = FlatParameters(model.train())
    theta_D = flat.theta_D
    optimiser = Adam(theta_D)
    order = torch.Generator().manual_seed(run.seed)
    noise = torch.Generator(device).manual_seed(run.seed)
    erased_order = endless_batches(len(erased), settings.erased_batch, order)
    remaining_order = endless_batches(len(remaining), settings.remaining_batch, order)
    history: list[StepReport] = []
    for step in range(1, settings.steps + 1):
        if run.should_stop is not None and run.should_stop():
            raise Cancelled(f"unlearning was cancelled at step {step - 1}")
        e = next(erased_order).to(device)
        r = next(remaining_order).to(device)
        x = model.prepare(torch.cat([erased.images[e], remaining.images[r]]))
        noise_BK = torch.randn(len(x), model.architecture.latent, generator=noise, device=device)
        out = model(x, noise_BK)
        m = len(e)
        loss_u = forget_loss(Output(*(part[:m] for part in out)), e)
        loss_r = vib_loss(Output(*(part[m:] for part in out)), remaining.labels[r], settings.beta)
        g_u_D = flat.gradient(loss_u, keep_graph=True)
        g_r_D = flat.gradient(loss_r)
        alpha = weight(settings.weighting, g_u_D, g_r_D, settings.fixed_alpha)
        g_D = torch.lerp(g_r_D, g_u_D, alpha)
        g_D.mul_(settings.clip / g_D.norm().clamp_min(settings.clip))
        optimiser.step(g_D, settings.lr)
        average_D.lerp_(theta_D, 1.0 - settings.average)
        if step % REPORT_EVERY == 0 or step == settings.steps:
            values = torch.stack(
                [loss_u, loss_r, alpha, g_u_D.norm(), g_r_D.norm(), g_u_D.dot(g_r_D)]
            ).tolist()
            loss_u_, loss_r_, alpha_, norm_u, norm_r, dot = values
            cosine = dot / max(norm_u * norm_r, 1e-30)
            report = StepReport(
                "unlearning", step, settings.steps, loss_u_, loss_r_, alpha_, norm_u, norm_r, cosine
            )
            history.append(report)
            if run.on_step is not None:
                run.on_step(report)
            for mine, theirs in zip(averaged.buffers(), model.buffers(), strict=True):
                mine.copy_(theirs)
            if stop(averaged, step):
                return averaged, step, True, history
    return averaged, settings.steps, False, history


def weighting_warnings(history: list[StepReport]) -> list[str]:
    """A warning when alpha stayed at an end: one of the objectives was never followed."""
    if history and all(report.alpha < 1e-3 for report in history):
        return ["alpha stayed at 0: the steps only remembered, nothing was asked to be forgotten"]
    if history and all(report.alpha > 1.0 - 1e-3 for report in history):
        return ["alpha stayed at 1: the steps only forgot, nothing was asked to be remembered"]
    return []
