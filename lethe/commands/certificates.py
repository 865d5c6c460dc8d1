"""`lethe verify-certificate`: check a certificate, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.errors import Invalid
from lethe.console import AsJson, show


def verify_certificate(
    file: Annotated[Path, typer.Argument(help="The certificate, as it was issued.")],
    key: Annotated[
        Path | None,
        typer.Option(help="The service's public key as PEM; not given: of this LETHE_HOME."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a certificate's signature with nothing but the public key.

    Example: `lethe verify-certificate certificate.json --key public.pem`
    """
    from core import certificates

    text = file.read_bytes()
    if key is None:
        pem = _own_key()
    else:
        try:
            pem = key.read_text()
        except UnicodeDecodeError:
            raise Invalid(f"{key} is not a public key in PEM") from None
    document = certificates.verify(text, pem)
    request = document["request"]
    show(
        document,
        as_json,
        f"The signature holds: request {request['id']} was completed {request['completed_at']}, "
        f"outcome {document['outcome']}, {document['sample_count']} samples",
    )


def _own_key() -> str:
    from core.certificates import open_signer
    from core.settings import read_settings

    settings = read_settings()
    if not (settings.signing_key or settings.home / "signing-key.pem").is_file():
        raise Invalid(f"there is no signing key in {settings.home}; give the public key with --key")
    return open_signer(settings).public_pem
