"""Keys and scopes over HTTP: nothing is open that should not be."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from core.backend import Backend
from core.keys import SCOPES
from core.records import ApiKey
from core.settings import Settings
from service.app import create_app
from service.deps import Needs

OPEN = {
    *("/livez", "/readyz", "/metrics", "/certificates/key", "/opendsr/certificate.pem"),
    *("/discovery", "/v1/discovery", "/v2/discovery"),
    *("/discovery/", "/v1/discovery/", "/v2/discovery/"),
}
"""Routes that anyone may call, each for a reason: health, and what is public."""
BEFORE_SIGN_IN = {"/sign-in", "/sign-out", "/theme", "/static/{version}/{name:path}"}
"""Pages of the dashboard that need no session."""
DATA_SUBJECTS = {
    "/status/{secret}",
    "/status/{secret}/certificate",
    "/status/{secret}/certificate/page",
}
"""What a data subject opens with a link and a code."""


def scopes_of(dependant: Dependant) -> Iterator[str]:
    if isinstance(dependant.call, Needs):
        yield from dependant.call.scopes
    for inner in dependant.dependencies:
        yield from scopes_of(inner)


def api_routes(routes: Any) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            yield from api_routes(getattr(getattr(route, "original_router", route), "routes", []))


@pytest.mark.parametrize("role", ["api", "inference", "all"])
def test_no_route_is_without_a_scope(api_settings: Settings, role: Any) -> None:
    found = list(api_routes(create_app(api_settings, role).routes))
    assert {"/livez", "/readyz", "/metrics"} <= {route.path for route in found}
    assert len(found) >= {"api": 25, "inference": 4, "all": 26}[role]
    without = {route.path for route in found if not set(scopes_of(route.dependant))}
    assert without <= OPEN | BEFORE_SIGN_IN | DATA_SUBJECTS


def test_the_document_names_every_call(api_settings: Settings) -> None:
    document = create_app(api_settings, "api").openapi()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert bool(operation.get("security")) is (path not in OPEN | DATA_SUBJECTS), path


CALLS = [
    *(
        (verb, noun + path, {"erase"})
        for noun in ("/requests", "/v2/requests", "/v1/opengdpr_requests")
        for verb, path in (("POST", ""), ("GET", "/a"), ("DELETE", "/a"))
    ),
    ("POST", "/erasure-requests", {"erase"}),
    ("POST", "/erasure-requests/bulk", {"erase"}),
    ("GET", "/erasure-requests", {"read", "erase", "review", "admin"}),
    ("GET", "/erasure-requests/er_x", {"read", "erase", "review", "admin"}),
    ("GET", "/erasure-requests/er_x/certificate", {"read", "erase", "review", "admin"}),
    ("GET", "/certificates/er_x/page", {"read", "erase", "review", "admin"}),
    ("POST", "/erasure-requests/er_x/cancel", {"erase", "review"}),
    ("POST", "/erasure-requests/er_x/extend", {"review"}),
    ("POST", "/erasure-requests/er_x/reject", {"review"}),
    ("POST", "/erasure-requests/er_x/status-link", {"erase", "review"}),
    ("GET", "/erasure-requests/er_x/answer", {"read", "erase", "review", "admin"}),
    ("GET", "/legal-holds", {"read", "erase", "review", "admin"}),
    ("POST", "/legal-holds", {"review"}),
    ("POST", "/legal-holds/hold_x/release", {"review"}),
    ("GET", "/jobs", {"read", "erase", "review", "admin"}),
    ("GET", "/jobs/job_x", {"read", "erase", "review", "admin"}),
    ("GET", "/jobs/job_x/events", {"read", "erase", "review", "admin"}),
    ("POST", "/jobs/job_x/approve", {"review"}),
    ("POST", "/jobs/job_x/reject", {"review"}),
    ("POST", "/jobs/job_x/retry", {"review"}),
    ("POST", "/jobs/job_x/cancel", {"review"}),
    ("GET", "/models", {"read", "erase", "review", "admin"}),
    ("GET", "/models/x", {"read", "erase", "review", "admin"}),
    ("GET", "/models/x/versions", {"read", "erase", "review", "admin"}),
    ("PATCH", "/models/x/policy", {"admin"}),
    ("POST", "/models/x/rollback", {"review"}),
    ("GET", "/keys", {"admin"}),
    ("POST", "/keys", {"admin"}),
    ("POST", "/keys/key_x/rotate", {"admin"}),
    ("GET", "/keys/key_x/webhook-secret", {"admin"}),
    ("POST", "/keys/key_x/webhook-secret/rotate", {"admin"}),
    ("GET", "/deliveries", {"read", "erase", "review", "admin"}),
    ("GET", "/erasure-requests/er_x/deliveries", {"read", "erase", "review", "admin"}),
    ("POST", "/deliveries/delivery_x/replay", {"erase", "review", "admin"}),
    ("DELETE", "/keys/key_x", {"admin"}),
]


def test_every_call_takes_its_scopes_and_no_others(api: TestClient, api_key: Any) -> None:
    keys = {scope: api_key(scope) for scope in SCOPES}
    for method, path, allowed in CALLS:
        nobody = api.request(method, path, headers={"Authorization": ""})
        assert nobody.status_code == 401, path
        for scope in SCOPES:
            answer = api.request(method, path, headers=keys[scope])
            assert (answer.status_code != 403) is (scope in allowed), (method, path, scope)
            if answer.status_code == 403:
                body = answer.json()
                if "error" in body:  # as OpenDSR writes it
                    [finding] = body["error"]["errors"]
                    body = {"code": finding["reason"], "detail": finding["message"]}
                assert body["code"] == "forbidden"
                assert all(each in body["detail"] for each in allowed)
                challenge = answer.headers["WWW-Authenticate"]
                assert 'error="insufficient_scope"' in challenge


def test_the_table_above_misses_no_call(api_app: FastAPI) -> None:
    listed = {(method, path.replace("_x", "").count("/")) for method, path, _ in CALLS}
    document = api_app.openapi()
    real = [
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
        if path not in OPEN | DATA_SUBJECTS
    ]
    assert len(real) == len(CALLS)
    assert {(method, path.count("/")) for method, path in real} == listed


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer x", "Bearer key_x.y", "Basic eDp5", "x.y"]
)
def test_without_a_good_key_it_is_401(api_quiet: TestClient, header: str | None) -> None:
    request = api_quiet.build_request("GET", "/jobs")
    del request.headers["Authorization"]
    if header is not None:
        request.headers["Authorization"] = header
    answer = api_quiet.send(request)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "unauthorized"


def test_a_key_is_shown_once_and_works(api: TestClient) -> None:
    answer = api.post("/keys", json={"name": "shop", "scopes": ["read", "erase"], "days": 30})
    assert answer.status_code == 201
    made = answer.json()
    assert made["scopes"] == ["erase", "read"]
    assert made["expires_at"].endswith("Z")
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert api.get("/jobs", headers=headers).status_code == 200
    listed = api.get("/keys").json()["items"]
    assert {key["name"] for key in listed} == {"shop", "embedded"}
    assert made["key"] not in api.get("/keys").text


def test_a_revoked_key_ends_at_once(api: TestClient) -> None:
    made = api.post("/keys", json={"name": "shop", "scopes": ["read"]}).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert api.get("/jobs", headers=headers).status_code == 200
    first = api.delete(f"/keys/{made['id']}")
    assert first.status_code == 200
    assert api.delete(f"/keys/{made['id']}").json() == first.json()
    answer = api.get("/jobs", headers=headers)
    assert answer.status_code == 401
    assert "revoked" in answer.json()["detail"]
    assert api.delete("/keys/key_none").status_code == 404


def test_a_rotated_key_changes_its_text(api: TestClient) -> None:
    made = api.post("/keys", json={"name": "shop", "scopes": ["read"]}).json()
    path = f"/keys/{made['id']}/rotate"
    answer = api.post(path, json={"overlap_seconds": 60})
    assert answer.status_code == 200
    second = answer.json()
    assert second["previous_until"] > made["created_at"]
    third = api.post(path, json={"overlap_seconds": 0, "days": 1}).json()
    assert (third["previous_until"], third["expires_at"] is None) == (None, False)
    found = [
        api.get("/jobs", headers={"Authorization": f"Bearer {each['key']}"}).status_code
        for each in (made, second, third)
    ]
    assert found == [401, 401, 200]
    assert api.post(path, json={"overlap_seconds": -1}).status_code == 422
    api.delete(f"/keys/{made['id']}")
    assert api.post(path, json={}).status_code == 409


def test_an_expired_key_is_refused(api: TestClient, api_backend: Backend) -> None:
    made = api.post("/keys", json={"name": "shop", "scopes": ["read"], "days": 1}).json()
    with api_backend.db.transaction() as tx:
        tx.session.get_one(ApiKey, made["id"]).expires_at = tx.now - timedelta(seconds=1)
    answer = api.get("/jobs", headers={"Authorization": f"Bearer {made['key']}"})
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "scopes": ["all"]},
        {"name": "x", "scopes": []},
        {"name": "", "scopes": ["read"]},
        {"name": "x" * 101, "scopes": ["read"]},
        {"name": "x", "scopes": ["read"], "days": 0},
        {"name": "x", "scopes": ["read"], "days": 10**9},
        {"scopes": ["read"]},
    ],
)
def test_wrong_keys_are_not_made(api_quiet: TestClient, body: dict[str, Any]) -> None:
    assert api_quiet.post("/keys", json=body).status_code == 422
    assert len(api_quiet.get("/keys").json()["items"]) == 1


def test_use_is_noted(api: TestClient) -> None:
    made = api.post("/keys", json={"name": "shop", "scopes": ["read"]}).json()
    assert made["last_used_at"] is None
    api.get("/jobs", headers={"Authorization": f"Bearer {made['key']}"})
    deadline = time.monotonic() + 5
    used = None
    while used is None and time.monotonic() < deadline:
        listed = api.get("/keys").json()["items"]
        used = next(key["last_used_at"] for key in listed if key["id"] == made["id"])
    assert used is not None
