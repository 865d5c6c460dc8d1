"""The data subject's page: a link and a code open it, and it says nothing that is not theirs."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from core import certificates, requests
from core.backend import Backend
from core.status_links import MOST_WRONG
from service.pages import status
from tests.integration.api.conftest import MakeKey, SignIn
from tests.integration.api.hand import Hand, posted


@pytest.fixture
def person(api: TestClient, api_app: FastAPI) -> TestClient:
    """Somebody without a key."""
    return TestClient(api_app, follow_redirects=False)


def link(api: TestClient, request_id: str) -> tuple[str, str]:
    answer = api.post(f"/erasure-requests/{request_id}/status-link")
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found["url"].removeprefix("http://testserver"), found["code"]


def opened(person: TestClient, place: str, code: str) -> str:
    answer = person.post(place, data={"code": code})
    assert (answer.status_code, answer.headers["location"]) == (303, place)
    page = person.get(place)
    assert page.status_code == 200
    return re.sub(r"\s+", " ", page.text)


def test_a_link_and_a_code_open_it_and_neither_alone(api: TestClient, person: TestClient) -> None:
    body = posted(api, external_id="ticket-1")
    place, code = link(api, body["id"])
    asked = person.get(place)
    assert asked.status_code == 200
    assert "Enter your code" in asked.text
    assert "Received" not in asked.text
    wrong = person.post(place, data={"code": "00000000" if code != "00000000" else "1"})
    assert wrong.status_code == 403
    assert "You can try 9 more times." in re.sub(r"\s+", " ", wrong.text)
    assert "lethe_status" not in wrong.headers.get("set-cookie", "")
    page = opened(person, place, f"{code[:4]} {code[4:]}")
    assert "We have your request" in page
    assert "Ends at the latest" in page
    for kept in (body["id"], "ticket-1", "subject-0", "digits", "people", body["job_id"]):
        assert kept not in page
    unknown = person.get("/status/nonsense")
    assert unknown.status_code == 404
    assert "This link is not known" in unknown.text
    assert person.post("/status/nonsense", data={"code": code}).status_code == 404


def test_its_answers_are_kept_nowhere_and_found_by_nobody(
    api: TestClient, person: TestClient
) -> None:
    place, code = link(api, posted(api)["id"])
    set_cookie = person.post(place, data={"code": code}).headers["set-cookie"]
    assert f"Path={place}" in set_cookie
    assert "HttpOnly" in set_cookie
    for path in (place, "/status/nonsense", f"{place}/certificate"):
        answer = person.get(path)
        if answer.status_code == 409:
            continue
        assert answer.headers["cache-control"] == "no-store"
        assert "noindex" in answer.headers["x-robots-tag"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_guessing_shuts_the_link(api: TestClient, person: TestClient) -> None:
    request_id = posted(api)["id"]
    place, code = link(api, request_id)
    for _ in range(MOST_WRONG):
        assert person.post(place, data={"code": "no"}).status_code == 403
    answer = person.post(place, data={"code": code})
    assert answer.status_code == 403
    assert "this link was shut" in answer.text
    assert "this link was shut" in person.get(place).text
    again, code = link(api, request_id)
    opened(person, again, code)


def test_a_new_link_shuts_who_had_opened_the_old_one(api: TestClient, person: TestClient) -> None:
    request_id = posted(api)["id"]
    place, code = link(api, request_id)
    opened(person, place, code)
    newer, _ = link(api, request_id)
    assert person.get(place).status_code == 404
    cookie = person.cookies.get(status.COOKIE)
    person.cookies.set(status.COOKIE, cookie or "", path=newer)
    assert "Enter your code" in person.get(newer).text


def test_the_certificate_at_the_end(
    api: TestClient, person: TestClient, api_backend: Backend
) -> None:
    body = posted(api, "nobody-here")
    place, code = link(api, body["id"])
    assert person.get(f"{place}/certificate").status_code == 401
    page = opened(person, place, code)
    assert "There was no data about you" in page
    text = person.get(f"{place}/certificate").text
    certificates.verify(text, api_backend.signer.public_pem)
    assert json.loads(text)["certificate"]["request"]["id"] == body["id"]
    assert "Nothing was found to erase" in person.get(f"{place}/certificate/page").text


def test_what_it_says_as_the_request_goes_on(
    api: TestClient, person: TestClient, api_hand: Hand, api_backend: Backend
) -> None:
    request_id = posted(api)["id"]
    place, code = link(api, request_id)
    opened(person, place, code)
    assert person.get(f"{place}/certificate").status_code == 409
    with api_backend.db.transaction() as tx:
        due = requests.get(tx.session, request_id).due_at + timedelta(days=20)
        requests.extend(tx, request_id, due, "many at once")
    assert "That date was moved from" in person.get(place).text
    held = api_hand.claim()
    assert "We are erasing your data" in person.get(place).text
    api_hand.give_to_person(held)
    assert "A person is looking at your request" in person.get(place).text
    api.post(f"/erasure-requests/{request_id}/reject", json={"reason": "a secret of ours"})
    page = person.get(place).text
    assert "Your request was refused" in page
    assert "a secret of ours" not in page
    other = posted(api, "subject-1")["id"]
    place, code = link(api, other)
    api.post(f"/erasure-requests/{other}/cancel", json={"reason": "by mistake"})
    assert "Your request was withdrawn" in opened(person, place, code)


def test_every_state_has_words() -> None:
    from core.states import REQUEST
    from service.pages.certificate import OUTCOMES

    assert {*REQUEST.moves, *OUTCOMES} - {"completed"} == set(status.WORDS)


def test_who_may_make_a_link(
    api: TestClient, api_key: MakeKey, admin: SignIn, person: TestClient
) -> None:
    request_id = posted(api)["id"]
    path = f"/erasure-requests/{request_id}/status-link"
    assert api.post(path, headers=api_key("read")).status_code == 403
    assert api.post(path, headers=api_key("erase")).status_code == 201
    assert api.post("/erasure-requests/er_none/status-link").status_code == 404
    assert admin("read").post(f"/admin{path}").status_code == 403
    page = admin("review").post(f"/admin{path}")
    assert page.status_code == 201
    address = re.search(r'id="link">http://testserver([^<]+)<', page.text)
    code = re.search(r'id="code">([0-9 ]+)<', page.text)
    assert address is not None
    assert code is not None
    opened(person, address[1], code[1])
