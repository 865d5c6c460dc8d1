"""`lethe demo`: import, train, serve, forget, show. See docs/guides/first-erasure.md."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import typer

from core import certificates, first_key, registry
from core.errors import LetheError
from core.importing import Importer
from core.incoming import Chunk
from core.settings import Settings
from lethe.answers import ErasureRequest, Job
from lethe.client import Client
from lethe.console import note, progress
from lethe.demo.children import Children, free_port
from lethe.demo.search import Search, search
from lethe.demo.story import print_measures, print_verdict
from lethe.demo.traffic import Traffic
from lethe.home import opened_with
from lethe.sources import TRIGGER_SUBJECT, Planting, Subjected, open_source
from lethe.training import train_shown
from lethe.watch import watch

HOME = Path("var/demo")
MODEL = "digits"
TRIGGER = "source=1,target=2,share=0.06"
_MARKER = ".lethe-demo"
_START_SECONDS = 60.0


@dataclass
class Kept:
    """What the demo remembers of the data, in memory alone: to ask with, and to look for."""

    erased: list[bytes] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)

    def chunks(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """The same chunks, noted down on their way."""
        for chunk in chunks:
            self.erased += [image.tobytes() for image in chunk.images[chunk.train_only]]
            clean = chunk.images[~chunk.train_only][:50]
            self.inputs = self.inputs or (clean.astype(np.float64) / 255.0).tolist()
            yield chunk


def run(*, once: bool, port: int) -> None:
    """The demo. Raises `LetheError` when anything in it is not as it should be."""
    began = time.monotonic()
    home = empty_home(HOME).absolute()
    settings = Settings(home=home, database_url=None, broker_url=None, store_url=None)
    kept = Kept()
    key = _prepare(settings, kept)
    control = search(home, kept.erased)
    if control.found != len(set(kept.erased)):
        raise LetheError("the search does not find the samples before they are erased")
    url = f"http://127.0.0.1:{port or free_port()}"
    with Children(home) as children, Client(url, key) as client:
        _start(children, url)
        with Traffic(url, key, MODEL, kept.inputs) as traffic:
            request, job = _forget(client, children)
            traffic.wait_for(_result_version(client), 10.0)
        _report(home, kept, control, client, request, job, traffic)
        dashboard = _dashboard(url)
        typer.echo(f"\n{dashboard}\nThe whole demo took {time.monotonic() - began:.0f} seconds.")
        if not once:
            typer.echo("Serving until Ctrl-C.")
            _serve_on(children)


def empty_home(home: Path) -> Path:
    """An empty folder for the demo; refuses to empty one that no demo made."""
    if home.exists() and any(home.iterdir()):
        if not (home / _MARKER).is_file():
            raise LetheError(f"{home} is not empty and no demo made it; move it away first")
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)
    (home / _MARKER).write_text("Made by `lethe demo`, which empties this folder each time.\n")
    return home


def _prepare(settings: Settings, kept: Kept) -> str:
    """Import and train in this process; returns the API key."""
    rows = open_source("digits")
    source = _Watched(
        Subjected(rows, samples_per_subject=10, planting=Planting(TRIGGER, rows)), kept.chunks
    )
    with opened_with(settings) as backend:
        with progress("Importing the digits") as advance:
            Importer(backend.db, backend.samples, backend.identities).run(
                MODEL,
                source,
                planted=source.inner.planted,
                on_progress=lambda seen: advance(seen / source.inner.total, f"{seen} samples"),
            )
        train_shown(backend, MODEL, MODEL)
        with backend.db.transaction() as tx:  # as `lethe audit retrain` does
            model = registry.lock_model(tx, registry.model_named(tx.session, MODEL).id)
            model.audit_next = True
        return first_key.ensure(backend.db, settings).text


class _Watched:
    """A source whose chunks pass through `through`."""

    def __init__(
        self, inner: Subjected, through: Callable[[Iterator[Chunk]], Iterator[Chunk]]
    ) -> None:
        self.inner, self._through = inner, through
        self.shape, self.classes = inner.shape, inner.classes
        self.train_count, self.has_test = inner.train_count, inner.has_test

    def chunks(self) -> Iterator[Chunk]:
        return self._through(self.inner.chunks())


def _start(children: Children, url: str) -> None:
    note(f"Starting the service on {url} and a worker")
    children.start("serve", "--port", url.rpartition(":")[2])
    children.start("worker")
    until = time.monotonic() + _START_SECONDS
    with httpx.Client(base_url=url, timeout=5.0) as http:
        while True:
            children.check()
            try:
                if http.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if time.monotonic() > until:
                raise LetheError(f"the service was not ready after {_START_SECONDS:g} seconds")
            time.sleep(0.1)


def _forget(client: Client, children: Children) -> tuple[ErasureRequest, Job]:
    asked = client.erase(MODEL, subject_id=TRIGGER_SUBJECT)
    note(f"POST /erasure-requests: {asked.id}, {asked.sample_count} samples of one subject")
    request, jobs = watch(client, asked, alive=children.check)
    if request.status != "completed":
        raise LetheError(f"request {request.id} is {request.status}: {jobs[-1].error}")
    return request, jobs[-1]


def _result_version(client: Client) -> int:
    return next(v.version for v in client.versions(MODEL) if v.state == "serving")


def _report(
    home: Path,
    kept: Kept,
    control: Search,
    client: Client,
    request: ErasureRequest,
    job: Job,
    traffic: Traffic,
) -> None:
    verification = job.verification or {}
    typer.echo(
        f"\n{request.sample_count} of the samples belonged to one subject, who is forgotten."
    )
    print_measures(verification)
    print_verdict(verification)
    if job.started_at and job.published_at and job.finished_at:
        swapped = (job.published_at - job.started_at).total_seconds()
        whole = (job.finished_at - job.started_at).total_seconds()
        typer.echo(
            f"From claim to swap {swapped:.1f} s, to destroyed {whole:.1f} s "
            "(the exact retraining beside it included)"
        )
    seen = " then ".join(map(str, traffic.versions))
    typer.echo(
        f"Predictions meanwhile: {traffic.answered} answered, {traffic.failed} failed, "
        f"{traffic.backward} from an older version than the one before; versions {seen}"
    )
    path = _certificate(home, client, request)
    typer.echo(f"Certificate: {path}, its signature checked")
    after = search(home, kept.erased)
    typer.echo(
        f"Bytes of the {len(kept.erased)} erased images: before in {len(control.places)} of "
        f"{control.files} files, now in {len(after.places)} of {after.files} "
        f"({after.bytes / 1e6:.1f} MB searched)"
    )
    if after.found:
        raise LetheError(f"erased samples are still in {', '.join(map(str, after.places))}")
    if traffic.failed or traffic.backward or len(traffic.versions) < 2:
        raise LetheError(f"the swap was noticed: {traffic.first_failure or traffic.versions}")


def _certificate(home: Path, client: Client, request: ErasureRequest) -> Path:
    """The certificate, saved beside the public key that its signature was checked with."""
    text, pem = client.certificate(request.id), client.certificate_key()
    certificates.verify(text, pem)
    path = home / f"certificate-{request.id}.json"
    path.write_text(text)
    (home / "certificate-key.pem").write_text(pem)
    return path


def _dashboard(url: str) -> str:
    """Where to look on: the dashboard where this version has one, else the API's pages."""
    there = httpx.get(f"{url}/admin", timeout=10.0).status_code != 404
    return f"Dashboard: {url}/admin" if there else f"API: {url}/docs"


def _serve_on(children: Children) -> None:
    try:
        while True:
            children.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        note("\nStopping the service and the worker")
