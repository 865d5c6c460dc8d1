"""An erasure request as it is asked for, and as it is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.errors import Invalid
from core.records import ErasureRequest

DEFAULT_STRATEGY = "rfu_ss"
STRATEGIES = (DEFAULT_STRATEGY, "rfu_ss_paper", "retrain")
"""How a job may make a model forget. The names are those of `unlearning`."""


@dataclass(frozen=True)
class NewRequest:
    """What a caller asks for: the samples of one subject, or the samples named.

    subject_hash: in place of `subject_id`, the keyed hash of a subject that was found by another
    form of its name; subject_named: what it was found by, for the certificate's commitment.
    """

    model: str
    subject_id: str | None = None
    sample_ids: tuple[str, ...] = ()
    external_id: str | None = None
    regulation: str | None = None
    callback_url: str | None = None
    strategy: str | None = None
    subject_hash: str | None = None
    subject_named: str | None = None

    def check(self) -> None:
        """Raise `Invalid` unless this can be asked for at all."""
        if bool(self.subject_id or self.subject_hash) == bool(self.sample_ids):
            raise Invalid("give either subject_id or sample_ids, not both and not neither")
        if self.strategy is not None and self.strategy not in STRATEGIES:
            raise Invalid(f"unknown strategy {self.strategy!r}; use {', '.join(STRATEGIES)}")


@dataclass(frozen=True)
class Call:
    """The call that posted a request: its X-Request-ID, and its span where traces are kept."""

    id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True)
class Repeat:
    """The keyed hash of an Idempotency-Key, the digest of its body, how an answer is written."""

    value: str
    body_digest: str
    render: Callable[[ErasureRequest, list[str]], str]


@dataclass(frozen=True)
class Submitted:
    """A request that was taken in, or the answer once given to the same key and body."""

    request: ErasureRequest
    job_ids: list[str]
    replayed: str | None = None


@dataclass(frozen=True)
class Asked:
    """A request as it was posted: what is asked for, by whose key, in which call.

    opendsr_id: the OpenDSR request that it is a part of.
    """

    new: NewRequest
    key_id: str | None = None
    repeat: Repeat | None = None
    call: Call = Call()
    opendsr_id: str | None = None
