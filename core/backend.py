"""Assembly of what service, worker and command line share, once in each process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from core import audit, claims
from core._writer_locks import FileLock, LeaseLock, Lock
from core.certificates import Signer, open_signer
from core.checkpoints import CheckpointStore
from core.db import Database
from core.identities import Identities
from core.object_store import Bucket, bucket_of
from core.opendsr_signer import OpenDsrSigner, open_opendsr
from core.outbound import Outbound
from core.queue import Queue
from core.samples import SampleStore
from core.scratch import ScratchStore
from core.settings import Settings

LEAST_LEASE = 30.0
"""Seconds of a writer's lease on an object store, at least: see `LeaseLock`."""


@dataclass(frozen=True)
class Backend:
    """Database, stores and keys of one process. Open it after a fork, never before."""

    settings: Settings
    db: Database
    bucket: Bucket | None
    samples: SampleStore
    checkpoints: CheckpointStore
    scratch: ScratchStore
    identities: Identities
    signer: Signer

    @cached_property
    def outbound(self) -> Outbound:
        """Calls to addresses that others name."""
        return Outbound(self.settings)

    @cached_property
    def opendsr(self) -> OpenDsrSigner | None:
        """Signs what is said by OpenDSR; None where that is not set up."""
        return open_opendsr(self.settings)

    def check_store(self) -> None:
        """Raise `SettingsError` when the store is a bucket that cannot be used as one."""
        if self.bucket is not None:
            self.bucket.check()

    def close(self) -> None:
        """Give every connection back."""
        self.db.close()


def open_backend(settings: Settings, send: Callable[[str], None] | None = None) -> Backend:
    """Everything that the settings name. `send` replaces the queue's wake-up, in tests."""
    store, bucket = settings.store.rstrip("/"), bucket_of(settings)
    queue = Queue(settings)

    def to_who_serves(job_id: str) -> None:
        with db.reading() as session:
            names = claims.queues(session, job_id)
        for name in names:
            queue.wake(job_id, name)

    db = Database(settings.database, chain=audit.chain, send=send or to_who_serves)
    backend = Backend(
        settings=settings,
        db=db,
        bucket=bucket,
        samples=SampleStore(f"{store}/samples", bucket=bucket, lock=_locks(settings, db, bucket)),
        checkpoints=CheckpointStore(f"{store}/checkpoints", bucket),
        scratch=ScratchStore(f"{store}/scratch", bucket),
        identities=Identities(settings.secret_bytes, settings.secrets_before_bytes),
        signer=open_signer(settings),
    )
    if settings.opendsr_url or settings.opendsr_key or settings.opendsr_certificate:
        _ = backend.opendsr  # what cannot be signed with is said at the start
    return backend


def _locks(settings: Settings, db: Database, bucket: Bucket | None) -> Callable[[str], Lock] | None:
    """How the writers of a bucket's data sets keep out of its clean-up's way.

    In embedded mode they share a machine; and SQLite has one writer, who would wait for the
    transaction around an append.
    """
    if bucket is None:
        return None
    if not settings.embedded:
        seconds = max(settings.lease_seconds, LEAST_LEASE)
        return lambda dataset: LeaseLock(db, dataset, seconds)
    folder = settings.home.absolute() / "locks"

    def lock(dataset: str) -> Lock:
        folder.mkdir(exist_ok=True)
        return FileLock(folder / dataset)

    return lock
