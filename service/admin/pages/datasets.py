"""Data sets: what they hold, what was erased, and, for who may, a look at samples."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from core import contents, datasets
from core.errors import NotFound
from service.admin import contexts_records as contexts
from service.admin.deps import Administrator, Viewer
from service.admin.listing import Filter, Listing
from service.admin.pictures import thumbnails
from service.admin.rendering import render
from service.deps import BackendDep, Reader, Tx
from service.schemas.common import NO_NUL

router = APIRouter(prefix="/datasets")

PAGE = 50
SHEET = 48
"""Samples of one sheet."""

DatasetName = Annotated[str, Path(max_length=100, pattern=NO_NUL)]


@router.get("")
def index(me: Viewer, session: Reader, backend: BackendDep) -> Response:
    """Every data set, by name."""
    found = [
        (
            each,
            [model.name for model in datasets.models_of(session, each.id)],
            backend.samples.count(each.id),
        )
        for each in datasets.datasets(session)
    ]
    return render(me, contexts.DatasetList(datasets=found))


@router.get("/{name}")
def show(me: Viewer, session: Reader, backend: BackendDep, name: DatasetName) -> Response:
    """One data set: classes, subjects and sizes, what was erased."""
    dataset = datasets.dataset_named(session, name)
    context = contexts.DatasetPage(
        dataset=dataset,
        models=[model.name for model in datasets.models_of(session, dataset.id)],
        samples=contents.samples_of(backend.samples, dataset),
        sizes=contents.sizes_of(session, dataset),
        outcomes=contents.outcomes(session, dataset),
        erased=contents.erased_by(session, dataset),
    )
    return render(me, context)


@router.get("/{name}/subjects")
def subjects(
    me: Viewer,
    session: Reader,
    name: DatasetName,
    cursor: Annotated[str, Query(pattern=r"^(\d{1,9}-\d{1,18})?$")] = "",
) -> Response:
    """Subjects, those with the most samples first: hashes, never identifiers."""
    dataset = datasets.dataset_named(session, name)
    size, _, number = cursor.partition("-")
    after = (int(size), int(number)) if cursor else None
    found = contents.subjects(session, dataset, after=after, limit=PAGE + 1)
    shown = found[:PAGE]
    following = f"{shown[-1].sample_count}-{shown[-1].id}" if len(found) > PAGE else None
    listing = Listing(f"/admin/datasets/{name}/subjects", (), following, first=not cursor)
    return render(me, contexts.SubjectList(dataset=dataset, subjects=shown, listing=listing))


@router.get("/{name}/samples")
def samples(
    me: Administrator,
    tx: Tx,
    backend: BackendDep,
    name: DatasetName,
    label: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    cursor: Annotated[str, Query(pattern=r"^\d{0,18}$")] = "",
) -> Response:
    """Samples of one class. Whoever looks at people's data is on record for it."""
    dataset = datasets.dataset_named(tx.session, name)
    if label >= len(dataset.classes):
        raise NotFound(f"data set {name!r} has no class {label}")
    found = backend.samples.of_class(dataset.id, label, SHEET + 1, after=int(cursor or -1))
    following = str(found.keys[SHEET - 1]) if len(found) > SHEET else None
    options = [(str(each), title) for each, title in enumerate(dataset.classes)]
    listing = Listing(
        path=f"/admin/datasets/{name}/samples",
        filters=[Filter("label", "Class", options, str(label))],
        following=following,
        first=not cursor,
    )
    tx.record("dataset", dataset.id, "samples looked at", label=label)
    context = contexts.SampleSheet(
        dataset=dataset,
        label=label,
        thumbnails=thumbnails(found)[:SHEET],
        listing=listing,
    )
    return render(me, context)
