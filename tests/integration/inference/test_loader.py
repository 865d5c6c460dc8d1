"""The hot swap: one reference, replaced between requests, told to the database first."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import update

from core import registry, replicas
from core.errors import NotFound, Unavailable
from core.records import Model, Replica
from service.inference.loader import Loader
from tests.integration.inference.publishing import publish, until
from worker.engine import Engine


@pytest.fixture
def loader(engine: Engine) -> Iterator[Loader]:
    engine.backend.settings.poll_seconds = 0.05
    loader = Loader(engine.backend)
    loader.start()
    yield loader
    loader.stop()


def _model(engine: Engine) -> Model:
    with engine.backend.db.reading() as session:
        return registry.model_named(session, "digits")


def _serves(loader: Loader, number: int) -> bool:
    return loader.status().get("digits", {}).get("version") == number


def test_what_is_published_is_served_and_reported(engine: Engine, loader: Loader) -> None:
    assert loader.ready()
    with loader.use(None) as served:
        assert (served.model, served.number) == ("digits", 1)
    version = publish(engine.backend)
    until(lambda: _serves(loader, 2))

    def told() -> bool:
        with engine.backend.db.reading() as session:
            (replica,) = replicas.live(session)
        entry = replica.serving[version.model_id]
        return (entry["digest"], entry["also"]) == (version.digest, [])

    until(told)


def test_a_request_keeps_its_version_and_the_old_one_counts_as_served_until_it_ends(
    engine: Engine, loader: Loader
) -> None:
    model = _model(engine)
    with loader.use("digits") as served:
        old = served.digest
        publish(engine.backend)
        until(lambda: _serves(loader, 2))
        assert served.number == 1
        with engine.backend.db.reading() as session:
            assert replicas.still_serving(session, model.id, {old}) != []
        with loader.use("digits") as next_one:
            assert next_one.number == 2

    def drained() -> bool:
        with engine.backend.db.reading() as session:
            return replicas.still_serving(session, model.id, {old}) == []

    until(drained)


def test_no_answer_is_older_than_one_given_before_and_none_fails(
    engine: Engine, loader: Loader
) -> None:
    over = threading.Event()
    seen: list[list[int]] = [[] for _ in range(3)]
    faults: list[Exception] = []

    def ask(mine: list[int]) -> None:
        while not over.is_set():
            try:
                with loader.use("digits") as served:
                    mine.append(served.number)
            except Exception as error:  # noqa: BLE001  # any fault at all fails the test
                faults.append(error)

    threads = [threading.Thread(target=ask, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    for number in range(2, 6):
        publish(engine.backend, 0.9)
        until(lambda number=number: _serves(loader, number))
    until(lambda: all(mine[-1] == 5 for mine in seen))
    over.set()
    for thread in threads:
        thread.join()
    assert faults == []
    for mine in seen:
        assert mine == sorted(mine)


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_a_version_that_cannot_be_loaded_leaves_the_old_one_serving(
    engine: Engine, loader: Loader, fault: str
) -> None:
    backend = engine.backend
    with backend.db.transaction() as tx:
        model = registry.lock_model(tx, _model(engine).id)
        before = registry.serving(tx.session, model.id)
        digest = "0" * 64
        if fault == "damaged":
            folder = backend.settings.home / "store" / "checkpoints"
            (folder / f"{digest}.safetensors").write_bytes(b"not what its name says")
        version = registry.add_version(tx, model, digest=digest, metrics={}, parent=before)
        registry.publish(tx, version)
    until(lambda: loader.status()["digits"]["error"] is not None)
    assert loader.status()["digits"]["version"] == 1
    assert loader.ready()
    with loader.use("digits") as served:
        assert served.number == 1


def test_a_replica_whose_lease_ran_out_serves_nothing_until_it_has_loaded_anew(
    engine: Engine, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = engine.backend
    backend.settings.replica_lease_seconds = 0.3
    monkeypatch.setattr(replicas, "renew", lambda *_: (_ for _ in ()).throw(_database_gone()))
    until(lambda: not loader.ready())
    with pytest.raises(Unavailable, match="lost touch"), loader.use("digits"):
        pass
    with backend.db.transaction() as tx:
        tx.session.execute(update(Replica).values(lease_until=tx.now))
    backend.settings.replica_lease_seconds = 2.0
    monkeypatch.undo()

    def live() -> int:
        with backend.db.reading() as session:
            return len(replicas.live(session))

    until(lambda: live() == 1 and loader.ready())
    with loader.use("digits") as served:
        assert served.number == 1


def _database_gone() -> Exception:
    from sqlalchemy.exc import OperationalError

    return OperationalError("UPDATE replicas", {}, Exception("gone"))


def test_a_model_is_named_unless_there_is_only_one(engine: Engine, loader: Loader) -> None:
    with pytest.raises(NotFound, match="digits"), loader.use("faces"):
        pass
    from worker.train import first_training

    first_training(engine.backend, "second", "digits", epochs=1, device="cpu")
    until(lambda: "second" in loader.status())
    with pytest.raises(NotFound, match="name the model: digits, second"), loader.use(None):
        pass


def test_before_the_first_training_nothing_is_served(sqlite_backend: object) -> None:
    loader = Loader(sqlite_backend)  # type: ignore[arg-type]
    loader.start()
    try:
        assert not loader.ready()
        with pytest.raises(Unavailable, match="lethe train"), loader.use("digits"):
            pass
    finally:
        loader.stop()


def test_a_replica_that_stops_leaves_no_row(engine: Engine) -> None:
    loader = Loader(engine.backend)
    loader.start()
    loader.stop()
    with engine.backend.db.reading() as session:
        assert replicas.live(session) == []
