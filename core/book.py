"""The writing of erasure requests: many of one model in one transaction, in few statements."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Sequence

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from core import certificates, holds, registry, requests, rotation
from core.asked import DEFAULT_STRATEGY, Asked, Repeat, Submitted
from core.backend import Backend
from core.db import Transaction
from core.deadlines import a_month_after
from core.deciding import asked_by
from core.enlist import Enlisting
from core.errors import Conflict
from core.ids import new_id
from core.inserting import follow, insert_all
from core.records import (
    Dataset,
    ErasureRequest,
    Idempotency,
    LegalHold,
    RequestSample,
    Subject,
)
from core.refusals import LEGAL_HOLD
from core.states import JOB_HELD
from core.telling import tell
from core.transitions import move, pass_on


class Book:
    """What one transaction takes in for one model, written in few statements.

    Everything that the requests of subjects need is looked up at once; a request that names its
    samples is held against the jobs in the database, for which all before it are stored first.
    share: see `Enlisting`.
    """

    def __init__(
        self,
        tx: Transaction,
        backend: Backend,
        all_asked: Sequence[Asked],
        *,
        share: bool = False,
    ) -> None:
        self._tx, self._backend = tx, backend
        self._answered = answers(tx.session, all_asked)
        self._model, models = registry.models_locked(tx, all_asked[0].new.model)
        rotation.check(tx.session, backend.identities)
        names = {asked.new.subject_id for asked in all_asked if asked.new.subject_id}
        self._hashes = {name: backend.identities.subject(name).raw for name in names}
        known = {asked.new.subject_hash for asked in all_asked if asked.new.subject_hash}
        hashes = known.union(self._hashes.values())
        self._subjects = _subjects(tx.session, self._model.dataset_id, hashes)
        found = [subject.id for subject in self._subjects.values()]
        # The model asked for gets a job even if it serves nothing: the samples must go.
        self._enlistings = [
            Enlisting(tx, backend.settings, each, found, share=share)
            for each in models
            if each.id == self._model.id or registry.serving(tx.session, each.id) is not None
        ]
        self._holds = holds.InForce(tx.session, backend, self._model.dataset_id)
        self._requests: list[ErasureRequest] = []
        self._samples: list[RequestSample] = []
        self._repeats: list[Idempotency] = []

    def enter(self, asked: Asked, keys: list[int]) -> Submitted:
        """Take one in; `store` must follow the last. keys: of the samples that it names.

        What it refuses it refuses before it has entered anything: others may follow.
        """
        assert asked.new.model == self._model.name, "a book is of one model"
        if _once(asked) in self._answered:
            return replayed(self._answered, asked)
        request = self._receive(asked, keys)
        job_ids: list[str] = []
        hold = self._holds.covering(request.subject_hash, request.subject_id, keys)
        if hold is not None:
            self._refuse(request, hold)
        elif request.sample_count == 0:
            self._nothing_found(request)
        else:
            if keys:
                self.store()
            strategy = asked.new.strategy or DEFAULT_STRATEGY
            enlisted = [each.enlist(request, strategy) for each in self._enlistings]
            job_ids = sorted(job.id for job in enlisted)
            pass_on(self._tx, request, "scheduled")
            if any(job.state in JOB_HELD for job in enlisted):
                pass_on(self._tx, request, "in_progress")  # it joined a job that runs already
        done = Submitted(request, job_ids)
        if asked.repeat is not None and asked.key_id is not None:
            self._keep_answer(asked.repeat, asked.key_id, done)
        return done

    def store(self) -> None:
        """Write what was entered since."""
        session = self._tx.session
        # By kind, whichever the model: a link comes after the job that it names.
        enlisted = [
            [record for batch in kind for record in batch]
            for kind in zip(*(each.unwritten() for each in self._enlistings), strict=True)
        ]
        insert_all(session, self._requests, self._samples, *enlisted, self._repeats)
        follow(session, self._requests)
        for each in self._enlistings:
            each.written()
        self._requests, self._samples, self._repeats = [], [], []

    def _receive(self, asked: Asked, keys: list[int]) -> ErasureRequest:
        new, tx = asked.new, self._tx
        request_id = new_id("er")
        hashed = commitment = subject = None
        named = new.subject_id or new.subject_named
        if named:
            hashed = new.subject_hash or self._hashes[named]
            commitment = self._backend.identities.commitment(request_id, named)
            subject = self._subjects.get(hashed)
        request = ErasureRequest(
            id=request_id,
            model_id=self._model.id,
            dataset_id=self._model.dataset_id,
            state="received",
            subject_id=subject.id if subject else None,
            subject_hash=hashed,
            commitment=commitment,
            secret_generation=self._backend.identities.generation,
            sample_count=len(keys) if keys else (subject.sample_count if subject else 0),
            external_id=new.external_id,
            regulation=new.regulation,
            strategy=new.strategy,
            callback_url=new.callback_url,
            key_id=asked.key_id,
            opendsr_id=asked.opendsr_id,
            call_id=asked.call.id,
            traceparent=asked.call.traceparent,
            received_at=tx.now,
            due_at=a_month_after(tx.now),
        )
        self._requests.append(request)
        self._samples += (RequestSample(request_id=request.id, key=key) for key in keys)
        told = {"model": self._model.id, "samples": request.sample_count}
        tx.record("erasure_request", request.id, "received", **told, **asked_by(asked.key_id))
        tell(tx, request)
        return request

    def _nothing_found(self, request: ErasureRequest) -> None:
        self.store()
        tx = self._tx
        move(tx, request, "completed", outcome="no_data_found", completed_at=tx.now)
        dataset = tx.session.get_one(Dataset, request.dataset_id)
        certificates.issue(
            tx, self._backend.signer, request, dataset.name, {self._model.name: None}
        )

    def _refuse(self, request: ErasureRequest, hold: LegalHold) -> None:
        self.store()
        requests.finish(self._tx, request, "rejected", holds.why(hold), refusal=LEGAL_HOLD)

    def _keep_answer(self, repeat: Repeat, key_id: str, done: Submitted) -> None:
        answer = Idempotency(
            key_id=key_id,
            value=repeat.value,
            body_digest=repeat.body_digest,
            request_id=done.request.id,
            answer=repeat.render(done.request, done.job_ids),
            created_at=self._tx.now,
        )
        self._repeats.append(answer)
        again = Submitted(done.request, done.job_ids, answer.answer)
        self._answered[key_id, repeat.value] = answer.body_digest, again


_Once = tuple[str, str]
_Answers = dict[_Once, tuple[str, Submitted]]
"""By API key and Idempotency-Key: the digest of the body, and what was answered to it."""


def _once(asked: Asked) -> _Once | None:
    return (asked.key_id, asked.repeat.value) if asked.repeat and asked.key_id else None


def answers(session: Session, all_asked: Sequence[Asked]) -> _Answers:
    """What was answered before to any of these."""
    wanted = {once for asked in all_asked if (once := _once(asked)) is not None}
    if not wanted:
        return {}
    query = select(Idempotency, ErasureRequest).join(
        ErasureRequest, ErasureRequest.id == Idempotency.request_id
    )
    query = query.where(
        Idempotency.key_id.in_({key_id for key_id, _ in wanted}),
        Idempotency.value.in_({value for _, value in wanted}),
    )
    found = session.execute(query).all()
    job_ids = requests.job_ids_of_all(session, [request.id for _, request in found])
    return {
        (kept.key_id, kept.value): (
            kept.body_digest,
            Submitted(request, job_ids.get(request.id, []), kept.answer),
        )
        for kept, request in found
    }


def replayed(answers: _Answers, asked: Asked) -> Submitted:
    """The answer once given; raises `Conflict` for another body."""
    once = _once(asked)
    assert once is not None
    assert asked.repeat is not None
    body_digest, answered = answers[once]
    if not hmac.compare_digest(body_digest, asked.repeat.body_digest):
        raise Conflict("this Idempotency-Key was used with another body; use a new one")
    return answered


_SUBJECTS = select(Subject).where(
    Subject.dataset_id == bindparam("dataset_id"),
    Subject.raw_hash.in_(bindparam("hashes", expanding=True)),
)


def _subjects(session: Session, dataset_id: str, hashes: Collection[str]) -> dict[str, Subject]:
    """Those of these people who have samples in the data set, by their hash."""
    if not hashes:
        return {}
    found = session.scalars(_SUBJECTS, {"dataset_id": dataset_id, "hashes": list(hashes)})
    return {subject.raw_hash: subject for subject in found}
