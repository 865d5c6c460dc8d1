"""What goes over the wire. Records never do: each view is made from facts, field by field."""

from service.schemas.bulk import Bulk, BulkAnswer, BulkItem, BulkResult
from service.schemas.common import Because, Problem
from service.schemas.deliveries import DeliveryPage, DeliveryView, WebhookSecretView
from service.schemas.health import Alive, Check, Readiness
from service.schemas.holds import LegalHoldPage, LegalHoldView, NewLegalHold
from service.schemas.jobs import JobPage, JobView
from service.schemas.keys import KeyPage, KeyView, MadeKey, NewKey, Rotation
from service.schemas.models import (
    ModelPage,
    ModelView,
    PolicyChange,
    ReplicaView,
    Rollback,
    ServingView,
    VersionPage,
    VersionView,
)
from service.schemas.predictions import PREDICT_BODY, Prediction, Predictions
from service.schemas.requests import (
    ErasureRequestDetail,
    ErasureRequestPage,
    ErasureRequestView,
    Extension,
    MadeStatusLink,
    NewErasureRequest,
    Rejection,
    Transition,
)

__all__ = [
    "PREDICT_BODY",
    "Alive",
    "Because",
    "Bulk",
    "BulkAnswer",
    "BulkItem",
    "BulkResult",
    "Check",
    "DeliveryPage",
    "DeliveryView",
    "ErasureRequestDetail",
    "ErasureRequestPage",
    "ErasureRequestView",
    "Extension",
    "JobPage",
    "JobView",
    "KeyPage",
    "KeyView",
    "LegalHoldPage",
    "LegalHoldView",
    "MadeKey",
    "MadeStatusLink",
    "ModelPage",
    "ModelView",
    "NewErasureRequest",
    "NewKey",
    "NewLegalHold",
    "PolicyChange",
    "Prediction",
    "Predictions",
    "Problem",
    "Readiness",
    "Rejection",
    "ReplicaView",
    "Rollback",
    "Rotation",
    "ServingView",
    "Transition",
    "VersionPage",
    "VersionView",
    "WebhookSecretView",
]
