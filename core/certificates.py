"""Certificates: a JSON document and its Ed25519 signature, verifiable offline.

Signed are the document's canonical bytes (`core.audit.canonical`: sorted keys, no spaces,
UTF-8); Ed25519 as in RFC 8032.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from core import audit
from core.audit import canonical
from core.db import Transaction
from core.errors import Invalid, SettingsError
from core.points import reached
from core.records import Certificate, ErasureRequest
from core.settings import Settings, made_once

STATEMENT = "No evidence of remembering under these tests, at this power."
"""What a passed verification may claim, and no more."""

UNTESTED = "The samples were destroyed. No model had to forget them, and no test was run."
"""Where nothing had been trained on what was erased, or nothing is served."""


class Signer:
    """Signs certificates with the service's Ed25519 key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @property
    def public_pem(self) -> str:
        """The public key as PEM, for `GET /certificates/key`."""
        return (
            self._key.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode()
        )

    def sign(self, document: dict[str, Any]) -> str:
        """The whole certificate as JSON text: the document and its signature."""
        signature = {
            "algorithm": "Ed25519",
            "key_id": key_id(self._key.public_key()),
            "value": base64.b64encode(self._key.sign(canonical(document))).decode(),
        }
        whole = {"certificate": document, "signature": signature}
        return _indented(whole)


def _indented(whole: dict[str, Any]) -> str:
    """By orjson, which takes a twentieth of the time; it knows no integer over 64 bits."""
    try:
        return orjson.dumps(whole, option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONEncodeError:
        return json.dumps(whole, indent=2)


def open_signer(settings: Settings) -> Signer:
    """The signer for the key in force; embedded mode makes the key on first use.

    Raises `SettingsError` when the file is no Ed25519 private key in PEM.
    """
    path = settings.signing_key or settings.home / "signing-key.pem"
    if settings.signing_key is not None and not path.is_file():
        raise SettingsError(f"LETHE_SIGNING_KEY ({path}) is not a file")
    return Signer(_load(made_once(path, _new_key), path))


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _load(pem: bytes, path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(
            f"{path} is not an Ed25519 private key in PEM; make one with "
            "`openssl genpkey -algorithm ed25519`"
        )
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 of the raw public key, hex, first 16 digits."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def verify(text: str | bytes, public_pem: str) -> dict[str, Any]:
    """The certificate's document if its signature holds; needs nothing but the public key.

    Raises `Invalid` naming what is wrong: no JSON, not a certificate, another key, changed.
    """
    try:
        whole = json.loads(text, object_pairs_hook=_once)
    except _DuplicateKey as error:
        raise Invalid(f"this is not a certificate: {error} is said twice") from None
    except (ValueError, RecursionError):
        raise Invalid("this is not JSON, so not a certificate") from None
    try:
        document, signature = whole["certificate"], whole["signature"]
        value = base64.b64decode(signature["value"], validate=True)
        if base64.b64encode(value).decode() != signature["value"]:
            raise ValueError("bits after the end")
        algorithm, signed_by = signature["algorithm"], signature["key_id"]
        signed = canonical(document)
    except (KeyError, TypeError, ValueError):
        raise Invalid("this JSON is not a certificate: it lacks a part or garbles one") from None
    if whole.keys() != {"certificate", "signature"} or not isinstance(document, dict):
        raise Invalid("this JSON is not a certificate: it says things that nobody signed")
    if algorithm != "Ed25519":
        raise Invalid(f"signature algorithm {algorithm!r} is not Ed25519")
    try:
        key = serialization.load_pem_public_key(public_pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise Invalid("the key given is not an Ed25519 public key in PEM")
    if key_id(key) != signed_by:
        raise Invalid(f"signed by key {signed_by}, but the key given is {key_id(key)}")
    try:
        key.verify(value, signed)
    except InvalidSignature:
        raise Invalid("the signature does not hold: the certificate was changed") from None
    return document


class _DuplicateKey(ValueError):
    """The key that a JSON object holds twice: readers would differ on what it says."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _DuplicateKey(next(repr(name) for name in names if names.count(name) > 1))
    return found


def issue(
    tx: Transaction,
    signer: Signer,
    request: ErasureRequest,
    dataset: str,
    jobs: Mapping[str, dict[str, Any] | None],
    head: tuple[int, str] | None = None,
) -> None:
    """Sign and keep the certificate of a request that was just completed.

    `jobs`: for each model's name what its job did and measured, or None when nothing had to
    be done. head: of the audit chain, if the caller knows it. Issued in the transaction that
    completes the request, and written at its end; issuing twice is a no-op.
    """
    if tx.session.get(Certificate, request.id) is not None:
        return
    seq, hashed = head or audit.head_of(tx.session)
    document = {
        "type": "lethe/erasure-certificate",
        "version": 1,
        "request": {
            "id": request.id,
            "external_id": request.external_id,
            "regulation": request.regulation,
            "received_at": audit.timestamp(request.received_at),
            "due_at": audit.timestamp(request.due_at),
            "completed_at": audit.timestamp(tx.now),
        },
        "subject": {"commitment": request.commitment, "opens_with": "SHA-256(salt NUL subject_id)"},
        "dataset": dataset,
        "outcome": request.outcome,
        "sample_count": request.sample_count,
        "models": jobs,
        "statement": _statement(jobs),
        "audit": {"seq": seq, "head": hashed},
        "issued_by": {"software": "lethe", "version": _version()},
    }
    reached("sign:before")
    tx.last.append(
        Certificate(request_id=request.id, document=signer.sign(document), created_at=tx.now)
    )
    reached("sign:after")
    tx.record("certificate", request.id, "issued", outcome=request.outcome)


@cache
def _version() -> str:
    return importlib.metadata.version("lethe")


def _statement(jobs: Mapping[str, dict[str, Any] | None]) -> str:
    """What may be claimed: of no test that was not run."""
    done = [job for job in jobs.values() if job]
    if any((job.get("verification") or {}).get("gates") for job in done):
        return STATEMENT
    return UNTESTED if done else "Nothing was found to erase."
