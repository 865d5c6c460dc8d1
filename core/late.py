"""A model that was trained while requests were open: it has seen their samples, and owes a job."""

from __future__ import annotations

from core import datasets, registry, requests
from core.db import Transaction
from core.enlist import Enlisting
from core.errors import Conflict
from core.records import Dataset, Job, Model
from core.settings import Settings


def lock_models(tx: Transaction, dataset: Dataset) -> None:
    """Lock every model of the data set: no request comes, and none is carried out, meanwhile."""
    for each in datasets.models_of(tx.session, dataset.id):
        registry.lock_model(tx, each.id)


def check_none_ending(tx: Transaction, dataset: Dataset) -> None:
    """Raise `Conflict` when samples of an open request may be gone already.

    A job could no longer find them, and the weights that have seen them would stay.
    """
    for request in datasets.open_requests(tx.session, dataset.id):
        if any(_destroys(job) for job in requests.jobs_of(tx.session, request.id)):
            raise Conflict(
                f"erasure request {request.id} was being carried out while this was training; "
                "train again once it is completed"
            )


def enlist_open(tx: Transaction, settings: Settings, model: Model) -> list[Job]:
    """Jobs by which a newly served model will forget what the open requests name.

    Each request completes when these have ended too. The models of the data set must be locked.
    """
    dataset = tx.session.get_one(Dataset, model.dataset_id)
    owed = []
    for request in datasets.open_requests(tx.session, dataset.id):
        jobs = requests.jobs_of(tx.session, request.id)
        if jobs and all(job.model_id != model.id for job in jobs):
            owed.append((requests.locked(tx, request.id), jobs[0].strategy))
    enlisting = Enlisting(
        tx, settings, model, {r.subject_id for r, _ in owed if r.subject_id is not None}
    )
    enlisted = []
    for request, strategy in owed:
        enlisted.append(enlisting.enlist(request, strategy))
        enlisting.store()
    return enlisted


def _destroys(job: Job) -> bool:
    """Has the job come so far that it may have deleted samples?"""
    skipped = job.verification is not None and "note" in job.verification
    return job.state in ("destroying", "succeeded") or job.published_at is not None or skipped
