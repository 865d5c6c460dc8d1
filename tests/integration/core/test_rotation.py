"""Rotation of the secret: everybody is found again, nobody by the old secret alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from core import datasets, holds, rotation, startup, status_links, webhooks
from core.backend import Backend, open_backend
from core.certificates import verify
from core.db import Base
from core.errors import Conflict, SettingsError, Unavailable
from core.identities import Identities, open_commitment
from core.importing import Importer
from core.records import Denied, Subject
from core.requests import certificate_of, get
from tests.conftest import SECRET
from tests.factories import RandomSource, other, submit, with_model
from tests.integration.core.helpers import events_of, request_of

SECOND, THIRD = "the-second-secret-just-as-long", "the-third-secret-longer-than-both"

Reopen = Callable[..., Backend]


@pytest.fixture
def reopened(backend: Backend) -> Iterator[Reopen]:
    """The same database and stores under another secret, as a process started anew has them."""
    made: list[Backend] = []

    def reopen(secret: str, before: str) -> Backend:
        settings = other(backend.settings, secret=None, secrets_before=None)
        settings = type(settings)(
            **settings.model_dump(exclude={"secret", "secrets_before"}),
            secret=secret,
            secrets_before=before,
        )
        made.append(open_backend(settings))
        return made[-1]

    yield reopen
    for each in made:
        each.close()


def rotate(backend: Backend) -> int:
    with backend.db.transaction() as tx:
        return rotation.rotate(tx, backend.identities)


def test_everybody_is_found_again(backend: Backend, reopened: Reopen) -> None:
    with_model(backend)
    held = holds.place(backend, holds.NewHold("digits", "case 7", subject_id="subject-9"))
    first = submit(backend, "subject-0")
    nobody = submit(backend, "nobody@example.org")
    with backend.db.transaction() as tx:
        dataset_id = get(tx.session, first.request.id).dataset_id
        datasets.deny(tx, "sample", [backend.identities.sample("other", "train/00003")])
        datasets.deny(tx, "subject", [backend.identities.subject("subject-4").raw])
        link = status_links.make(tx, backend.identities, first.request.id)
        before = webhooks.secrets_in_force(tx.session, backend.identities, None, tx.now)

    now = reopened(SECOND, SECRET)
    with pytest.raises(SettingsError, match="run `lethe secret rotate`"):
        startup.prepare(now)
    with pytest.raises(Unavailable, match="rotated"):
        submit(now, "subject-0")
    assert rotate(now) == 60 * 4 + 2 + 1 + 2 + 2
    startup.prepare(now)
    with pytest.raises(Unavailable, match="rotated"):
        submit(backend, "subject-1")
    with pytest.raises(Conflict, match="already"):
        rotate(now)

    again = submit(now, "subject-0")
    assert again.request.subject_id == first.request.subject_id
    assert again.job_ids == first.job_ids
    assert submit(now, "subject-9").request.reason == holds.why(held)
    with now.db.reading() as session:
        assert status_links.find(session, now.identities, link.secret).request_id
        certificate = verify(certificate_of(session, nobody.request.id), now.signer.public_pem)
        old = get(session, nobody.request.id)
        salt = now.identities.salt(old.id, old.secret_generation)
        assert open_commitment(salt, "nobody@example.org") == old.commitment
        assert old.commitment in str(certificate)
        after = webhooks.secrets_in_force(session, now.identities, None, old.received_at)
        assert after[1:] == before, "callbacks are signed by both"
        subject = session.scalars(select(Subject).limit(1)).one()
        assert {subject.dataset_id} == {dataset_id}
    source = RandomSource(subjects=60)
    done = Importer(now.db, now.samples, now.identities).run("other", source)
    assert done.skipped == 3, "one by its name, two by whose they were"
    assert events_of(now, "secret", "secret") == ["rotated"]


def test_a_new_request_is_opened_by_the_salt_of_its_time(
    backend: Backend, reopened: Reopen
) -> None:
    with_model(backend)
    requests = [submit(backend, "subject-0").request]
    now = reopened(SECOND, SECRET)
    assert rotate(now)
    requests.append(submit(now, "subject-0").request)
    for generation, request in enumerate(requests):
        found = request_of(now, request.id)
        assert found.secret_generation == generation
        salt = now.identities.salt(found.id, generation)
        assert open_commitment(salt, "subject-0") == found.commitment
    assert len({found.subject_hash for found in (request_of(now, r.id) for r in requests)}) == 1


def test_two_rotations_at_once_and_one_by_one_end_alike() -> None:
    first, second, third = (secret.encode() for secret in (SECRET, SECOND, THIRD))
    one, two, three = (
        Identities(first),
        Identities(second, [first]),
        Identities(third, [first, second]),
    )
    stored = one.subject("anna").raw
    for generation in (1, 2):
        stored = three.again("subject", stored, generation)
    assert stored == three.subject("anna").raw
    assert two.again("subject", one.subject("anna").raw, 1) == two.subject("anna").raw
    hashes = {each.subject("anna").raw for each in (one, two, three, Identities(third))}
    assert len(hashes) == 4, "the last secret alone finds nobody, nor does the first"
    assert three.webhook_secrets("key_a", 1) == [
        Identities(third).webhook_secret("key_a", 1),
        Identities(second).webhook_secret("key_a", 1),
    ]


def test_another_secret_than_the_one_in_force_is_refused(
    sqlite_backend: Backend, tmp_path: Path
) -> None:
    chain = [secret.encode() for secret in (SECRET, SECOND)]
    with sqlite_backend.db.transaction() as tx:
        rotation.rotate(tx, Identities(chain[1], chain[:1]))
    wrong = Identities(THIRD.encode(), chain[:1])
    with sqlite_backend.db.transaction() as tx, pytest.raises(Unavailable):
        rotation.check(tx.session, wrong)
    with sqlite_backend.db.transaction() as tx, pytest.raises(Conflict, match="does not end with"):
        rotation.rotate(tx, Identities(b"x" * 20, [chain[0], THIRD.encode()]))


def test_every_stored_hash_is_known_to_the_rotation() -> None:
    """A table to come that keeps a keyed hash must be listed, or explained here."""
    explained = {
        "api_keys": {"digest", "previous_digest"},  # SHA-256 of random bits
        "audit_events": {"hash", "previous"},  # the chain's own
        "audit_head": {"hash"},
        "canary_groups": {"commitment"},  # of made-up samples
        "erasure_requests": {"commitment"},  # opened by the salt of its time
        "secret_state": {"fingerprint"},
        "versions": {"digest"},  # of a file
        "teachers": {"digest"},
    }
    listed = {stored.record.__tablename__: set(stored.labels) for stored in rotation._STORED}
    for name, table in Base.metadata.tables.items():
        found = {
            column.name for column in table.columns if getattr(column.type, "length", None) == 64
        }
        known = explained.get(name, set()) | listed.get(name, set())
        assert found <= known, (name, found - known)
    assert Denied.__tablename__ in listed
