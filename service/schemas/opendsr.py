"""OpenDSR on the wire (version 2.0, and 1.0, which was called OpenGDPR)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.opendsr import FORMATS, IDENTITY_TYPES, MOST_IDENTITIES, MOST_URLS
from service.schemas.common import HttpUrl, In, Moment, Name, Out, text

UUID4 = r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"


class Heard(BaseModel):
    """What comes in: fields that the specification does not know are passed over."""

    model_config = ConfigDict(extra="ignore")


class OpenDsrIdentity(Heard):
    """One name of the data subject."""

    identity_type: Annotated[str, text(100), Field(description=", ".join(IDENTITY_TYPES))]
    identity_value: Annotated[str, text(1000)]
    identity_format: Annotated[str, text(20), Field(description=", ".join(FORMATS))]


class OpenDsrExtension(In):
    """Ours, under the processor's domain in `extensions`."""

    models: Annotated[
        list[Name],
        Field(
            default_factory=list,
            max_length=100,
            description="Erase from the data sets of these models alone; from all when not given.",
        ),
    ]


class NewOpenDsr(Heard):
    """A data subject's request."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "example": {
                "regulation": "gdpr",
                "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
                "subject_request_type": "erasure",
                "submitted_time": "2026-11-28T15:00:00Z",
                "subject_identities": [
                    {
                        "identity_type": "controller_customer_id",
                        "identity_value": "subject-20",
                        "identity_format": "raw",
                    }
                ],
                "api_version": "2.0",
                "status_callback_urls": ["https://controller.example.com/opendsr/callbacks"],
            }
        },
    )
    regulation: Annotated[
        Literal["gdpr", "ccpa"] | None, Field(description="Required in version 2.")
    ] = None
    subject_request_id: Annotated[
        str, Field(pattern=UUID4, description="A UUID of version 4, in lower case.")
    ]
    subject_request_type: Literal["access", "portability", "erasure"]
    submitted_time: Moment
    subject_identities: Annotated[
        list[OpenDsrIdentity], Field(min_length=1, max_length=MOST_IDENTITIES)
    ]
    api_version: Annotated[str | None, Field(pattern=r"^\d{1,3}(\.\d{1,3}){0,2}$")] = None
    status_callback_urls: Annotated[
        list[HttpUrl], Field(default_factory=list, max_length=MOST_URLS)
    ]
    extensions: Annotated[
        dict[str, Any] | None,
        Field(description="By processor's domain; what is not under ours is passed over."),
    ] = None


class SupportedIdentity(Out):
    """A form in which a subject may be named."""

    identity_type: str
    identity_format: str


class OpenDsrDiscovery(Out):
    """What this processor supports."""

    api_version: str
    supported_identities: list[SupportedIdentity]
    supported_subject_request_types: list[str]
    processor_certificate: Annotated[str, Field(description="Where the certificate is.")]


class OpenDsrReceipt(Out):
    """That a request was received."""

    controller_id: str
    expected_completion_time: Moment
    received_time: Moment
    encoded_request: Annotated[
        str, Field(description="The whole body in base64. Computed, and kept nowhere.")
    ]
    subject_request_id: str


class OpenDsrStatus(Out):
    """How far a request has come."""

    controller_id: str
    expected_completion_time: Moment
    subject_request_id: str
    request_status: Literal["pending", "in_progress", "completed", "cancelled"]
    api_version: str
    extensions: Annotated[
        dict[str, Any],
        Field(
            description="Ours: each erasure request with its outcome, refusals among them, and "
            "data sets that no model was trained on, from which nothing is erased."
        ),
    ]


class OpenDsrCancellation(Out):
    """That a request was cancelled."""

    controller_id: str
    subject_request_id: str
    received_time: Moment
    api_version: str


class OpenDsrErrorDetail(Out):
    """One finding."""

    domain: str
    reason: str
    message: str


class OpenDsrErrorBody(Out):
    """What was wrong."""

    code: int
    message: str
    errors: list[OpenDsrErrorDetail]


class OpenDsrError(Out):
    """An error as OpenDSR writes it."""

    error: OpenDsrErrorBody
