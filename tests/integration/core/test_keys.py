"""API keys: only a digest is kept; scopes, expiry, revocation; the embedded mode's own."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from core import first_key, keys, startup
from core.backend import Backend, open_backend
from core.errors import Conflict, Forbidden, Invalid, NotFound, SettingsError, Unauthorized
from core.keys import Caller
from core.records import ApiKey
from tests.factories import other, with_model
from tests.integration.core.helpers import at_once, events_of


def make(backend: Backend, scopes: tuple[str, ...] = ("read",), days: int | None = None) -> str:
    with backend.db.transaction() as tx:
        return keys.create(tx, "tests", list(scopes), days=days)[1]


def recognised(backend: Backend, text: str) -> Caller:
    with backend.db.reading() as session:
        return keys.recognise(session, text)


def test_a_key_is_recognised_with_its_scopes(backend: Backend) -> None:
    text = make(backend, ("read", "erase", "read"))
    caller = recognised(backend, text)
    assert (caller.name, caller.scopes) == ("tests", {"read", "erase"})
    assert text.startswith(f"{caller.key_id}.")
    with backend.db.reading() as session:
        (record,) = keys.listed(session)
    assert text.partition(".")[2] not in str(vars(record)), "only a digest is kept"
    assert events_of(backend, "key", caller.key_id) == ["created"]


@pytest.mark.parametrize("change", ["", "cut", "longer", "other id", "no dot", "empty", "swapped"])
def test_anything_else_is_refused_without_saying_why(backend: Backend, change: str) -> None:
    text, another = make(backend), make(backend)
    key_id, _, secret = text.partition(".")
    tried = {
        "": text,
        "cut": text[:-1],
        "longer": text + "x",
        "other id": f"key_x.{secret}",
        "no dot": key_id + secret,
        "empty": "",
        "swapped": f"{key_id}.{another.partition('.')[2]}",
    }[change]
    if not change:
        recognised(backend, tried)
        return
    with pytest.raises(Unauthorized, match="not known"):
        recognised(backend, tried)


def test_an_unknown_key_costs_the_same_comparison(
    sqlite_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the id nor the digest can be found by timing answers."""
    real, compared = keys.hmac.compare_digest, []

    def compare(a: str, b: str) -> bool:
        compared.append((len(a), len(b)))
        return real(a, b)

    text = make(sqlite_backend)
    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    for tried in (text, text + "x", "key_x.secret", ""):
        try:
            recognised(sqlite_backend, tried)
        except Unauthorized:
            continue
    assert compared == [(64, 64)] * 8, "of the secret, and of the one before it"


def test_a_key_ends_when_it_is_due(backend: Backend) -> None:
    text = make(backend, days=1)
    key_id = recognised(backend, text).key_id
    with backend.db.transaction() as tx:
        tx.session.get_one(ApiKey, key_id).expires_at = tx.now
    with pytest.raises(Unauthorized, match="expired"):
        recognised(backend, text)


def test_a_revoked_key_ends_at_once_and_once(backend: Backend) -> None:
    text = make(backend)
    key_id = recognised(backend, text).key_id
    for _ in range(2):
        with backend.db.transaction() as tx:
            revoked = keys.revoke(tx, key_id)
    assert revoked.revoked_at is not None
    with pytest.raises(Unauthorized, match="revoked"):
        recognised(backend, text)
    assert events_of(backend, "key", key_id) == ["created", "revoked"]
    with pytest.raises(NotFound, match="no key key_x"), backend.db.transaction() as tx:
        keys.revoke(tx, "key_x")


@pytest.mark.parametrize(
    ("scopes", "days", "message"),
    [
        ([], None, r"unknown scope \(none\); use erase"),
        (["read", "rule", "all"], None, "unknown scope all, rule;"),
        (["read"], 0, "at least one day"),
        (["read"], -1, "at least one day"),
        (["read"], 10**9, "36500 at most"),
    ],
)
def test_what_no_key_can_be(
    sqlite_backend: Backend, scopes: list[str], days: int | None, message: str
) -> None:
    with pytest.raises(Invalid, match=message), sqlite_backend.db.transaction() as tx:
        keys.create(tx, "tests", scopes, days=days)


def test_use_is_noted_and_keys_are_listed_newest_first(backend: Backend) -> None:
    ids = [recognised(backend, make(backend)).key_id for _ in range(3)]
    with backend.db.transaction() as tx:
        at = tx.now + timedelta(seconds=5)
    keys.touch(backend.db, ids[0], at)
    with backend.db.reading() as session:
        assert [k.id for k in keys.listed(session)] == ids[::-1]
        assert [k.last_used_at for k in keys.listed(session)] == [None, None, at]


def rotate(backend: Backend, text: str, hours: float, days: int | None = None) -> str:
    with backend.db.transaction() as tx:
        overlap = timedelta(hours=hours)
        return keys.rotate(tx, text.partition(".")[0], overlap=overlap, days=days)[1]


def test_a_rotated_key_is_good_under_both_texts_for_a_while(backend: Backend) -> None:
    first = make(backend)
    key_id = recognised(backend, first).key_id
    second = rotate(backend, first, 1)
    assert second.partition(".")[0] == key_id
    assert recognised(backend, first) == recognised(backend, second)
    third = rotate(backend, second, 1)
    with pytest.raises(Unauthorized, match="not known") as caught:
        recognised(backend, first)
    assert caught.value.key_id == key_id
    with backend.db.transaction() as tx:
        tx.session.get_one(ApiKey, key_id).previous_until = tx.now
    with pytest.raises(Unauthorized, match="rotated"):
        recognised(backend, second)
    assert recognised(backend, third).key_id == key_id
    assert events_of(backend, "key", key_id) == ["created", "rotated", "rotated"]


def test_a_rotation_may_end_the_old_text_at_once_and_move_the_end(backend: Backend) -> None:
    first = make(backend, days=1)
    second = rotate(backend, first, 0, days=30)
    with pytest.raises(Unauthorized, match="not known"):
        recognised(backend, first)
    with backend.db.transaction() as tx:
        record = tx.session.get_one(ApiKey, recognised(backend, second).key_id)
        assert record.previous_digest is None
        assert record.expires_at is not None
        assert record.expires_at > tx.now + timedelta(days=29)
        record.expires_at = tx.now
    with pytest.raises(Conflict, match="has expired"):
        rotate(backend, second, 0)
    third = rotate(backend, second, 0, days=1)
    with backend.db.transaction() as tx:
        keys.revoke(tx, recognised(backend, third).key_id)
    with pytest.raises(Conflict, match="was revoked"):
        rotate(backend, third, 0)


@pytest.mark.parametrize(
    ("hours", "days", "message"), [(-1, None, "0 to 90"), (24 * 91, None, "0 to 90"), (1, 0, "one")]
)
def test_what_no_rotation_can_be(
    sqlite_backend: Backend, hours: float, days: int | None, message: str
) -> None:
    text = make(sqlite_backend)
    with pytest.raises(Invalid, match=message):
        rotate(sqlite_backend, text, hours, days)


def test_a_session_ends_with_the_text_that_it_was_begun_with(sqlite_backend: Backend) -> None:
    text = make(sqlite_backend)
    key_id = recognised(sqlite_backend, text).key_id
    with sqlite_backend.db.transaction() as tx:
        began = tx.now
    rotate(sqlite_backend, text, 1)
    with sqlite_backend.db.transaction() as tx:
        assert keys.holder(tx.session, key_id, began).key_id == key_id
        record = tx.session.get_one(ApiKey, key_id)
        record.previous_until = tx.now
        with pytest.raises(Unauthorized, match="rotated"):
            keys.holder(tx.session, key_id, began)
        assert keys.holder(tx.session, key_id, tx.now + timedelta(seconds=1)).key_id == key_id
        with pytest.raises(Unauthorized, match="not known"):
            keys.holder(tx.session, "key_x", began)


def test_a_key_may_be_for_one_model(sqlite_backend: Backend) -> None:
    model = with_model(sqlite_backend)
    with sqlite_backend.db.transaction() as tx:
        record, text = keys.create(tx, "tests", ["read"], model="digits")
    caller = recognised(sqlite_backend, text)
    assert (caller.model_id, caller.model) == (model.id, "digits")
    caller.permit("digits")
    with pytest.raises(Forbidden, match="'digits' alone"):
        caller.permit("letters")
    with sqlite_backend.db.reading() as session:
        assert [k.model_id for k in keys.listed(session)] == [model.id]
        assert keys.models_of(session) == {model.id: "digits"}
        assert keys.model_of(session, record) == "digits"
    with pytest.raises(NotFound, match="letters"), sqlite_backend.db.transaction() as tx:
        keys.create(tx, "tests", ["read"], model="letters")


# The embedded mode's key


def test_its_file_follows_its_rotation_and_no_other_keys(sqlite_backend: Backend) -> None:
    settings = sqlite_backend.settings
    assert not first_key.replace(settings, "key_x.y")
    first = startup.prepare(sqlite_backend)
    assert first is not None
    assert not first_key.replace(settings, make(sqlite_backend))
    text = rotate(sqlite_backend, first.text, 0)
    assert first_key.replace(settings, text)
    assert first.path.read_text() == text + "\n"
    assert first.path.stat().st_mode & 0o777 == 0o600
    again = startup.prepare(sqlite_backend)
    assert again is not None
    assert (again.text, again.made) == (text, False)


def test_the_first_start_makes_a_key_and_the_next_finds_it(sqlite_backend: Backend) -> None:
    first = startup.prepare(sqlite_backend)
    second = startup.prepare(sqlite_backend)
    assert first is not None
    assert second is not None
    assert (first.made, second.made) == (True, False)
    assert first.text == second.text == first.path.read_text().strip()
    assert first.path.stat().st_mode & 0o777 == 0o600
    assert recognised(sqlite_backend, first.text).scopes == set(keys.SCOPES)


@pytest.mark.parametrize("what", ["revoked", "damaged", "lost", "of another database"])
def test_a_key_that_is_no_longer_good_is_replaced(sqlite_backend: Backend, what: str) -> None:
    db, settings = sqlite_backend.db, sqlite_backend.settings
    first = first_key.ensure(db, settings)
    if what == "revoked":
        with db.transaction() as tx:
            keys.revoke(tx, first.text.partition(".")[0])
    elif what == "damaged":
        first.path.write_bytes(b"\xff\x00")
    elif what == "lost":
        first.path.unlink()
    else:
        first.path.write_text(keys.new_text())
    second = first_key.ensure(db, settings)
    assert second.made
    assert second.text != first.text
    assert second.path.read_text().strip() == second.text
    assert recognised(sqlite_backend, second.text)


@pytest.mark.parametrize("stale", [False, True])
def test_processes_that_start_together_agree_on_the_key(
    sqlite_backend: Backend, stale: bool
) -> None:
    settings = sqlite_backend.settings
    if stale:
        (settings.home / "api-key").write_text("key_old.secret")
    found = at_once(*[lambda: first_key.ensure(sqlite_backend.db, settings)] * 4)
    texts = {each.text for each in found}  # type: ignore[union-attr]
    assert len(texts) == 1
    assert (settings.home / "api-key").read_text().strip() in texts
    assert [each.made for each in found].count(True) == 1  # type: ignore[union-attr]
    with sqlite_backend.db.reading() as session:
        assert session.scalar(select(func.count()).select_from(ApiKey)) == 1


def test_an_embedded_database_is_made_at_the_start(sqlite_backend: Backend) -> None:
    settings = other(sqlite_backend.settings, home=sqlite_backend.settings.home / "new")
    settings.check()
    fresh = open_backend(settings)
    made = startup.prepare(fresh)
    assert made is not None
    assert made.made
    fresh.close()


def test_production_is_checked_and_gets_no_key(postgres_backend: Backend) -> None:
    assert startup.prepare(postgres_backend) is None
    assert not (postgres_backend.settings.home / "api-key").exists()
    with postgres_backend.db.transaction() as tx:
        tx.session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(SettingsError, match="lethe db upgrade"):
        startup.prepare(postgres_backend)
