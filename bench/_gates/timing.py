"""How long the whole protocol takes."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench._gates.scenes import Request, Scene, World
from unlearning import train, train_teacher
from unlearning.verification.protocol import verify

ERASED = 3600
REPEATS = 5


def timed(data: Path, dataset: str = "mnist", repeats: int = REPEATS) -> list[dict[str, Any]]:
    """A row for ordinary and for triggered samples: median seconds on two threads, of the clock
    and of the processor, and the slowest. Models of one epoch: their weights cost nothing."""
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    world = World(dataset, data, seed=0)
    briefly = replace(world.preset.training, epochs=1)
    teaching = replace(world.preset.teacher, training=replace(briefly, min_steps=0))
    world.teacher = train_teacher(world.architecture, world.references, teaching)
    erased = torch.arange(min(ERASED, len(world.pool) // 2))
    ordinary = Scene("ordinary", world.pool, erased, [Request(f"{len(erased)} ordinary", erased)])
    rows = []
    for scene in (ordinary, world.triggered()):
        before = train(world.architecture, scene.trained, briefly, seed=0)
        after = train(world.architecture, scene.remaining, briefly, seed=1)
        evidence = scene.evidence(scene.requests[0], world)
        verify(before, after, evidence)  # warm
        walls, processor = [], []
        for _ in range(repeats):
            wall, cpu = time.perf_counter(), time.process_time()
            report = verify(before, after, evidence)
            walls.append(time.perf_counter() - wall)
            processor.append(time.process_time() - cpu)
        rows.append(
            {
                "request": scene.requests[0].name,
                "remaining": len(scene.remaining),
                "gates": len(report.gates),
                "seconds": statistics.median(walls),
                "slowest": max(walls),
                "cpu_seconds": statistics.median(processor),
            }
        )
    return rows
