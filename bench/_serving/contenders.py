"""Who is measured: how each is installed, started and asked, and what it should answer.

Every contender but Lethe has an environment of its own, made by `set_up` from a hashed list in
peers/. All run the same PyTorch with one thread, write no access log, and keep the metrics that
they have by default; only Lethe checks a key. Where a framework has ways to set it up, VARIANTS
lists those that were tried, the one that is measured by default first.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench._serving import load, processes, scene
from tests.servers import free_port

HERE = Path(__file__).parent
PEERS = HERE / "peers"
ENVIRONMENTS = HERE / "environments"

NAMES = ("lethe", "litserve", "bentoml", "mlserver", "bare")

VARIANTS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "lethe": {
        "one worker": {},
        "two workers": {"BENCH_WORKERS": "2"},
    },
    "litserve": {
        "default": {},
        "batches of 8": {"BENCH_BATCH": "8"},
        "zmq queue": {"BENCH_QUEUE": "zmq"},
        "two workers and servers": {"BENCH_WORKERS": "2", "BENCH_SERVERS": "2"},
    },
    "bentoml": {
        "async, one worker": {},
        "async, two workers": {"BENCH_WORKERS": "2"},
        "batched": {"BENCH_BATCH": "1"},
    },
    "mlserver": {
        "in the server's process": {"MLSERVER_PARALLEL_WORKERS": "0"},
        "one inference worker (default)": {"MLSERVER_PARALLEL_WORKERS": "1"},
        "adaptive batches of 8": {
            "MLSERVER_PARALLEL_WORKERS": "0",
            "MLSERVER_MODEL_MAX_BATCH_SIZE": "8",
            "MLSERVER_MODEL_MAX_BATCH_TIME": "0.001",
        },
    },
    "bare": {"one process": {}},
}


@dataclass(frozen=True)
class Contender:
    """One server to measure: where it answers, the body to send, how to read the answer."""

    name: str
    path: str
    body: bytes
    probabilities: Callable[[Any], list[float]]
    """Of the one image, from the answer's JSON."""
    key: str
    _command: Callable[[int], list[str]]
    _environment: Mapping[str, str]

    def running(
        self, folder: Path, settings: Mapping[str, str]
    ) -> AbstractContextManager[processes.Server]:
        """Start it on a free port; `settings`: one of its VARIANTS, as environment variables."""
        port = free_port()
        environment = {**self._environment, **settings, "BENCH_PORT": str(port)}
        command = self._command(port)
        if self.name == "lethe":
            command += ["--workers", settings.get("BENCH_WORKERS", "1")]
        if self.name == "mlserver":
            ports = {"HTTP": port, "GRPC": free_port(), "METRICS": free_port()}
            environment |= {f"MLSERVER_{name}_PORT": str(each) for name, each in ports.items()}
        call = urllib.request.Request(
            f"http://127.0.0.1:{port}{self.path}", self.body, {"Content-Type": "application/json"}
        )
        if self.key:
            call.add_header("Authorization", f"Bearer {self.key}")
        return processes.running(command, environment, port, call, folder)

    def call(self) -> bytes:
        """The whole HTTP request."""
        return load.request(self.path, self.body, self.key)


def lethe(home: scene.Home, image: NDArray[np.float64]) -> Contender:
    """Lethe on this home, asked for `image` [1, 28, 28]."""
    body = {"inputs": [image.tolist()]}
    return _made("lethe", "/predict", body, _predicted, {"LETHE_HOME": str(home.folder)}, home.key)


def others(weights: Path, image: NDArray[np.float64]) -> list[Contender]:
    """All but Lethe, which load `weights` (`scene.export`) and are asked for the same."""
    nested = image.tolist()
    flat = {"name": "image", "shape": [1, *image.shape], "datatype": "FP32",
            "data": image.ravel().tolist()}  # fmt: skip
    common = {"BENCH_WEIGHTS": str(weights), "PYTHONPATH": str(PEERS)}
    bento = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(weights.parent)}
    seldon = {
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_DEBUG": "false",  # which also writes an access log
        "MLSERVER_MODEL_NAME": scene.MODEL,
        "MLSERVER_MODEL_IMPLEMENTATION": "serve_mlserver.Classifier",
    }
    infer = f"/v2/models/{scene.MODEL}/infer"
    return [
        _made("litserve", "/predict", {"image": nested}, lambda a: a["probabilities"], common),
        _made("bentoml", "/predict", {"images": [nested]}, _listed, common | bento),
        _made("mlserver", infer, {"inputs": [flat]}, _tensor, common | seldon),
        _made("bare", "/predict", {"inputs": [nested]}, _predicted, common),
    ]


def _made(
    name: str,
    path: str,
    body: Any,
    read: Callable[[Any], list[float]],
    variables: Mapping[str, str],
    key: str = "",
) -> Contender:
    kept = {k: os.environ[k] for k in ("PATH", "HOME", "LANG", "TMPDIR") if k in os.environ}
    environment = {**kept, "OMP_NUM_THREADS": "1", **variables}
    return Contender(name, path, json.dumps(body).encode(), read, key, _command(name), environment)


def _predicted(answer: Any) -> list[float]:
    return _listed(answer["predictions"])


def _listed(answer: Any) -> list[float]:
    found: list[float] = answer[0]["probabilities"]
    return found


def _tensor(answer: Any) -> list[float]:
    found: list[float] = answer["outputs"][0]["data"]
    return found


def _command(name: str) -> Callable[[int], list[str]]:
    binaries = ENVIRONMENTS / name / "bin"
    if name == "lethe":
        serve = [str(Path(sys.executable).with_name("lethe")), "serve", "--role", "inference"]
        return lambda port: [*serve, "--port", str(port)]
    if name == "bentoml":
        serve = [str(binaries / "bentoml"), "serve", "serve_bentoml:Classifier"]
        options = ["--host", "127.0.0.1", "--working-dir", str(PEERS)]
        return lambda port: [*serve, *options, "--port", str(port)]
    if name == "mlserver":
        return lambda _: [str(binaries / "mlserver"), "start", "."]
    return lambda _: [str(binaries / "python"), str(PEERS / f"serve_{name}.py")]


def set_up(names: tuple[str, ...], out: Any = sys.stderr) -> None:
    """Make the environments of these contenders that are missing or out of date, with uv."""
    uv = Path(sys.executable).with_name("uv")
    for name in names:
        if name == "lethe" or is_set_up(name):
            continue
        print(f"installing {name} (PyTorch comes from uv's cache where it has it)", file=out)
        folder = ENVIRONMENTS / name
        shutil.rmtree(folder, ignore_errors=True)
        run = {"check": True, "env": {**os.environ, "VIRTUAL_ENV": str(folder)}}
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], **run)
        listed = PEERS / f"{name}.txt"
        install = [uv, "pip", "install", "--quiet", "--require-hashes", "-r", listed]
        subprocess.run(install, **run)
        (folder / "made-from").write_text(_mark(name))


def is_set_up(name: str) -> bool:
    """Is its environment there, made from the list as it is now?"""
    mark = ENVIRONMENTS / name / "made-from"
    return name == "lethe" or (mark.is_file() and mark.read_text() == _mark(name))


def _mark(name: str) -> str:
    digest = hashlib.sha256((PEERS / f"{name}.txt").read_bytes()).digest()
    return base64.b32encode(digest).decode()
