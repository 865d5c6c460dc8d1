"""Callbacks over HTTP: addresses refused at the door, deliveries read and replayed, secrets."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from core.backend import Backend
from tests.factories import submit
from tests.integration.api.conftest import MakeKey

URL = "https://93.184.215.14/hook"


def posted(api: TestClient, url: str = URL) -> str:
    body = {"model": "digits", "subject_id": "subject-0", "callback_url": url}
    answer = api.post("/erasure-requests", json=body)
    assert answer.status_code == 202, answer.text
    request_id: str = answer.json()["id"]
    return request_id


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("https://127.0.0.1/hook", "loopback address; to allow it name its network in LETHE_"),
        ("https://[::ffff:10.0.0.1]/", "private"),
        ("https://2852039166/latest/meta-data", "link-local"),
        ("http://93.184.215.14/", "LETHE_CALLBACK_HTTP=true"),
        ("https://nobody.invalid/", "cannot be resolved"),
    ],
)
def test_an_address_that_would_not_be_called_is_refused_at_once(
    api: TestClient, url: str, what: str
) -> None:
    body = {"model": "digits", "subject_id": "subject-0", "callback_url": url}
    answer = api.post("/erasure-requests", json=body)
    assert answer.status_code == 422
    [finding] = answer.json()["errors"]
    assert finding["where"] == "callback_url"
    assert what in finding["message"]
    assert api.get("/erasure-requests").json()["items"] == []


def test_a_bulk_refuses_it_for_the_item_alone(api: TestClient) -> None:
    urls = [URL, "https://127.0.0.1/", None, "https://127.0.0.1/"]
    items = [
        {"model": "digits", "subject_id": f"subject-{i}", "callback_url": url}
        for i, url in enumerate(urls)
    ]
    answer = api.post("/erasure-requests/bulk", json={"items": items}).json()
    assert [each["status"] for each in answer["items"]] == [202, 422, 202, 422]
    assert answer["items"][1]["problem"]["errors"][0]["where"] == "callback_url"


def test_deliveries_are_read_and_replayed(api: TestClient) -> None:
    request_id = posted(api)
    page = api.get(f"/erasure-requests/{request_id}/deliveries").json()
    assert page["next"] is None
    assert {each["event"] for each in page["items"]} == {
        "erasure_request.received",
        "erasure_request.scheduled",
    }
    first = page["items"][0]
    assert (first["status"], first["url"], first["attempts"]) == ("pending", URL, [])
    assert first["next_attempt_at"] is not None
    answer = api.post(f"/deliveries/{first['id']}/replay")
    assert (answer.status_code, answer.json()["id"]) == (202, first["id"])
    assert len(api.get("/deliveries", params={"status": "pending"}).json()["items"]) == 2
    assert api.get("/deliveries", params={"status": "given_up"}).json()["items"] == []
    [one] = api.get("/deliveries", params={"limit": 1}).json()["items"]
    assert one["erasure_request_id"] == request_id
    assert 'lethe_deliveries{state="pending"} 2.0' in api.get("/metrics").text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/erasure-requests/er_none/deliveries"),
        ("POST", "/deliveries/msg_none/replay"),
        ("GET", "/keys/key_none/webhook-secret"),
        ("POST", "/keys/key_none/webhook-secret/rotate"),
    ],
)
def test_what_is_not_there(api: TestClient, method: str, path: str) -> None:
    assert api.request(method, path).status_code == 404


def test_who_may(api: TestClient, api_key: MakeKey) -> None:
    request_id = posted(api)
    [delivery, _] = api.get(f"/erasure-requests/{request_id}/deliveries").json()["items"]
    replay, keys = f"/deliveries/{delivery['id']}/replay", "/keys/key_none/webhook-secret"
    assert api.post(replay, headers=api_key("read")).status_code == 403
    for scope in ("erase", "review", "admin"):
        assert api.post(replay, headers=api_key(scope)).status_code == 202
    assert api.get("/deliveries", headers=api_key("predict")).status_code == 403
    for scope in ("erase", "read", "review"):
        assert api.get(keys, headers=api_key(scope)).status_code == 403


def test_an_admin_reads_and_rotates_a_secret(api: TestClient, api_backend: Backend) -> None:
    key_id = api.get("/keys").json()["items"][0]["id"]
    first = api.get(f"/keys/{key_id}/webhook-secret").json()
    assert first == api.get(f"/keys/{key_id}/webhook-secret").json()
    assert first["secret"].startswith("whsec_")
    second = api.post(f"/keys/{key_id}/webhook-secret/rotate").json()
    assert second["secret"] != first["secret"]
    assert api.get(f"/keys/{key_id}/webhook-secret").json() == second
    submit(api_backend, key_id=key_id)
