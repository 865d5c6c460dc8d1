"""Keyed hashes: found again with the secret, worth nothing without it."""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from core.identities import Identities, open_commitment

ids = Identities(b"a secret of sixteen bytes")


def test_as_rfc_2104_says() -> None:
    expected = hmac.new(b"a secret of sixteen bytes", b"subject\0alice", hashlib.sha256)
    assert ids.subject("alice").raw == expected.hexdigest()


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_a_request_that_carries_a_hash_finds_the_same_subject(name: str) -> None:
    """An md5 hex digest, keyed with its own label, is what import stored for it."""
    plain = name.encode()
    four = ids.subject(name)
    for kind in ("md5", "sha1", "sha256"):
        digest = hashlib.new(kind, plain).hexdigest().encode()
        assert getattr(four, kind) == ids._keyed(f"subject/{kind}", digest)


@given(st.text(alphabet=st.characters(codec="utf-8")), st.text(alphabet="abc\0"))
def test_no_two_uses_share_a_hash(a: str, b: str) -> None:
    made = [
        *vars(ids.subject(a)).values(),
        ids.sample(a, b),
        ids.image(a.encode()),
        ids.body(a.encode()),
        ids.salt(a),
    ]
    assert len(set(made)) == len(made)
    assert all(len(each) == 64 for each in made)


def test_another_secret_gives_other_hashes() -> None:
    other = Identities(b"another secret of bytes")
    assert other.subject("alice").raw != ids.subject("alice").raw
    assert other.commitment("er_1", "alice") != ids.commitment("er_1", "alice")


def test_data_set_and_sample_do_not_run_together() -> None:
    assert ids.sample("a", "b/c") != ids.sample("a/b", "c")


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_the_subject_can_open_the_commitment_and_nobody_else_can(name: str) -> None:
    commitment = ids.commitment("er_1", name)
    assert open_commitment(ids.salt("er_1"), name) == commitment
    assert open_commitment(ids.salt("er_2"), name) != commitment
    assert open_commitment(ids.salt("er_1"), name + "x") != commitment
