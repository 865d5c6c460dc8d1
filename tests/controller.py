"""A data controller, written from the OpenDSR specification alone: nothing of Lethe's is used.

It posts requests, asks for their status, cancels them, and takes callbacks, checking of every
exchange what the specification asks for: the headers, the signature over the raw bytes with the
key of the certificate that discovery names, and the fields of every body. The section of each
rule stands beside it. Version 1 is the same under the names of OpenGDPR.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.receiving import Got, reply

STATUSES = {"pending", "in_progress", "completed", "cancelled"}  # 8
TYPES = {"access", "portability", "erasure"}  # 6.2
FORMATS = {"raw", "sha1", "md5", "sha256"}  # 5.2
IDENTITIES = {  # 5.1
    "controller_customer_id",
    "android_advertising_id",
    "android_id",
    "email",
    "fire_advertising_id",
    "ios_advertising_id",
    "ios_vendor_id",
    "microsoft_advertising_id",
    "microsoft_publisher_id",
    "roku_publisher_id",
    "roku_advertising_id",
}
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


class Answer(Protocol):
    """What an HTTP client gives back."""

    status_code: int
    content: bytes

    @property
    def headers(self) -> Any:
        """Of the answer, in any case."""


class Http(Protocol):
    """An HTTP client: httpx's, or a test client that looks like it."""

    def request(self, method: str, url: str, **options: Any) -> Any:
        """One call."""


@dataclass(frozen=True)
class Dialect:
    """What a version calls things."""

    prefix: str
    noun: str
    header: str
    version: str


V2 = Dialect("/v2", "requests", "X-OpenDSR", "2.0")
BARE = Dialect("", "requests", "X-OpenDSR", "2.0")
V1 = Dialect("/v1", "opengdpr_requests", "X-OpenGDPR", "1.0")


def is_moment(text: Any) -> bool:
    """Is it an RFC 3339 date string?"""
    return isinstance(text, str) and bool(RFC3339.fullmatch(text)) and bool(moment(text))


def moment(text: str) -> datetime:
    """Read."""
    return datetime.fromisoformat(text)


@dataclass
class Controller:
    """One controller of a processor that is reached through `http`."""

    http: Http
    headers: dict[str, str] = field(default_factory=dict)
    dialect: Dialect = V2
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    callback_url: str = ""
    _certificate: x509.Certificate | None = None

    # Discovery

    def discovery(self) -> dict[str, Any]:
        """What the processor says of itself, checked (6.3)."""
        answer = self.http.request("GET", f"{self.dialect.prefix}/discovery")
        assert answer.status_code == 200, answer.content
        found = json.loads(answer.content)
        assert found["api_version"] == self.dialect.version
        for each in found["supported_identities"]:
            assert each["identity_type"] in IDENTITIES
            assert each["identity_format"] in FORMATS
        assert found["supported_identities"]
        assert set(found["supported_subject_request_types"]) <= TYPES
        return dict(found)

    def certificate(self) -> x509.Certificate:
        """Fetched once from where discovery says, and for the domain it is fetched from."""
        if self._certificate is None:
            url = urlsplit(self.discovery()["processor_certificate"])
            answer = self.http.request("GET", url.path)
            assert answer.status_code == 200
            self._certificate = x509.load_pem_x509_certificates(answer.content)[0]
            names = self._certificate.extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            ).value.get_values_for_type(x509.DNSName)
            assert url.hostname in names
        return self._certificate

    # Signatures

    def signature_holds(self, headers: Any, body: bytes) -> bool:
        """4.2, 8.3, 8.8: base64 of SHA256-RSA over the raw body, by the domain's certificate."""
        domain = headers.get(f"{self.dialect.header}-Processor-Domain".lower())
        signature = headers.get(f"{self.dialect.header}-Signature".lower())
        if not domain or not signature:
            return False
        names = self.certificate().extensions.get_extension_for_class(x509.SubjectAlternativeName)
        if domain not in names.value.get_values_for_type(x509.DNSName):
            return False
        key = self.certificate().public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        try:
            given = base64.b64decode(signature, validate=True)
            key.verify(given, body, padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            return False
        return True

    # Requests

    def body(self, *identities: tuple[str, str], **more: Any) -> dict[str, Any]:
        """A well-formed request (7.1); identities: format and value."""
        found: dict[str, Any] = {
            "subject_request_id": str(uuid.uuid4()),
            "subject_request_type": "erasure",
            "submitted_time": "2026-11-02T15:00:00Z",
            "subject_identities": [
                {
                    "identity_type": "controller_customer_id",
                    "identity_value": value,
                    "identity_format": form,
                }
                for form, value in identities
            ],
            "api_version": self.dialect.version,
        }
        if self.dialect.version == "2.0":
            found["regulation"] = "gdpr"
        if self.callback_url:
            found["status_callback_urls"] = [self.callback_url]
        return found | more

    def post(self, body: dict[str, Any] | bytes) -> Any:
        """As it is answered."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.request(
            "POST",
            f"{self.dialect.prefix}/{self.dialect.noun}",
            content=raw,
            headers={**self.headers, "Content-Type": "application/json"},
        )

    def ask(self, body: dict[str, Any] | bytes) -> dict[str, Any]:
        """Post, and check the receipt (7.3)."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.post(raw)
        assert answer.status_code == 201, answer.content
        assert self.signature_holds(answer.headers, answer.content)
        receipt = json.loads(answer.content)
        assert base64.b64decode(receipt["encoded_request"]) == raw
        assert receipt["subject_request_id"] == json.loads(raw)["subject_request_id"]
        assert isinstance(receipt["controller_id"], str)
        assert is_moment(receipt["received_time"])
        assert moment(receipt["expected_completion_time"]) > moment(receipt["received_time"])
        return dict(receipt)

    def status(self, number: str) -> dict[str, Any]:
        """Ask for the status, and check the answer (8.3)."""
        answer = self._one("GET", number)
        assert answer.status_code == 200, answer.content
        assert self.signature_holds(answer.headers, answer.content)
        found = json.loads(answer.content)
        self._check_status(found, number)
        return dict(found)

    def cancel(self, number: str) -> dict[str, Any]:
        """Cancel, and check the answer (9.2)."""
        answer = self._one("DELETE", number)
        assert answer.status_code == 202, answer.content
        assert self.signature_holds(answer.headers, answer.content)
        found = json.loads(answer.content)
        assert found["subject_request_id"] == number
        assert isinstance(found["controller_id"], str)
        assert is_moment(found["received_time"])
        return dict(found)

    def _one(self, method: str, number: str) -> Any:
        path = f"{self.dialect.prefix}/{self.dialect.noun}/{number}"
        return self.http.request(method, path, headers=self.headers)

    def refused(self, answer: Any, status: int = 400) -> dict[str, Any]:
        """The error object of a refusal (7.5, 7.6)."""
        assert answer.status_code == status, answer.content
        error = json.loads(answer.content)["error"]
        assert error["code"] == status
        assert isinstance(error["message"], str)
        for each in error["errors"]:
            assert each.keys() == {"message", "domain", "reason"}
        return dict(error)

    def _check_status(self, found: dict[str, Any], number: str) -> None:
        assert found["subject_request_id"] == number
        assert found["request_status"] in STATUSES
        assert isinstance(found["controller_id"], str)
        assert is_moment(found["expected_completion_time"])
        for domain in found.get("extensions") or {}:  # 7.1.2
            assert domain in {"localhost", "privacy.example.com"}

    # Callbacks

    def take(self, handler: Any, got: Got) -> None:
        """Answer a callback (8.6, 8.8): nothing is read before the signature holds."""
        if not self.signature_holds(got.headers, got.body):
            reply(handler, 403)
            return
        told = json.loads(got.body)
        if told["status_callback_url"] != self.callback_url:
            reply(handler, 403)
            return
        self._check_status(told, told["subject_request_id"])
        assert got.headers["content-type"] == "application/json"
        self.callbacks.append(told)
        reply(handler, 202)

    def told(self, number: str) -> list[str]:
        """The statuses that came of a request."""
        return [
            each["request_status"]
            for each in self.callbacks
            if each["subject_request_id"] == number
        ]
