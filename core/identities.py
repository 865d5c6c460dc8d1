"""Keyed hashes of people and samples: found again, but never read back without the secret."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SubjectHashes:
    """The four forms in which a request may name a subject, each hashed with the secret."""

    raw: str
    md5: str
    sha1: str
    sha256: str


class Identities:
    """HMAC-SHA-256 (RFC 2104) under the service's secret; every result is 64 hex digits.

    Each use has its own label, so that a hash made for one thing never matches another. Under a
    secret that followed others a hash is the hash of the hash before: what is stored is brought
    up to a new secret without knowing what it stands for. before: the secrets before this one,
    the oldest first.
    """

    def __init__(self, secret: bytes, before: Sequence[bytes] = ()) -> None:
        self._chain = (*before, secret)

    @property
    def generation(self) -> int:
        """How many secrets came before the one in force."""
        return len(self._chain) - 1

    def _keyed(self, label: str, value: bytes) -> str:
        found = _hashed(self._chain[0], label, value)
        for secret in self._chain[1:]:
            found = _hashed(secret, label, found.encode())
        return found

    def again(self, label: str, found: str, generation: int) -> str:
        """A stored hash of the generation before, under the secret of this one."""
        return _hashed(self._chain[generation], label, found.encode())

    def fingerprint(self, generation: int) -> str:
        """By which the secret of a generation is known again; nothing else is made of it."""
        return _hashed(self._chain[generation], "fingerprint", b"")

    def subject(self, identifier: str) -> SubjectHashes:
        """The hashes of a plain identifier: of itself, and of its md5, sha1 and sha256."""
        plain = identifier.encode()
        return SubjectHashes(
            raw=self._keyed("subject", plain),
            md5=self._keyed("subject/md5", _hex(hashlib.md5(plain, usedforsecurity=False))),
            sha1=self._keyed("subject/sha1", _hex(hashlib.sha1(plain, usedforsecurity=False))),
            sha256=self._keyed("subject/sha256", _hex(hashlib.sha256(plain))),
        )

    def named(self, value: str, form: str) -> str:
        """The keyed hash of a subject that is named in one of the four forms: "raw" as it is, the
        others in hexadecimal digits, upper or lower case.
        """
        if form == "raw":
            return self._keyed("subject", value.encode())
        return self._keyed(f"subject/{form}", value.lower().encode())

    def sample(self, dataset: str, sample_id: str) -> str:
        """The denylist's hash of a sample's name within its data set."""
        return self._keyed("sample", f"{dataset}\0{sample_id}".encode())

    def image(self, pixels: bytes) -> str:
        """The denylist's hash of a sample's pixels (uint8, C x H x W), under any name."""
        return self._keyed("image", pixels)

    def body(self, canonical: bytes) -> str:
        """The digest of a request's body, which may name a subject: to compare, not to guess."""
        return self._keyed("body", canonical)

    def webhook_secret(self, key_id: str, generation: int) -> bytes:
        """What signs the callbacks of requests that were posted with this API key."""
        return self.webhook_secrets(key_id, generation)[0]

    def webhook_secrets(self, key_id: str, generation: int) -> list[bytes]:
        """The same, and what signed them under the secret before this one, for who knows that."""
        value = f"{key_id}\0{generation}".encode()
        return [bytes.fromhex(_hashed(s, "webhook", value)) for s in self._chain[:-3:-1]]

    def salt(self, request_id: str, generation: int | None = None) -> str:
        """The salt of a request's commitment: derived, so that it is stored nowhere.

        generation: of the secret that was in force when the request came; the one in force now
        when not given. Certificates are never rewritten, so that their salts stay as they are.
        """
        secret = self._chain[self.generation if generation is None else generation]
        return _hashed(secret, "salt", request_id.encode())

    def status_link(self, text: str) -> str:
        """What is kept of the secret in a data subject's link."""
        return self._keyed("status link", text.encode())

    def status_code(self, request_id: str, code: str) -> str:
        """What is kept of the code that goes with the link."""
        return self._keyed("status code", f"{request_id}\0{code}".encode())

    def commitment(self, request_id: str, identifier: str) -> str:
        """What the certificate names the subject by; opened with the salt and the identifier."""
        return open_commitment(self.salt(request_id), identifier)


def _hashed(secret: bytes, label: str, value: bytes) -> str:
    return hmac.digest(secret, label.encode() + b"\0" + value, "sha256").hex()


def open_commitment(salt: str, identifier: str) -> str:
    """SHA-256 of salt and identifier, hex. Anyone who knows both can check a certificate."""
    return hashlib.sha256(f"{salt}\0{identifier}".encode()).hexdigest()


def _hex(digest: hashlib._Hash) -> bytes:
    return digest.hexdigest().encode()
