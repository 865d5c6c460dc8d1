"""What a worker process has: the backend and a device, opened after the fork."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from core.backend import Backend
from core.checkpoints import Checkpoint, Stored
from core.demands import Offer, classes
from core.errors import SettingsError
from unlearning import VIB, Architecture, Teacher, export_arrays, load_arrays
from worker.closing import Closing


@dataclass(frozen=True)
class Engine:
    """One process's backend and device."""

    backend: Backend
    device: str
    closing: Closing = field(default_factory=Closing)

    @cached_property
    def owner(self) -> str:
        """This process's name in leases."""
        return f"{socket.gethostname()}:{os.getpid()}"

    @property
    def offer(self) -> Offer:
        """The jobs that this process takes: of its classes, and what fits its device now."""
        settings = self.backend.settings
        memory_mb = settings.worker_memory_mb
        if memory_mb is None and self.device.startswith("cuda"):
            memory_mb = free_mb(self.device)
        return Offer(classes(settings.worker_classes), memory_mb)

    def load_model(self, digest: str) -> VIB:
        """The model in a checkpoint, on the device; raises what `CheckpointStore.read` does."""
        return model_of(self.backend.checkpoints.read(digest)).to(self.device)

    def save_model(self, model: VIB) -> Stored:
        """Write a model's checkpoint; equal weights give an equal digest."""
        metadata = {"architecture": json.dumps(model.architecture.to_dict(), sort_keys=True)}
        return self.backend.checkpoints.write(export_arrays(model), metadata)

    def load_teacher(self, digest: str) -> Teacher:
        """The teacher in a checkpoint."""
        checkpoint = self.backend.checkpoints.read(digest)
        return Teacher.load(checkpoint.arrays, json.loads(checkpoint.metadata["teacher"]))

    def save_teacher(self, teacher: Teacher) -> Stored:
        """Write a teacher's checkpoint."""
        arrays, metadata = teacher.export()
        return self.backend.checkpoints.write(
            arrays, {"teacher": json.dumps(metadata, sort_keys=True)}
        )


def model_of(checkpoint: Checkpoint) -> VIB:
    """The model that a checkpoint holds."""
    architecture: dict[str, Any] = json.loads(checkpoint.metadata["architecture"])
    return load_arrays(Architecture.from_dict(architecture), checkpoint.arrays)


def free_mb(device: str) -> int:
    """Megabytes that are free on a GPU, or held by this process and used for nothing."""
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int((free + unused) / 1e6)


def begin_peak(device: str) -> None:
    """From now on `peak_mb` counts anew."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_mb(device: str) -> int | None:
    """Megabytes that this process held on a GPU at most, since `begin_peak`; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    return int(torch.cuda.max_memory_reserved(device) / 1e6)


def choose_device(wanted: str) -> str:
    """The device for LETHE_DEVICE: "auto" takes a GPU where there is one.

    Raises `SettingsError` for a device that is not there.
    """
    if wanted == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(
            f"LETHE_DEVICE={wanted} cannot be used: {reason}. Use auto, cpu or cuda:N"
        ) from None
    return wanted
