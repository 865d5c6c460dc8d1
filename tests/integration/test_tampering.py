"""One flipped byte in a certificate, an audit row or a checkpoint is found, and named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from core import audit, certificates, registry, requests
from core.backend import Backend
from core.checkpoints import CheckpointCorrupt
from core.errors import Invalid
from core.intake import NewRequest, submit
from core.records import AuditEvent, Version
from service.inference.loader import Loader
from tests.cli import Commands
from tests.conftest import SECRET
from tests.factories import submit as ask
from tests.factories import with_model
from tests.integration.conftest import Erase, look
from worker import tasks
from worker.engine import Engine


@pytest.fixture
def lethe(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Commands:
    """The command line on the engine's home."""
    variables = {"LETHE_HOME": str(engine.backend.settings.home), "LETHE_SECRET": SECRET}
    return Commands(monkeypatch, capsys, tmp_path, variables)


def flip(path: Path, at: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def checkpoint_of(engine: Engine) -> tuple[Version, Path]:
    """The version that serves, and its file."""
    with engine.backend.db.reading() as session:
        version = registry.serving(session, registry.model_named(session, "digits").id)
    assert version is not None
    [path] = engine.backend.settings.home.rglob(f"{version.digest}.safetensors")
    return version, path


@pytest.fixture
def certificate(engine: Engine, erase: Erase) -> str:
    """Of a real job, with every gate and figure."""
    _, request = erase("subject-trigger")
    with engine.backend.db.reading() as session:
        return requests.certificate_of(session, request.id)


def test_no_byte_of_a_certificate_can_be_flipped(engine: Engine, certificate: str) -> None:
    """Nor one bit of it. White space between the parts says nothing, so it may change."""
    pem = engine.backend.signer.public_pem
    sound, found = certificate.encode(), 0
    document = certificates.verify(sound, pem)
    for at in range(len(sound)):
        raw = bytearray(sound)
        raw[at] ^= 1 << at % 8
        try:
            assert certificates.verify(bytes(raw), pem) == document, f"byte {at}"
        except Invalid:
            found += 1
        else:
            assert json.loads(raw) == json.loads(sound), f"byte {at}"
    assert found > 0.6 * len(sound)


@pytest.mark.parametrize("of", ['"statistic"', '"verdict"', '"digest_after"', '"head"', '"value"'])
def test_the_command_line_names_a_changed_certificate(
    lethe: Commands, certificate: str, tmp_path: Path, of: str
) -> None:
    file = tmp_path / "certificate.json"
    file.write_text(certificate)
    lethe.ok("verify-certificate", str(file))
    at = certificate.index(of) + len(of) + 2
    flip(file, at + (certificate[at] == '"'))
    said = lethe.fails("verify-certificate", str(file))
    assert "the certificate was changed" in said or "not a certificate" in said or "JSON" in said


@pytest.mark.parametrize("column", ["noun", "noun_id", "event", "previous", "hash", "data", "at"])
def test_a_flipped_byte_in_an_audit_row_is_named(backend: Backend, column: str) -> None:
    with_model(backend)
    ask(backend)
    with backend.db.reading() as session:
        rows = session.query(AuditEvent).order_by(AuditEvent.seq).all()
        assert audit.verify_chain(session).broken_at is None
    victim = rows[len(rows) // 2].seq
    postgres = backend.db.engine.dialect.name == "postgresql"
    kind = {"data": "json", "at": "timestamptz"}.get(column) if postgres else None
    read = text(f"SELECT CAST({column} AS text) FROM audit_events WHERE seq = :seq")
    with backend.db.engine.begin() as connection:
        old = connection.execute(read, {"seq": victim}).scalar_one()
        spot = next(i for i in range(len(old) - 4, -1, -1) if old[i].isalnum())
        new = old[:spot] + chr(ord(old[spot]) ^ 1) + old[spot + 1 :]
        value = f"CAST(:new AS {kind})" if kind else ":new"
        write = text(f"UPDATE audit_events SET {column} = {value} WHERE seq = :seq")
        connection.execute(write, {"new": new, "seq": victim})
    with backend.db.reading() as session:
        report = audit.verify_chain(session)
    assert report.broken_at == victim
    assert report.reason is not None
    assert f"event {victim} " in report.reason


@pytest.mark.parametrize(
    ("column", "garbage"), [("data", "'{'"), ("at", "'never'"), ("noun", "CAST(X'FF41' AS TEXT)")]
)
@pytest.mark.parametrize("seq", [1, 3])
def test_an_audit_row_that_cannot_be_read_is_named(
    engine: Engine, lethe: Commands, column: str, garbage: str, seq: int
) -> None:
    with engine.backend.db.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE audit_events SET {column} = {garbage} WHERE seq = {seq}"
        )
    said = lethe.fails("audit", "verify")
    assert f"broken at event {seq}: event {seq} was changed: it is garbled" in said


def test_a_database_that_fails_has_not_been_tampered_with(engine: Engine, lethe: Commands) -> None:
    with engine.backend.db.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE audit_events")
    assert "the database does not answer: no such table" in lethe.fails("audit", "verify")


def test_a_flipped_byte_in_the_database_file_is_named(engine: Engine, lethe: Commands) -> None:
    backend = engine.backend
    assert "unbroken" in lethe.ok("audit", "verify")
    with backend.db.reading() as session:
        victim = session.query(AuditEvent).order_by(AuditEvent.seq).offset(2).first()
    assert victim is not None
    with backend.db.engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")  # a checkpoint of the log wants no transaction
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("BEGIN")
    backend.db.close()
    path = backend.settings.home / "lethe.db"
    data, places = path.read_bytes(), []
    at = data.find(victim.hash.encode())
    while at >= 0:
        places.append(at)
        at = data.find(victim.hash.encode(), at + 1)
    assert len(places) == 2, "the event's own, and what the next one says of it"
    for place in places:
        flip(path, place + 5)
        said = lethe.fails("audit", "verify")
        assert f"the audit chain is broken at event {victim.seq}" in said or (
            f"the audit chain is broken at event {victim.seq + 1}" in said
        )
        flip(path, place + 5)
    assert "unbroken" in lethe.ok("audit", "verify")


@pytest.mark.parametrize("part", ["header length", "header", "first weight", "last weight"])
def test_a_flipped_byte_in_a_checkpoint_is_named_wherever_it_is_loaded(
    engine: Engine, part: str
) -> None:
    version, path = checkpoint_of(engine)
    header = int.from_bytes(path.read_bytes()[:8], "little")
    at = {"header length": 1, "header": 40, "first weight": 8 + header, "last weight": -1}[part]
    flip(path, at, bit=6)

    with pytest.raises(CheckpointCorrupt, match=f"Checkpoint {version.digest} is damaged"):
        engine.load_model(version.digest)

    loader = Loader(engine.backend)
    loader.start()
    try:
        assert not loader.ready()
        status = loader.status()["digits"]
        assert status["digest"] is None
        assert f"{version.digest} is damaged" in status["error"]
    finally:
        loader.stop()

    submitted = submit(engine.backend, NewRequest("digits", "subject-trigger"), key_id=None)
    tasks.work(engine, "by hand")
    job, request = look(engine, submitted.job_ids[0], submitted.request.id)
    assert job.state in ("queued", "needs_review")
    assert job.error is not None
    assert f"{version.digest} is damaged" in job.error
    assert request.outcome is None
    flip(path, at, bit=6)
    assert engine.load_model(version.digest) is not None
