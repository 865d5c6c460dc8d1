"""What Lethe runs on, for whoever operates it: processes, parts, versions, settings in force.

Every part is asked and none is waited for long; nothing that is secret is in any answer.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import redis
from pydantic import SecretStr
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.db import database_now
from core.queue import celery_app
from core.records import Lease, Model, Replica, Version, Worker
from core.settings import Settings

PATIENCE = 1.0
"""Seconds that a broker has to answer."""

PACKAGES = ("lethe", "fastapi", "celery", "sqlalchemy", "pylance", "torch", "numpy")

HIDDEN = "(hidden)"


@dataclass(frozen=True)
class Process:
    """A worker or a replica; alive while its lease holds."""

    id: str
    host: str
    pid: int | None
    started_at: datetime
    lease_until: datetime
    alive: bool
    doing: str


@dataclass(frozen=True)
class Part:
    """A part that Lethe needs: what it is, whether it answers, and facts of it in words."""

    name: str
    ok: bool
    facts: list[tuple[str, str]]


@dataclass(frozen=True)
class Setting:
    """One setting in force. given: it is not what it is by default."""

    name: str
    value: str
    given: bool


def workers(session: Session) -> list[Process]:
    """Worker processes, alive or lately dead, oldest first; one of them leads the sweep."""
    now = database_now(session)
    leaders = set(session.scalars(select(Lease.owner).where(Lease.until >= now)))
    found = []
    for each in session.scalars(select(Worker).order_by(Worker.started_at, Worker.id)):
        host, pid = _place(each.id)
        alive = each.lease_until >= now
        doing = "leads the sweep" if each.id in leaders else "takes jobs"
        found.append(Process(each.id, host, pid, each.started_at, each.lease_until, alive, doing))
    return found


def replicas(session: Session) -> list[Process]:
    """Inference processes, alive or lately dead, oldest first, and what each says it serves."""
    now = database_now(session)
    names = dict(session.execute(select(Model.id, Model.name)).all())
    found = []
    for each in session.scalars(select(Replica).order_by(Replica.started_at, Replica.id)):
        alive, doing = each.lease_until >= now, _served(each.serving, names)
        process = Process(
            each.id, each.host, each.pid, each.started_at, each.lease_until, alive, doing
        )
        found.append(process)
    return found


def database(session: Session) -> Part:
    """Kind, version, size and revision of the schema."""
    revision = session.scalar(text("SELECT version_num FROM alembic_version"))
    facts = [("Schema", f"revision {revision}")]
    if session.get_bind().dialect.name == "sqlite":
        release = f"SQLite {session.scalar(text('SELECT sqlite_version()'))}"
        pages, size = session.scalar(text("PRAGMA page_count")), text("PRAGMA page_size")
        stored = (pages or 0) * (session.scalar(size) or 0)
    else:
        release = f"PostgreSQL {session.scalar(text('SHOW server_version'))}"
        stored = session.scalar(select(func.pg_database_size(func.current_database()))) or 0
        connected = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        facts.append(("Connections", str(session.scalar(connected))))
    return Part("Database", True, [("Kind", release), ("Size", size_of(stored)), *facts])


def broker(settings: Settings) -> Part:
    """Where wake-ups go, and whether it answers. Nothing is lost while it does not."""
    url = settings.broker_url
    if url is None:
        folder = settings.home.absolute() / "broker" / "messages"
        waiting = len(list(folder.iterdir())) if folder.is_dir() else 0
        facts = [("Kind", "files under LETHE_HOME"), ("Wake-ups waiting", f"{waiting:,}")]
        return Part("Broker", True, facts)
    facts = [("Address", masked(url))]
    try:
        if url.startswith(("redis://", "rediss://")):
            facts.append(("Kind", _redis(url)))
        else:
            with celery_app(settings).connection_for_write(connect_timeout=PATIENCE) as connection:
                connection.connect()
    except Exception as error:  # noqa: BLE001  # any fault: it is what this page is there to say
        why = f"{type(error).__name__}: jobs still run, workers look for them by themselves"
        return Part("Broker", False, [*facts, ("Does not answer", why)])
    return Part("Broker", True, facts)


def storage(session: Session, settings: Settings) -> Part:
    """Where samples and checkpoints lie, how many checkpoints there are, what room is left."""
    kept = select(func.count()).select_from(Version)
    kept = kept.where(Version.state.in_(("candidate", "serving", "retired")))
    facts = [("Place", masked(settings.store)), ("Checkpoints", f"{session.scalar(kept):,}")]
    place = settings.store.removeprefix("file://")
    if "://" in place:
        return Part("Storage", True, facts)
    path = Path(place)
    if not path.is_dir():
        return Part("Storage", True, [*facts, ("Empty", "it is made with the first data set")])
    room = shutil.disk_usage(path)
    low = room.free < room.total / 20
    facts.append(("Free", f"{size_of(room.free)} of {size_of(room.total)}"))
    if low:
        facts.append(("Low", "less than a twentieth is free: publishing will fail when it is full"))
    return Part("Storage", not low, facts)


def versions() -> list[tuple[str, str]]:
    """What is installed here: this process's Python and the packages that matter."""
    found = [
        ("python", platform.python_version()),
        ("system", f"{sys.platform} {platform.machine()}"),
    ]
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            found.append((name, "not installed"))
    return found


def settings_in_force(settings: Settings) -> list[Setting]:
    """Every setting of this process, by name; what is secret is said to be set, and no more."""
    return [
        Setting(
            f"LETHE_{name.upper()}",
            _shown(getattr(settings, name)),
            getattr(settings, name) != field.default,
        )
        for name, field in sorted(type(settings).model_fields.items())
    ]


def masked(url: str) -> str:
    """A URL without credentials or parameters: rather too little of it than a secret."""
    scheme, mark, rest = url.partition("://")
    return scheme + mark + re.split(r"[?&]", rest.rpartition("@")[2])[0]


def size_of(count: float) -> str:
    """Bytes in words: 1.4 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return (
                f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
            )
        count /= 1000
    return f"{count:.1f} TB"


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, SecretStr):
        return HIDDEN
    text = str(value)
    return masked(text) if "://" in text else text


def _place(worker_id: str) -> tuple[str, int | None]:
    """Host and process, as a worker's name has them: HOST:PID."""
    host, _, pid = worker_id.rpartition(":")
    return (host, int(pid)) if pid.isdigit() else (worker_id, None)


def _served(serving: dict[str, Any], names: dict[str, str]) -> str:
    said = []
    for model_id, entry in sorted(serving.items()):
        name, number = names.get(model_id, model_id), entry.get("version")
        what = f"{name} {number}" if number is not None else f"{name}: nothing"
        said.append(f"{what} ({entry['error']})" if entry.get("error") else what)
    return ", ".join(said) or "nothing yet"


def _redis(url: str) -> str:
    with redis.Redis.from_url(
        url, socket_connect_timeout=PATIENCE, socket_timeout=PATIENCE
    ) as client:
        info: dict[str, Any] = client.info("server")
    return f"Redis {info['redis_version']}"
