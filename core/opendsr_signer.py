"""The key and the certificate with which a processor signs by OpenDSR.

SHA256-RSA over the raw body, PKCS#1 v1.5 (RFC 8017), base64. The certificate is the processor
domain's. Embedded mode makes one for localhost, signed by itself, to try things with; OpenDSR
forbids such certificates, so that production must be given one.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from core.errors import SettingsError
from core.settings import Settings, made_once

HEADERS = {"1": "X-OpenGDPR", "2": "X-OpenDSR"}
"""How headers begin, by major version: v1 was called OpenGDPR."""

LEAST_BITS = 2048


class OpenDsrSigner:
    """Signs answers and callbacks. url: where controllers find this service; None: localhost."""

    def __init__(self, key: rsa.RSAPrivateKey, certificate_pem: str, url: str | None) -> None:
        self._key = key
        self.certificate_pem = certificate_pem
        self.url = url
        self.domain = (urlsplit(url).hostname if url else None) or "localhost"

    def headers(self, body: bytes, version: str) -> dict[str, str]:
        """The headers of an answer or a callback with this body, for this version's readers."""
        begin = HEADERS[version.partition(".")[0]]
        signature = self._key.sign(body, padding.PKCS1v15(), hashes.SHA256())
        return {
            f"{begin}-Processor-Domain": self.domain,
            f"{begin}-Signature": base64.b64encode(signature).decode(),
        }


def open_opendsr(settings: Settings) -> OpenDsrSigner | None:
    """The signer in force; None in production that was given none.

    Raises `SettingsError` for a key that is not RSA or is short, a certificate that is of another
    key, signed by itself, over, or not for the domain, and when one of the three is missing.
    """
    given = (settings.opendsr_url, settings.opendsr_key, settings.opendsr_certificate)
    if not any(given):
        return _made(settings.home / "opendsr.pem") if settings.embedded else None
    url, key_path, certificate_path = given
    if url is None or key_path is None or certificate_path is None:
        raise SettingsError(
            "OpenDSR needs LETHE_OPENDSR_URL, LETHE_OPENDSR_KEY and LETHE_OPENDSR_CERTIFICATE"
        )
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise SettingsError(f"LETHE_OPENDSR_URL ({url}) is not like https://privacy.example.com")
    key, text = _key(key_path), _read(certificate_path)
    _check(_certificate(text, certificate_path), key, parts.hostname)
    return OpenDsrSigner(key, text.decode(), url.rstrip("/"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None


def _key(path: Path) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < LEAST_BITS:
        raise SettingsError(
            f"{path} is not an RSA private key in PEM of at least {LEAST_BITS} bits; make one "
            f"with `openssl genrsa {LEAST_BITS}`"
        )
    return key


def _certificate(pem: bytes, path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        raise SettingsError(f"{path} is not a certificate in PEM") from None


def _check(certificate: x509.Certificate, key: rsa.RSAPrivateKey, domain: str) -> None:
    def refuse(why: str) -> None:
        raise SettingsError(f"LETHE_OPENDSR_CERTIFICATE {why}")

    if certificate.public_key() != key.public_key():
        refuse("is not of LETHE_OPENDSR_KEY")
    if certificate.issuer == certificate.subject:
        refuse("is signed by itself, which OpenDSR forbids; have an authority sign it")
    if certificate.not_valid_after_utc < datetime.now(UTC):
        refuse(f"ended on {certificate.not_valid_after_utc:%Y-%m-%d}")
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = names.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        hosts = []
    if domain not in hosts and f"*.{domain.partition('.')[2]}" not in hosts:
        refuse(f"is not for {domain}, but for {', '.join(hosts) or 'no host'}")


def _made(path: Path) -> OpenDsrSigner:
    pem = made_once(path, _new)
    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    certificate = x509.load_pem_x509_certificate(pem)
    text = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return OpenDsrSigner(key, text, None)


def _new() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=LEAST_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)
