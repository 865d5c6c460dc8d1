"""The dashboard's gate: sessions, posts from elsewhere, headers, what a key may see and do."""

from __future__ import annotations

import itertools
import re
import time
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from core import jobs, keys
from core.backend import Backend
from service.admin import sessions, static_files
from service.admin.pages.sign_in import inside
from tests.integration.api.conftest import MakeKey, SignIn

SCOPES = ("erase", "predict", "read", "review", "admin")


def test_who_is_not_signed_in_is_asked_for_a_key_and_then_led_back(
    api: TestClient, api_key: MakeKey
) -> None:
    api.headers["Origin"] = str(api.base_url)
    asked = api.get("/admin/jobs?status=queued", follow_redirects=False)
    assert asked.status_code == 303
    page = api.get(asked.headers["location"])
    assert 'name="then" value="/admin/jobs?status=queued"' in page.text
    key = api_key("read")["Authorization"].removeprefix("Bearer ")
    fields = {"key": f" {key} ", "then": "/admin/jobs?status=queued"}
    answer = api.post("/admin/sign-in", data=fields, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/jobs?status=queued")
    cookie = answer.headers["set-cookie"]
    assert key.partition(".")[2] not in cookie
    assert {"HttpOnly", "SameSite=strict", "Path=/admin"} <= set(cookie.split("; "))
    assert "Secure" not in cookie  # this is not TLS
    assert api.get("/admin/jobs?status=queued").status_code == 200


def test_on_tls_cookies_are_for_tls_only(
    api_app: FastAPI, api: TestClient, api_key: MakeKey
) -> None:
    client = TestClient(api_app, base_url="https://lethe.test", follow_redirects=False)
    key = api_key("read")["Authorization"].removeprefix("Bearer ")
    headers = {"Origin": "https://lethe.test"}
    answer = client.post("/admin/sign-in", data={"key": key}, headers=headers)
    assert "Secure" in answer.headers["set-cookie"]


def test_a_key_signs_in_only_with_a_scope_that_looks_or_decides(
    api: TestClient, api_key: MakeKey
) -> None:
    for scope in SCOPES:
        key = api_key(scope)["Authorization"].removeprefix("Bearer ")
        headers = {"Origin": str(api.base_url)}
        answer = api.post(
            "/admin/sign-in", data={"key": key}, headers=headers, follow_redirects=False
        )
        assert answer.status_code == (303 if scope in ("read", "review", "admin") else 403)
        assert ("set-cookie" in answer.headers) is (answer.status_code == 303)


def test_a_wrong_key_is_said_to_be_wrong_and_is_not_shown(api: TestClient) -> None:
    headers = {"Origin": str(api.base_url)}
    answer = api.post("/admin/sign-in", data={"key": "key_x.guess"}, headers=headers)
    assert answer.status_code == 401
    assert "not known" in answer.text
    assert "key_x.guess" not in answer.text


def test_a_revoked_key_ends_its_sessions_at_once(
    admin: SignIn, api: TestClient, api_backend: Backend
) -> None:
    client = admin("read")
    assert client.get("/admin/jobs").status_code == 200
    with api_backend.db.reading() as session:
        key = next(k for k in keys.listed(session) if k.scopes == ["read"])
    assert api.delete(f"/keys/{key.id}").is_success
    answer = client.get("/admin/jobs")
    assert (answer.status_code, answer.headers["location"][:14]) == (303, "/admin/sign-in")


def test_signing_out_ends_the_session(admin: SignIn) -> None:
    client = admin("read")
    assert client.post("/admin/sign-out").status_code == 303
    assert client.get("/admin/jobs").status_code == 303


def test_a_session_ends_when_idle_and_is_prolonged_by_pages_but_not_by_polls(
    admin: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = admin("read")
    real = time.time
    ahead = 0.0
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    ahead = sessions.RENEW_SECONDS + 5
    assert "set-cookie" not in client.get("/admin/nothing/live").headers
    assert sessions.SESSION in client.get("/admin/jobs").headers["set-cookie"]
    ahead += sessions.IDLE_SECONDS - 10
    assert client.get("/admin/jobs").status_code == 200
    ahead += sessions.IDLE_SECONDS + 10
    assert client.get("/admin/jobs").status_code == 303


def test_a_session_that_is_kept_busy_ends_as_well(
    admin: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = admin("read")
    real = time.time
    for seconds in itertools.count(0, sessions.IDLE_SECONDS - 100):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: real() + seconds)
        if client.get("/admin/jobs").status_code == 303:
            break
    assert seconds > sessions.LONGEST_SECONDS > seconds - sessions.IDLE_SECONDS


def test_forged_cookies_are_nobodys(api: TestClient) -> None:
    for forged in ("x", "WyJrZXlfMSIsMV0.aaaa.bbbb", sessions.Sealer(b"another").seal("key_1")):
        api.cookies.set(sessions.SESSION, forged)
        assert api.get("/admin/jobs", follow_redirects=False).status_code == 303


def test_posts_from_elsewhere_are_refused(admin: SignIn) -> None:
    client = admin("review")
    del client.headers["Origin"]
    fields = {"reason": "fine", "typed": "job_x"}
    ours, theirs = "http://testserver", "http://evil.test"
    for headers, refused in [
        ({"Origin": ours}, False),
        ({"Origin": ours, "Sec-Fetch-Site": "same-origin"}, False),
        ({"Origin": theirs}, True),
        ({"Origin": "null"}, True),
        ({"Origin": ours, "Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": ours, "Sec-Fetch-Site": "same-site"}, True),
        ({"Origin": ours, "Sec-Fetch-Site": "none"}, True),
        ({}, True),
    ]:
        answer = client.post("/admin/jobs/job_x/approve", data=fields, headers=headers)
        assert answer.status_code == (403 if refused else 404), headers
        assert ("another site" in answer.text) is refused


def test_an_action_needs_its_scope_and_is_not_shown_without(admin: SignIn) -> None:
    answer = admin("read").post("/admin/jobs/job_x/approve", data={"reason": "fine"})
    assert answer.status_code == 403
    assert "review" in answer.text


def test_every_page_forbids_inline_scripts_and_styles(admin: SignIn) -> None:
    client = admin("read")
    for path in ("/admin/", "/admin/jobs", "/admin/sign-in", "/admin/jobs/job_x", "/admin/x"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"<style|\sstyle=|<script(?![^>]*\bsrc=)|\son[a-z]+=", answer.text)


def test_what_nobody_named_is_a_page_that_tells_the_request_id(
    admin: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = admin("read")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(jobs, "listed", fail)
    answer = client.get("/admin/jobs")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in answer.text


def test_htmx_gets_words_instead_of_pages(admin: SignIn, api: TestClient) -> None:
    answer = admin("read").get("/admin/jobs/job_x", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.text) == (404, "There is no job job_x.")
    answer = api.get("/admin/jobs", headers={"HX-Request": "true"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/admin/sign-in")


def test_files_are_kept_for_ever_under_the_hash_of_their_content(api: TestClient) -> None:
    style = api.get(static_files.address("lethe.css"))
    assert style.headers["content-type"].startswith("text/css")
    assert "immutable" in style.headers["cache-control"]
    font = re.search(r"url\((/admin/static/[0-9a-f]+/vendor/inter.woff2)\)", style.text)
    assert font is not None
    assert api.get(font[1]).status_code == 200
    assert api.get("/admin/static/0123456789ab/lethe.css").status_code == 404
    assert api.get("/admin/static/0123456789ab/../gate.py").status_code == 404


def test_the_theme_is_kept_by_a_cookie(admin: SignIn) -> None:
    client = admin("read")
    fields = {"to": "dark", "then": "/admin/jobs"}
    assert client.post("/admin/theme", data=fields).headers["location"] == "/admin/jobs"
    assert 'data-theme="dark"' in client.get("/admin/jobs").text
    client.post("/admin/theme", data={"to": "purple", "then": "/admin/jobs"})
    assert 'data-theme="auto"' in client.get("/admin/jobs").text


def test_nobody_is_led_away() -> None:
    assert inside("/admin/jobs?status=queued") == "/admin/jobs?status=queued"
    for away in ("https://evil.test", "//evil.test", "/jobs", "/adminx", "/admin/\\evil", ""):
        assert inside(away) == "/admin/"
