"""ORM models. Relationships are `lazy="raise"`: a query says what it loads."""

from core.records.data import CanaryGroup, Dataset, Denied, Subject
from core.records.deliveries import Delivery, DeliveryAttempt, WebhookSecret
from core.records.holds import HeldSample, LegalHold
from core.records.models import Model, Replica, Taint, Teacher, Version
from core.records.opendsr import OpenDsrRequest
from core.records.requests import (
    Certificate,
    ErasureRequest,
    Job,
    JobPlot,
    JobRequest,
    RequestSample,
    StatusLink,
)
from core.records.system import (
    ApiKey,
    AuditEvent,
    AuditHead,
    Idempotency,
    Lease,
    SecretState,
    Share,
    Worker,
)

__all__ = [
    "ApiKey",
    "AuditEvent",
    "AuditHead",
    "CanaryGroup",
    "Certificate",
    "Dataset",
    "Delivery",
    "DeliveryAttempt",
    "Denied",
    "ErasureRequest",
    "HeldSample",
    "Idempotency",
    "Job",
    "JobPlot",
    "JobRequest",
    "Lease",
    "LegalHold",
    "Model",
    "OpenDsrRequest",
    "Replica",
    "RequestSample",
    "SecretState",
    "Share",
    "StatusLink",
    "Subject",
    "Taint",
    "Teacher",
    "Version",
    "WebhookSecret",
    "Worker",
]
