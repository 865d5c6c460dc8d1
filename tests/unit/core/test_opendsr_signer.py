"""The certificate by which OpenDSR is signed: made to try, given in production, checked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from core.errors import SettingsError
from core.opendsr_signer import open_opendsr
from core.settings import Settings

URL = "https://privacy.example.com"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def written(path: Path, key: Any) -> Path:
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def signed(
    path: Path,
    key: Any,
    *,
    issuer: str = "CA",
    host: str = "*.example.com",
    days: int = 1,
    names: bool = True,
) -> Path:
    by, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    made = (
        x509.CertificateBuilder()
        .subject_name(name("us"))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
    )
    if names:
        alternative = x509.SubjectAlternativeName([x509.DNSName(host)])
        made = made.add_extension(alternative, critical=False)
    path.write_bytes(made.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


def given(tmp_path: Path, **values: Any) -> Settings:
    return Settings(home=tmp_path, opendsr_url=URL, **values)


def test_a_good_one(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    files = {
        "opendsr_key": written(tmp_path / "key.pem", key),
        "opendsr_certificate": signed(tmp_path / "c.pem", key),
    }
    signer = open_opendsr(given(tmp_path, **files))
    assert signer is not None
    assert (signer.domain, signer.url) == ("privacy.example.com", URL)
    assert signer.headers(b"body", "2.0").keys() == {
        "X-OpenDSR-Processor-Domain",
        "X-OpenDSR-Signature",
    }


def test_embedded_makes_one_once(tmp_path: Path) -> None:
    first, again = (open_opendsr(Settings(home=tmp_path)) for _ in range(2))
    assert first is not None
    assert again is not None
    assert first.certificate_pem == again.certificate_pem
    assert "PRIVATE" not in first.certificate_pem
    assert (tmp_path / "opendsr.pem").stat().st_mode & 0o777 == 0o600


def test_production_without_one_has_none(tmp_path: Path) -> None:
    assert open_opendsr(Settings(home=tmp_path, database_url="postgresql://x")) is None


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"issuer": "us"}, "signed by itself"),
        ({"host": "other.example.org"}, "is not for privacy.example.com, but for other"),
        ({"names": False}, "but for no host"),
        ({"days": -1}, "ended on"),
    ],
)
def test_certificates_that_are_not_good(
    tmp_path: Path, key: rsa.RSAPrivateKey, values: dict[str, Any], why: str
) -> None:
    settings = given(
        tmp_path,
        opendsr_key=written(tmp_path / "key.pem", key),
        opendsr_certificate=signed(tmp_path / "c.pem", key, **values),
    )
    with pytest.raises(SettingsError, match=why):
        open_opendsr(settings)


def test_another_keys_certificate(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    settings = given(
        tmp_path,
        opendsr_key=written(tmp_path / "key.pem", key),
        opendsr_certificate=signed(tmp_path / "c.pem", other),
    )
    with pytest.raises(SettingsError, match=r"is not of LETHE_OPENDSR_KEY"):
        open_opendsr(settings)


def test_files_that_are_something_else(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    good = written(tmp_path / "key.pem", key)
    text = tmp_path / "text.pem"
    text.write_text("no PEM")
    for values, why in (
        ({}, "needs LETHE_OPENDSR_URL"),
        ({"opendsr_key": text, "opendsr_certificate": text}, "not an RSA private key"),
        ({"opendsr_key": good, "opendsr_certificate": text}, "not a certificate"),
        ({"opendsr_key": good, "opendsr_certificate": tmp_path / "no"}, "cannot be read"),
    ):
        with pytest.raises(SettingsError, match=why):
            open_opendsr(given(tmp_path, **values))
    wrong = Settings(
        home=tmp_path, opendsr_url="http://a/b", opendsr_key=good, opendsr_certificate=good
    )
    with pytest.raises(SettingsError, match="is not like https://"):
        open_opendsr(wrong)
