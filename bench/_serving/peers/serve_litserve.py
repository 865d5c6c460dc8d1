"""The model on LitServe. BENCH_BATCH: the largest batch; BENCH_QUEUE=zmq: its faster queue."""

from __future__ import annotations

import os

import litserve
import torch
from model import Digits, answer, tensor_of

BATCH = int(os.environ.get("BENCH_BATCH", "1"))


class OneByOne(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe gives it
        self.model = Digits()

    # No types here: LitServe would have FastAPI check requests and answers against them.
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return tensor_of(request["image"])

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x[None])[0]

    def encode_response(self, output):  # type: ignore[no-untyped-def]
        return answer(output)


class Batched(OneByOne):
    def batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(inputs)

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)

    def unbatch(self, output: torch.Tensor) -> list[torch.Tensor]:
        return list(output)


if __name__ == "__main__":
    api = Batched(max_batch_size=BATCH, batch_timeout=0.0) if BATCH > 1 else OneByOne()
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=int(os.environ.get("BENCH_WORKERS", "1")),
        fast_queue=os.environ.get("BENCH_QUEUE") == "zmq",
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        num_api_servers=int(os.environ.get("BENCH_SERVERS", "1")),
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )
