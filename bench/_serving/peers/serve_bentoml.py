"""The model on BentoML: `bentoml serve serve_bentoml:Classifier`. BENCH_BATCH=1: batched."""

from __future__ import annotations

import os
from typing import Any

import bentoml
import numpy as np
import torch
from model import Digits, answer

BATCHED = os.environ.get("BENCH_BATCH") == "1"
SETTINGS: dict[str, Any] = {
    "workers": int(os.environ.get("BENCH_WORKERS", "1")),
    "logging": {"access": {"enabled": False}},
}


@bentoml.service(**SETTINGS)
class Classifier:
    def __init__(self) -> None:
        self.model = Digits()

    if BATCHED:

        @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)
        def predict(self, images: np.ndarray) -> list[dict[str, Any]]:
            found = self.model(torch.from_numpy(images.astype(np.float32)))
            return [answer(each) for each in found]

    else:

        @bentoml.api
        async def predict(self, images: np.ndarray) -> list[dict[str, Any]]:
            found = self.model(torch.from_numpy(images.astype(np.float32)))
            return [answer(each) for each in found]
