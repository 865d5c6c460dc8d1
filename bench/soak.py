"""Is anything lost? `python -m bench.soak --requests 2000 --seconds 600`.

Clients post requests for people, again and again for the same ones, to a service with PostgreSQL
and Redis, while workers that have begun a job are killed at random and Redis is flushed. Every 202
must end completed, exactly once. `lost` are those accepted that did not within --seconds, `doubled`
those completed more than once by the audit chain. `peak_mb` is the largest resident size of one
process, `service_mb` and `worker_mb` the medians over each tenth of the run: flat is what they
should be.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import redis
import torch
from sqlalchemy import select

from bench._soak.blobs import Blobs
from core import keys, migrate, rates
from core.backend import Backend, open_backend
from core.importing import Importer
from core.records import AuditEvent, ErasureRequest, Job
from core.settings import Settings
from core.states import REQUEST_OPEN
from lethe import Client
from tests import servers
from tests.functional.deployment import Deployment
from tests.functional.launching import Launch, from_scratch
from worker.train import first_training

CLIENTS = 16


def main(arguments: list[str] | None = None, launch: Launch = from_scratch) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=600.0, help="for all to be completed")
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--subjects", type=int, default=500, help="whom the requests are for")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kill-every", type=float, default=5.0, help="seconds, on average")
    parser.add_argument("--kills", type=int, default=10_000, help="at most")
    parser.add_argument("--over", type=float, default=0.0, help="seconds to spread the posts over")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with _deployed(given.samples, launch) as (deployment, backend, broker):
        result = _soaked(given, deployment, backend, broker)
    width = max(map(len, result))
    table = "\n".join(f"{name:{width}}  {value}" for name, value in result.items())
    print(json.dumps(result) if given.json else table)
    return int(bool(result["lost"] or result["doubled"]))


@contextmanager
def _deployed(samples: int, launch: Launch) -> Iterator[tuple[Deployment, Backend, str]]:
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="lethe-soak-")))
        server = opened.enter_context(servers.postgres())
        database = opened.enter_context(servers.postgres_database(server))
        broker = opened.enter_context(servers.redis_server())
        variables = {
            "LETHE_HOME": str(folder / "home"),
            "LETHE_DATABASE_URL": database,
            "LETHE_BROKER_URL": broker,
            "LETHE_SECRET": "a secret of at least sixteen characters",
            "LETHE_STORE_URL": str(folder / "store"),
            "LETHE_BATCH_SECONDS": "2",
            "LETHE_LEASE_SECONDS": "5",
            "LETHE_MAX_TAKEOVERS": "1000",
            **{f"LETHE_{name.upper()}": "off" for name in rates.SETTINGS},
        }
        values = {name.removeprefix("LETHE_").lower(): value for name, value in variables.items()}
        backend = opened.enter_context(closing(open_backend(Settings.model_validate(values))))
        migrate.upgrade(backend.db)
        print(f"importing {samples} samples, training", file=sys.stderr)
        importer = Importer(backend.db, backend.samples, backend.identities)
        importer.run("blobs", Blobs(samples))
        first_training(backend, "blobs", "blobs", device="cpu")
        with backend.db.transaction() as tx:
            _, variables["LETHE_API_KEY"] = keys.create(tx, "soak", ["erase", "read"])
        deployment = Deployment(folder, variables, launch)
        opened.callback(deployment.close)
        deployment.serve("--role", "api")
        yield deployment, backend, broker


def _soaked(
    given: argparse.Namespace, deployment: Deployment, backend: Backend, broker: str
) -> dict[str, Any]:
    over, chaos = threading.Event(), random.Random(given.seed)
    running = [deployment.start("worker") for _ in range(given.workers)]
    sizes: list[tuple[float, float]] = []  # MB of the service, of its workers
    kills, began = 0, time.monotonic()
    with ThreadPoolExecutor(1) as posting:
        posted = posting.submit(_posted, given, deployment)
        next_kill = began + given.kill_every
        while time.monotonic() - began < given.seconds:
            workers = [each.popen.pid for each in running if each.popen.poll() is None]
            service = _resident_mb(deployment.processes[0].popen.pid)
            sizes.append((service, max(map(_resident_mb, workers), default=0.0)))
            busy = [i for i, each in enumerate(running) if "job claimed" in each.text]
            if busy and kills < given.kills and time.monotonic() >= next_kill:
                victim = chaos.choice(busy)
                os.killpg(running[victim].popen.pid, signal.SIGKILL)
                running[victim].popen.wait()
                running[victim] = deployment.start("worker")
                with redis.Redis.from_url(broker) as client:
                    client.flushall()
                kills += 1
                next_kill = time.monotonic() + chaos.expovariate(1 / given.kill_every)
            if posted.done() and not _open(backend):
                break
            over.wait(0.5)
        accepted = posted.result()
    seconds = time.monotonic() - began
    with backend.db.reading() as session:
        states = dict(session.execute(select(ErasureRequest.id, ErasureRequest.state)).all())
        stuck = set(session.scalars(select(Job.error).where(Job.state == "needs_review")))
        moves = session.execute(
            select(AuditEvent.noun_id, AuditEvent.data).where(
                AuditEvent.noun == "erasure_request", AuditEvent.event == "moved"
            )
        ).all()
    completions = Counter(noun_id for noun_id, data in moves if data["to"] == "completed")
    ended = Counter(states.get(request_id, "gone") for request_id in accepted)
    return {
        "accepted": len(accepted),
        "completed": ended["completed"],
        "doubled": sum(count > 1 for count in completions.values()) + len(states) - len(accepted),
        "lost": len(accepted) - ended["completed"],
        "kills": kills,
        "peak_mb": round(max(max(pair) for pair in sizes)),
        "service_mb": _by_tenths([service for service, _ in sizes]),
        "worker_mb": _by_tenths([worker for _, worker in sizes]),
        "seconds": round(seconds),
        "states": dict(ended),
        "in_review_because": sorted(str(reason) for reason in stuck),
    }


def _posted(given: argparse.Namespace, deployment: Deployment) -> set[str]:
    """Ids of the requests that were answered 202: `given.requests` calls by CLIENTS clients."""

    began = time.monotonic()

    def post(number: int) -> str:
        due = began + given.over * number / given.requests
        time.sleep(max(0.0, due - time.monotonic()))
        with Client(deployment.url, deployment.variables["LETHE_API_KEY"]) as client:
            subject = f"subject-{number % given.subjects}"
            return client.erase("blobs", subject_id=subject, idempotency_key=f"{number}").id

    with ThreadPoolExecutor(CLIENTS) as clients:
        return set(clients.map(post, range(given.requests)))


def _open(backend: Backend) -> bool:
    with backend.db.reading() as session:
        query = select(ErasureRequest.id).where(ErasureRequest.state.in_(REQUEST_OPEN)).limit(1)
        return session.scalars(query).first() is not None


def _by_tenths(sizes: list[float]) -> list[int]:
    """The median of each tenth, in order."""
    parts = [sizes[i * len(sizes) // 10 : (i + 1) * len(sizes) // 10] for i in range(10)]
    return [round(statistics.median(part)) for part in parts if part]


def _resident_mb(pid: int) -> float:
    """Of the process and the largest below it."""
    shown = subprocess.run(
        ["ps", "-o", "rss=", "--pid", str(pid), "--ppid", str(pid)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return max((int(line) / 1024 for line in shown.stdout.split()), default=0.0)


if __name__ == "__main__":
    sys.exit(main())
