"""Models and their versions: registered, published, tainted, destroyed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core import datasets
from core import policy as policies
from core.db import Transaction
from core.errors import Conflict, NotFound
from core.ids import new_id
from core.names import check_name
from core.records import Dataset, Job, Model, Taint, Teacher, Version
from core.states import JOB_HELD
from core.transitions import move


def model_named(session: Session, name: str) -> Model:
    """The model; raises `NotFound` with the names that exist."""
    model = session.scalars(select(Model).where(Model.name == name)).one_or_none()
    if model is None:
        names = session.scalars(select(Model.name).order_by(Model.name).limit(10)).all()
        known = ", ".join(names) or "none yet: `lethe train` makes one"
        raise NotFound(f"there is no model {name!r}; models: {known}")
    return model


def models(session: Session, *, only: str | None = None) -> list[Model]:
    """Every model, by name; or the one with the id `only`."""
    query = select(Model).order_by(Model.name)
    return list(session.scalars(query if only is None else query.where(Model.id == only)))


_MODELS_LOCKED = (
    select(Model)
    .where(
        Model.dataset_id
        == select(Model.dataset_id).where(Model.name == bindparam("name")).scalar_subquery()
    )
    .order_by(Model.id)
    .with_for_update()
)


def models_locked(tx: Transaction, name: str) -> tuple[Model, list[Model]]:
    """The model, and all that were trained on its data set, in the order of their locks."""
    models = list(tx.session.scalars(_MODELS_LOCKED, {"name": name}))
    named = [model for model in models if model.name == name]
    return named[0] if named else model_named(tx.session, name), models


def create_model(
    tx: Transaction,
    name: str,
    dataset: Dataset,
    *,
    architecture: dict[str, Any],
    training: dict[str, Any],
    policy: dict[str, Any] | None = None,
) -> Model:
    """Register a model; raises `Conflict` when the name is taken, `Invalid` for a bad name or
    policy (see `core.policy`)."""
    check_name(name)
    taken = tx.session.scalars(select(Model.id).where(Model.name == name)).first()
    if taken is not None:
        raise Conflict(f"there is a model {name!r} already; choose another name")
    model = Model(
        id=new_id("mdl"),
        name=name,
        dataset_id=dataset.id,
        architecture=architecture,
        training=training,
        policy=policies.merged({}, policy or {}),
        created_at=tx.now,
    )
    tx.session.add(model)
    try:
        tx.session.flush()
    except IntegrityError:  # another took it in the same moment
        raise Conflict(f"there is a model {name!r} already; choose another name") from None
    tx.record("model", model.id, "created", dataset=dataset.id)
    return model


def lock_model(tx: Transaction, model_id: str) -> Model:
    """The model's row, locked: taints and publications of one model take turns."""
    query = select(Model).where(Model.id == model_id).with_for_update()
    return tx.session.scalars(query.execution_options(populate_existing=True)).one()


def serving(session: Session, model_id: str) -> Version | None:
    """The version that is served now."""
    query = select(Version).where(Version.model_id == model_id, Version.state == "serving")
    return session.scalars(query).one_or_none()


def versions(session: Session, model_id: str) -> list[Version]:
    """Every version, newest first, the destroyed ones too: lineage outlives the files."""
    query = select(Version).where(Version.model_id == model_id).order_by(Version.number.desc())
    return list(session.scalars(query))


def version_numbered(session: Session, model: Model, number: int) -> Version:
    """One version of a model, whatever its state; raises `NotFound`."""
    query = select(Version).where(Version.model_id == model.id, Version.number == number)
    version = session.scalars(query).one_or_none()
    if version is None:
        raise NotFound(f"model {model.name!r} has no version {number}")
    return version


def taints(session: Session, version_ids: Collection[str]) -> dict[str, list[str]]:
    """Which requests each version still remembers; versions without any are left out."""
    found: dict[str, list[str]] = {}
    query = select(Taint).where(Taint.version_id.in_(version_ids)).order_by(Taint.request_id)
    for taint in session.scalars(query):
        found.setdefault(taint.version_id, []).append(taint.request_id)
    return found


def add_version(
    tx: Transaction,
    model: Model,
    *,
    digest: str,
    metrics: dict[str, Any],
    parent: Version | None = None,
    job: Job | None = None,
    forgotten: Collection[str] = (),
) -> Version:
    """Register a checkpoint as a candidate. The model's row must be locked.

    It remembers what its parent remembers, less the requests in `forgotten`; one without a
    parent (a first training) remembers every open request of its data set.
    """
    last = tx.session.scalar(select(func.max(Version.number)).where(Version.model_id == model.id))
    version = Version(
        id=new_id("ver"),
        model_id=model.id,
        number=(last or 0) + 1,
        digest=digest,
        parent_id=parent.id if parent else None,
        job_id=job.id if job else None,
        state="candidate",
        metrics=metrics,
        created_at=tx.now,
    )
    tx.session.add(version)
    tx.session.flush()
    if parent is not None:
        remembered = taints(tx.session, [parent.id]).get(parent.id, [])
    else:
        waiting = datasets.open_requests(tx.session, model.dataset_id)
        remembered = [request.id for request in waiting]
    for request_id in set(remembered) - set(forgotten):
        tx.session.add(Taint(version_id=version.id, request_id=request_id))
    tx.record("version", version.id, "created", model=model.id, digest=digest)
    return version


_REMEMBERED = (
    select(Version.id, Version.job_id, Taint.request_id)
    .outerjoin(
        Taint,
        (Taint.version_id == Version.id)
        & Taint.request_id.in_(bindparam("request_ids", expanding=True)),
    )
    .where(Version.model_id == bindparam("model_id"), Version.state != "destroyed")
)


def taints_by(session: Session, model_id: str, carried_by: Mapping[str, str]) -> list[Taint]:
    """New taints: every version that still exists remembers these requests, but those made to
    forget them.

    carried_by: for each request, the job that carries it out: its candidate has forgotten. The
    model's row must be locked.
    """
    if not carried_by:
        return []
    wanted = {"model_id": model_id, "request_ids": list(carried_by)}
    found = session.execute(_REMEMBERED, wanted).all()
    made_by = {version_id: job_id for version_id, job_id, _ in found}
    remembered = {(version_id, request_id) for version_id, _, request_id in found}
    return [
        Taint(version_id=version_id, request_id=request_id)
        for request_id, job_id in carried_by.items()
        for version_id, maker in made_by.items()
        if maker != job_id and (version_id, request_id) not in remembered
    ]


def publish(tx: Transaction, version: Version) -> None:
    """Make this the serving version, and the one before retired. The model's row must be locked."""
    before = serving(tx.session, version.model_id)
    if before is not None:
        move(tx, before, "retired")
    move(tx, version, "serving", published_at=tx.now)


def rollback(
    tx: Transaction,
    model: Model,
    number: int,
    reason: str,
    *,
    file_exists: Callable[[str], bool],
) -> Version:
    """Serve an earlier version again. The model's row must be locked.

    Only between versions that have forgotten the same requests: going back may never bring
    back what was erased. `file_exists` says whether a digest's checkpoint is in the store.
    Raises `NotFound`, or `Conflict` saying what stands against it.
    """
    query = select(Version).where(Version.model_id == model.id, Version.number == number)
    target = tx.session.scalars(query.with_for_update()).one_or_none()
    if target is None:
        raise NotFound(f"model {model.name!r} has no version {number}")
    current = serving(tx.session, model.id)
    if current is None or target.state != "retired":
        raise Conflict(
            f"version {number} of {model.name!r} is {target.state}; "
            "only a retired version can be served again"
        )
    held = select(Job.id).where(Job.model_id == model.id, Job.state.in_(JOB_HELD))
    running = tx.session.scalars(held).first()
    if running is not None:
        raise Conflict(f"job {running} changes {model.name!r} now; roll back when it has ended")
    remembered = taints(tx.session, [current.id, target.id])
    if set(remembered.get(target.id, ())) != set(remembered.get(current.id, ())):
        raise Conflict(
            f"version {number} and the served version {current.number} of {model.name!r} have "
            "not forgotten the same requests; retrain instead of going back"
        )
    if not file_exists(target.digest):
        raise Conflict(f"the file of version {number} is not in the store; retrain instead")
    publish(tx, target)
    tx.record("model", model.id, "rolled back", of=current.number, to=number, reason=reason)
    return target


def doomed(session: Session, model_id: str, request_ids: Collection[str]) -> list[Version]:
    """Versions, not served, that remember one of these requests and are not destroyed yet."""
    query = (
        select(Version)
        .join(Taint, Taint.version_id == Version.id)
        .where(
            Version.model_id == model_id,
            Taint.request_id.in_(request_ids),
            Version.state.in_(("retired", "candidate")),
        )
        .distinct()
    )
    return list(session.scalars(query))


def digests_in_use(session: Session, besides: Collection[str] = ()) -> set[str]:
    """Every digest whose file must stay: versions not destroyed, and teachers.

    besides: ids of versions that do not count. Equal weights share a file, so that another
    model may still need what one gives up.
    """
    living = Version.state != "destroyed", Version.id.not_in(besides)
    kept = set(session.scalars(select(Version.digest).where(*living)))
    return kept | set(session.scalars(select(Teacher.digest)))


def teacher_of(session: Session, model_id: str) -> Teacher | None:
    """The teacher made at the model's first training, while it is current."""
    return session.scalars(select(Teacher).where(Teacher.model_id == model_id)).one_or_none()


def set_teacher(tx: Transaction, model_id: str, digest: str) -> None:
    """Register the teacher of a model in place of the one before."""
    old = teacher_of(tx.session, model_id)
    if old is not None:
        tx.session.delete(old)
        tx.session.flush()
    tx.session.add(Teacher(id=new_id("tch"), model_id=model_id, digest=digest, created_at=tx.now))
    tx.record("model", model_id, "teacher made", digest=digest)
