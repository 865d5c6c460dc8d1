"""One version of a model in memory: read, checked, brought to its device, warmed up."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_limits

from core.checkpoints import CheckpointStore
from core.errors import SettingsError
from core.records import Dataset, Model, Version
from service.inference.forward import Forward, prepared
from unlearning import Architecture, load_arrays


@dataclass(eq=False, slots=True)
class Served:
    """One version in memory, and how many calls are using it.

    shape: channels, rows and columns of one input. classes: their names, by index.
    """

    model: str
    id: str
    number: int
    digest: str
    forward: Forward
    shape: tuple[int, int, int]
    classes: list[str]
    users: int = 0


def load(
    checkpoints: CheckpointStore, device: str, model: Model, dataset: Dataset, version: Version
) -> Served:
    """The version, ready to answer; raises what `CheckpointStore.read` does, or ValueError."""
    checkpoint = checkpoints.read(version.digest)
    architecture = Architecture.from_dict(json.loads(checkpoint.metadata["architecture"]))
    vib = load_arrays(architecture, checkpoint.arrays)
    return Served(
        model.name,
        version.id,
        version.number,
        version.digest,
        prepared(vib, device_for(device, architecture)),
        architecture.input_shape,
        list(dataset.classes),
    )


def device_for(wanted: str, architecture: Architecture) -> str:
    """Where LETHE_DEVICE puts a model; "auto" takes a GPU for convolutions, where there is one.

    An MLP's arithmetic takes less time than the way to a GPU and back.
    """
    if wanted != "auto":
        return wanted
    return "cuda" if architecture.kind != "mlp" and torch.cuda.is_available() else "cpu"


def check_device(wanted: str) -> None:
    """Raises `SettingsError` for a device that is not there."""
    if wanted == "auto":
        return
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(
            f"LETHE_DEVICE={wanted} cannot be used ({reason}); use auto or cpu"
        ) from None


def set_threads(processes: int) -> None:
    """PyTorch's share of the cores for a process of this service, unless OMP_NUM_THREADS says.

    NumPy gets one thread: a small network's product is done before a second one has woken, and
    calls run side by side anyway.
    """
    threadpool_limits(1, user_api="blas")
    given = os.environ.get("OMP_NUM_THREADS")
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(int(given) if given else max(1, cores // processes))
