"""The clients have every route of the API, and every field of its answers."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from pydantic import BaseModel

from lethe import ApiError, Client, answers
from service import schemas
from service.schemas.deliveries import DeliveryAttemptView
from service.schemas.holds import LegalHoldView
from tests.reference import openapi

ELSEWHERE = {
    "GET /jobs/{job_id}/events": "`follow` and `wait` long-poll the job instead",
    "GET /status/{secret}": "a page for the data subject, in a browser",
    "POST /status/{secret}": "likewise",
    "GET /status/{secret}/certificate": "likewise",
    "GET /status/{secret}/certificate/page": "likewise",
    **dict.fromkeys(
        (
            f"{verb} {version}/{path}"
            for version, noun in (
                ("", "requests"),
                ("/v2", "requests"),
                ("/v1", "opengdpr_requests"),
            )
            for verb, path in (
                ("GET", "discovery"),
                ("POST", noun),
                ("GET", noun + "/{number}"),
                ("DELETE", noun + "/{number}"),
            )
        ),
        "OpenDSR is for tools that speak it already",
    ),
    "GET /opendsr/certificate.pem": "likewise",
}
"""Routes that are no method of the client's, and why."""

EXAMPLES = {
    "items": [{"model": "m"}],
    "scopes": ["read"],
    "due_at": datetime.now(UTC),
    "version": 1,
}


def called(name: str) -> str:
    """The route that a call asks for, its parameters named as its arguments are."""
    seen: list[str] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        seen.append(f"{request.method} {unquote(request.url.path)}")
        return httpx.Response(404)

    _, *parameters = inspect.signature(getattr(Client, name)).parameters.values()
    needed = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    given: dict[str, Any] = {p.name: EXAMPLES.get(p.name, f"{{{p.name}}}") for p in needed}
    client = Client("http://lethe.test", "key", transport=httpx.MockTransport(refuse))
    try:
        found = getattr(client, name)(**given)
        if inspect.isgenerator(found):
            next(found)
    except ApiError:
        pass
    return seen[0]


def test_every_route_is_a_method() -> None:
    document = openapi()
    routes = {
        f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item
    }
    names = [name for name in vars(Client) if name[0] != "_" and name != "close"]
    reached = {called(name).replace("{request}", "{request_id}") for name in names}
    missing = routes - reached - set(ELSEWHERE)
    assert not missing, f"add to lethe/calls/ and lethe/client.py: {sorted(missing)}"
    assert reached <= routes
    assert set(ELSEWHERE) <= routes - reached


PAIRS: list[tuple[type[BaseModel], type[BaseModel]]] = [
    (answers.ErasureRequest, schemas.ErasureRequestView),
    (answers.ErasureRequestDetail, schemas.ErasureRequestDetail),
    (answers.Transition, schemas.Transition),
    (answers.BulkAnswer, schemas.BulkAnswer),
    (answers.BulkResult, schemas.BulkResult),
    (answers.Problem, schemas.Problem),
    (answers.Job, schemas.JobView),
    (answers.Model, schemas.ModelView),
    (answers.Serving, schemas.ServingView),
    (answers.Replica, schemas.ReplicaView),
    (answers.Version, schemas.VersionView),
    (answers.Prediction, schemas.Prediction),
    (answers.Predictions, schemas.Predictions),
    (answers.Key, schemas.KeyView),
    (answers.MadeKey, schemas.MadeKey),
    (answers.LegalHold, LegalHoldView),
    (answers.Delivery, schemas.DeliveryView),
    (answers.DeliveryAttempt, DeliveryAttemptView),
    (answers.WebhookSecret, schemas.WebhookSecretView),
    (answers.StatusLink, schemas.MadeStatusLink),
    (answers.Check, schemas.Check),
    (answers.Readiness, schemas.Readiness),
]


@pytest.mark.parametrize(("typed", "sent"), PAIRS, ids=lambda each: each.__name__)
def test_every_field_is_typed(typed: type[BaseModel], sent: type[BaseModel]) -> None:
    missing = set(sent.model_fields) - set(typed.model_fields)
    assert not missing, f"add to lethe/answers.py: {sorted(missing)}"
