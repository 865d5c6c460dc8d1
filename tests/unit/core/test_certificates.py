"""Certificates: verified offline, and any change is seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from core.certificates import Signer, open_signer, verify
from core.errors import Invalid, SettingsError
from core.settings import Settings
from tests.factories import other

signer = Signer(Ed25519PrivateKey.generate())
DOCUMENT: dict[str, Any] = {
    "type": "lethe/erasure-certificate",
    "models": {"digits": {"auc": 0.5031, "steps": 12, "ok": True, "note": None}},
    "outcome": "erased ✓",
}
TEXT = signer.sign(DOCUMENT)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def test_a_sound_one_is_returned() -> None:
    assert verify(TEXT, signer.public_pem) == DOCUMENT
    assert verify(TEXT.encode(), signer.public_pem) == DOCUMENT


@given(st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")), json_values))
@example({"a": 1e16, "b": -0.0, "c": 10**30})
def test_any_document_survives_the_journey(document: dict[str, Any]) -> None:
    text = json.dumps(json.loads(signer.sign(document)), indent=7, ensure_ascii=False)
    assert verify(text, signer.public_pem) == document


@pytest.mark.parametrize("bit", range(8))
def test_any_changed_bit_fails_or_changes_nothing(bit: int) -> None:
    """White space between the parts is nobody's statement; everything else is signed."""
    sound = TEXT.encode()
    for at in range(len(sound)):
        raw = bytearray(sound)
        raw[at] ^= 1 << bit
        try:
            verify(bytes(raw), signer.public_pem)
        except Invalid:
            continue
        assert json.loads(raw) == json.loads(TEXT), f"byte {at}"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("outcome",), "no_data_found"),
        (("models", "digits", "auc"), 0.5032),
        (("models", "digits", "ok"), 1),
        (("models", "digits", "steps"), 12.0),
        (("models", "digits", "note"), ""),
        (("added",), None),
    ],
)
def test_a_changed_field_fails(path: tuple[str, ...], value: object) -> None:
    whole = json.loads(TEXT)
    target = whole["certificate"]
    for name in path[:-1]:
        target = target[name]
    target[path[-1]] = value
    with pytest.raises(Invalid, match="was changed"):
        verify(json.dumps(whole), signer.public_pem)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("\x00", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a certificate"),
        ("null", "not a certificate"),
        ('"certificate"', "not a certificate"),
        ("{}", "not a certificate"),
        ('{"certificate": {}, "signature": {}}', "not a certificate"),
        (TEXT.replace('"value": "', '"value": "%'), "not a certificate"),
        (TEXT.replace("0.5031", "NaN"), "not a certificate"),
        (TEXT.replace("0.5031", "1e999"), "not a certificate"),
        (TEXT.replace("erased", "\\ud800"), "not a certificate"),
        (TEXT.replace("Ed25519", "none"), "not Ed25519"),
        (TEXT.replace('"outcome"', '"outcome": 1, "outcome"'), "'outcome' is said twice"),
        (TEXT.replace("{", '{"note": "erased twice",', 1), "nobody signed"),
        (Signer(Ed25519PrivateKey.generate()).sign(DOCUMENT), "signed by key"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_in_one_line(text: str | bytes, message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        verify(text, signer.public_pem)
    assert "\n" not in str(caught.value)


def test_only_an_object_can_be_a_certificate() -> None:
    with pytest.raises(Invalid, match="nobody signed"):
        verify(signer.sign([1]), signer.public_pem)  # type: ignore[arg-type]


def public(key: Any) -> str:
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode()


def private(key: Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem


@pytest.mark.parametrize(
    "pem", ["", "nonsense", public(ec.generate_private_key(ec.SECP256R1())), "-----BEGIN"]
)
def test_a_key_that_is_none(pem: str) -> None:
    with pytest.raises(Invalid, match="not an Ed25519 public key"):
        verify(TEXT, pem)


def test_the_key_is_made_once_and_kept(settings: Settings) -> None:
    first, second = open_signer(settings), open_signer(settings)
    assert first.public_pem == second.public_pem
    assert (settings.home / "signing-key.pem").stat().st_mode & 0o777 == 0o600
    assert verify(first.sign(DOCUMENT), second.public_pem) == DOCUMENT


def test_a_given_key_is_used(settings: Settings, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(private(key))
    opened = open_signer(other(settings, signing_key=tmp_path / "key.pem"))
    assert opened.public_pem == public(key)


def test_a_given_key_that_is_not_there_is_never_made(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"LETHE_SIGNING_KEY .* is not a file"):
        open_signer(other(settings, signing_key=tmp_path / "none.pem"))
    assert not (tmp_path / "none.pem").exists()


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"\xff",
        private(rsa.generate_private_key(65537, 2048)),
        Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        ),
    ],
    ids=["empty", "garbage", "rsa", "encrypted"],
)
def test_a_file_that_is_no_such_key(settings: Settings, tmp_path: Path, pem: bytes) -> None:
    (tmp_path / "key.pem").write_bytes(pem)
    with pytest.raises(SettingsError, match="not an Ed25519 private key") as caught:
        open_signer(other(settings, signing_key=tmp_path / "key.pem"))
    assert "\n" not in str(caught.value)
