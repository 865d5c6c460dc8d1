"""A receiver of callbacks: a real HTTP or HTTPS server on a loopback port, in a thread."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ALLOW = "127.0.0.0/8"
"""LETHE_CALLBACK_ALLOW for what is sent here."""


@dataclass(frozen=True)
class Got:
    """One call as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


Answer = Callable[[BaseHTTPRequestHandler, Got], None]


@dataclass
class Receiver:
    """What came, in its order; `answer` says what the next calls are answered with."""

    url: str = ""
    got: list[Got] = field(default_factory=list)
    answer: Answer = field(default=lambda handler, got: reply(handler, 204))

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rsplit(":", 1)[-1])

    def wait_for(self, count: int, seconds: float = 60.0) -> list[Got]:
        """The calls, once there are so many."""
        until = time.monotonic() + seconds
        while len(self.got) < count:
            assert time.monotonic() < until, f"{len(self.got)} of {count} calls came"
            time.sleep(0.02)
        return self.got


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    """A whole answer."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def receiver(certificate: Path | None = None) -> Iterator[Receiver]:
    """A server that listens until the block ends; with a certificate (and key), for https."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            got = Got(self.path, headers, self.rfile.read(length))
            found.got.append(got)
            try:
                found.answer(self, got)
            except OSError:
                self.close_connection = True  # whoever called has had enough

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # refused handshakes
        scheme = "https"
    found.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def authority(folder: Path, host: str) -> tuple[Path, Path]:
    """Files: an authority's certificate, and one of it with key for `host`."""
    now = datetime.now(UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def built(subject: str, key: Any, by: Any, extension: Any, usage: Any) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("an authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=True)
            .add_extension(usage, critical=False)
            .sign(by, hashes.SHA256())
        )

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    ca = built("an authority", ca_key, ca_key, constraints, ca_id)
    names = x509.SubjectAlternativeName([x509.DNSName(host)])
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    leaf = built(host, key, ca_key, names, above)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "host.pem").write_bytes(leaf.public_bytes(pem) + private)
    return folder / "ca.pem", folder / "host.pem"


def signature_holds(got: Got, secret: str, now: datetime | None = None) -> bool:
    """Does the call carry a Standard Webhooks signature made with this secret, and lately?

    Written from the specification, not with the library that signs.
    """
    at = int(got.headers["webhook-timestamp"])
    if abs((now or datetime.now(UTC)).timestamp() - at) > 300:
        return False
    signed = f"{got.headers['webhook-id']}.{at}.".encode() + got.body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    right = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    given = got.headers["webhook-signature"].encode().split(b" ")
    return any(hmac.compare_digest(right, each) for each in given)
