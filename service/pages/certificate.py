"""The printable page of a certificate: what was signed, in words, and how to check it offline."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from core import certificates
from core.errors import Invalid, LetheError
from service.pages.evidence import ModelPart, model_part, moment

_FOLDER = Path(__file__).parent / "templates"
_STYLE = (_FOLDER / "certificate.css").read_text()

POLICY = (
    f"default-src 'none'; style-src 'sha256-"
    f"{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of the page: its own style sheet, and nothing else."""

OUTCOMES = {
    "erased": "The samples were erased",
    "no_data_found": "Nothing was found to erase",
}


@dataclass(frozen=True)
class CertificatePage:
    """All that the template gets."""

    request_id: str
    outcome: str
    statement: str
    facts: list[tuple[str, str]]
    commitment: str | None
    opens_with: str
    models: list[ModelPart]
    audit: list[tuple[str, str]]
    signature: list[tuple[str, str]]
    issued_by: str


def render(text: str, public_pem: str) -> str:
    """The page of a certificate as issued, as HTML.

    Raises `LetheError` where the signature does not hold: what was changed is not shown.
    """
    try:
        document = certificates.verify(text, public_pem)
    except Invalid as error:
        raise LetheError(
            f"this certificate cannot be shown, for it does not verify: {error}. Check the copy "
            "that was handed out with the public key that was handed out"
        ) from None
    template = _environment().get_template("certificate.html")
    return template.render(page=page_of(document, json.loads(text)["signature"]), style=_STYLE)


def page_of(document: dict[str, Any], signature: dict[str, Any]) -> CertificatePage:
    """A certificate's document in words, and its signature."""
    request = document["request"]
    facts = [
        ("Request", request["id"]),
        ("The caller's own number", request["external_id"]),
        ("Under", request["regulation"]),
        ("Received", moment(request["received_at"])),
        ("Due", moment(request["due_at"])),
        ("Completed", moment(request["completed_at"])),
        ("Data set", document["dataset"]),
        ("Samples", f"{document['sample_count']:,}"),
    ]
    return CertificatePage(
        request_id=request["id"],
        outcome=OUTCOMES.get(document["outcome"], document["outcome"]),
        statement=document["statement"],
        facts=[(name, value) for name, value in facts if value is not None],
        commitment=document["subject"]["commitment"],
        opens_with=document["subject"]["opens_with"],
        models=[model_part(name, job) for name, job in sorted(document["models"].items())],
        audit=[
            ("Events before this certificate", f"{document['audit']['seq']:,}"),
            ("Hash of the last one", document["audit"]["head"]),
        ],
        signature=[
            ("Algorithm", signature["algorithm"]),
            ("Key", signature["key_id"]),
            ("Signature", signature["value"]),
        ],
        issued_by=f"{document['issued_by']['software']} {document['issued_by']['version']}",
    )


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
