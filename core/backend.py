"""Assembly of what service, worker and command line share, once in each process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from core import audit, claims
from core.certificates import Signer, open_signer
from core.checkpoints import CheckpointStore
from core.db import Database
from core.identities import Identities
from core.outbound import Outbound
from core.queue import Queue
from core.samples import SampleStore
from core.scratch import ScratchStore
from core.settings import Settings


@dataclass(frozen=True)
class Backend:
    """Database, stores and keys of one process. Open it after a fork, never before."""

    settings: Settings
    db: Database
    samples: SampleStore
    checkpoints: CheckpointStore
    scratch: ScratchStore
    identities: Identities
    signer: Signer

    @cached_property
    def outbound(self) -> Outbound:
        """Calls to addresses that others name."""
        return Outbound(self.settings)

    def close(self) -> None:
        """Give every connection back."""
        self.db.close()


def open_backend(settings: Settings, send: Callable[[str], None] | None = None) -> Backend:
    """Everything that the settings name. `send` replaces the queue's wake-up, in tests."""
    store = settings.store.rstrip("/")
    queue = Queue(settings)

    def to_who_serves(job_id: str) -> None:
        with db.reading() as session:
            names = claims.queues(session, job_id)
        for name in names:
            queue.wake(job_id, name)

    db = Database(settings.database, chain=audit.chain, send=send or to_who_serves)
    return Backend(
        settings=settings,
        db=db,
        samples=SampleStore(f"{store}/samples"),
        checkpoints=CheckpointStore(f"{store}/checkpoints"),
        scratch=ScratchStore(f"{store}/scratch"),
        identities=Identities(settings.secret_bytes),
        signer=open_signer(settings),
    )
