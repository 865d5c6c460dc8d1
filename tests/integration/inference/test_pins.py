"""Versions asked for by number: retained ones that remember nothing to be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from core import keys, registry, replicas
from core.db import Transaction
from core.errors import Conflict, Gone, NotFound, Unavailable
from core.intake import NewRequest, submit
from core.records import Version
from core.transitions import move
from service.app import create_app
from service.inference.loader import Loader
from service.inference.pins import MOST_PINS
from tests.integration.inference.publishing import publish, until
from worker.engine import Engine


@pytest.fixture
def loader(engine: Engine) -> Iterator[Loader]:
    engine.backend.settings.poll_seconds = 0.05
    loader = Loader(engine.backend)
    loader.start()
    yield loader
    loader.stop()


def held(loader: Loader) -> set[int]:
    with loader.lock:
        return set(loader.slot("digits").held)


def at_hand(loader: Loader, number: int) -> bool:
    served = loader.pins.hold("digits", number)
    if served is not None:
        loader.release(served)
    return served is not None


def told(engine: Engine, digest: str) -> bool:
    """Does the database know that a replica may answer from it?"""
    with engine.backend.db.reading() as session:
        model = registry.model_named(session, "digits")
        return bool(replicas.still_serving(session, model.id, {digest}))


def retired(engine: Engine, loader: Loader, count: int) -> list[int]:
    """So many versions before the one that serves, none of them in memory any more."""
    for scale in range(count):
        publish(engine.backend, 0.9 - scale / 100)
    until(lambda: held(loader) == {count + 1})
    return list(range(1, count + 1))


def test_a_retained_version_is_loaded_when_it_is_asked_for_and_told(
    engine: Engine, loader: Loader
) -> None:
    retired(engine, loader, 1)
    assert loader.pins.hold("digits", 1) is None
    with ThreadPoolExecutor(4) as pool:
        served = list(pool.map(lambda _: loader.pins.fetch("digits", 1), range(4)))
    assert {each.number for each in served} == {1}
    assert served[0].users == 4
    assert told(engine, served[0].digest)
    for each in served:
        loader.release(each)
    again = loader.pins.hold(None, 1)
    assert again is served[0]
    loader.release(again)
    assert loader.status()["digits"]["version"] == 2, "what serves is another matter"


def test_the_serving_version_needs_no_pin(loader: Loader) -> None:
    served = loader.pins.hold("digits", 1)
    assert served is not None
    loader.release(served)
    assert held(loader) == {1}


def test_one_that_is_tainted_is_let_go_and_refused(engine: Engine, loader: Loader) -> None:
    retired(engine, loader, 1)
    served = loader.pins.fetch("digits", 1)
    submit(engine.backend, NewRequest(model="digits", subject_id="subject-1"), key_id=None)
    until(lambda: not at_hand(loader, 1))
    assert told(engine, served.digest), "a call still uses it"
    loader.release(served)
    until(lambda: not told(engine, served.digest))
    with pytest.raises(Conflict, match="to be forgotten"):
        loader.pins.fetch("digits", 1)


def _destroy(tx: Transaction, version_id: str) -> None:
    version = tx.session.get_one(Version, version_id)
    move(tx, version, "destroyed", reason="a test", destroyed_at=tx.now)


def test_one_that_was_destroyed_is_gone(engine: Engine, loader: Loader) -> None:
    retired(engine, loader, 1)
    served = loader.pins.fetch("digits", 1)
    loader.release(served)
    with engine.backend.db.transaction() as tx:
        _destroy(tx, served.id)
    until(lambda: not at_hand(loader, 1))
    with pytest.raises(Gone, match="destroyed"):
        loader.pins.fetch("digits", 1)


def test_what_never_was_or_was_never_published_is_refused(engine: Engine, loader: Loader) -> None:
    with pytest.raises(NotFound, match="no version 7"):
        loader.pins.fetch("digits", 7)
    publish(engine.backend, published=False)
    with pytest.raises(Conflict, match="never published"):
        loader.pins.fetch("digits", 2)


def test_one_whose_file_is_damaged_is_unavailable(engine: Engine, loader: Loader) -> None:
    retired(engine, loader, 1)
    with engine.backend.db.reading() as session:
        model = registry.model_named(session, "digits")
        digest = registry.version_numbered(session, model, 1).digest
    engine.backend.checkpoints.destroy(digest)
    with pytest.raises(Unavailable, match="version 1 of 'digits' cannot be loaded"):
        loader.pins.fetch("digits", 1)


def test_only_so_many_are_kept(engine: Engine, loader: Loader) -> None:
    numbers = retired(engine, loader, MOST_PINS + 1)
    for number in numbers:
        loader.release(loader.pins.fetch("digits", number))
    until(lambda: held(loader) == {*numbers[1:], len(numbers) + 1})


def test_over_http_each_refusal_has_its_status(engine: Engine) -> None:
    backend = engine.backend
    backend.settings.poll_seconds = 0.05
    old = publish(backend)
    publish(backend, 0.9, published=False)
    with backend.db.transaction() as tx:
        _, key = keys.create(tx, "a test's", ["predict"])
    headers = {"Authorization": f"Bearer {key}"}
    body = {"inputs": [[[0.0] * 8] * 8]}

    def asked(version: int) -> int:
        answer = client.post(f"/predict?version={version}", json=body, headers=headers)
        if answer.status_code == 200:
            assert answer.json()["version"] == version
            assert answer.headers["X-Model-Version"] == str(version)
        return answer.status_code

    with TestClient(create_app(backend.settings, "inference")) as client:
        assert [asked(version) for version in (1, 2, 3, 4)] == [200, 200, 409, 404]
        with backend.db.transaction() as tx:
            model = registry.lock_model(tx, old.model_id)
            _destroy(tx, registry.version_numbered(tx.session, model, 1).id)
        until(lambda: asked(1) == 410)
        submit(backend, NewRequest(model="digits", subject_id="subject-1"), key_id=None)
        assert asked(2) == 200, "what serves may be named too, until something else does"
