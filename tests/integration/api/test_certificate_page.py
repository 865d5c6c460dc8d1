"""GET /certificates/ID/page: one page, no script, and only what was signed."""

from __future__ import annotations

import base64
import hashlib
import json

from fastapi.testclient import TestClient

from core.backend import Backend
from core.records import Certificate
from tests.integration.api.conftest import MakeKey
from tests.unit.service.reading import Page


def completed(api: TestClient, **more: str) -> str:
    """A request that completes at once: there is nobody of that name."""
    body = {"model": "digits", "subject_id": "nobody", **more}
    answer = api.post("/erasure-requests", json=body).json()
    assert answer["status"] == "completed"
    return str(answer["id"])


def test_it_is_html_without_script_under_a_strict_policy(api: TestClient) -> None:
    request_id = completed(api)
    answer = api.get(f"/certificates/{request_id}/page")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    page = Page(answer.text)
    assert {"script", "link", "img", "iframe", "form"} & set(page.tags) == set()
    assert not [name for name in page.attributes if name.startswith("on") or name == "style"]
    policy = answer.headers["Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "@page { size: A4" in page.style
    assert "Nothing was found to erase" in page.words
    assert "the model was trained on none of the subject's samples" in page.words


def test_what_callers_wrote_is_text(api: TestClient) -> None:
    request_id = completed(api, external_id="<script>alert(1)</script> & more")
    answer = api.get(f"/certificates/{request_id}/page")
    assert "<script" not in answer.text
    assert "<script>alert(1)</script> & more" in Page(answer.text).words


def test_what_was_changed_is_not_shown(api: TestClient, api_backend: Backend) -> None:
    request_id = completed(api, external_id="one")
    for change in (lambda text: text.replace("one", "two"), lambda text: text[:-1]):
        with api_backend.db.transaction() as tx:
            row = tx.session.get_one(Certificate, request_id)
            row.document = change(row.document)
        answer = api.get(f"/certificates/{request_id}/page")
        assert answer.status_code == 500
        problem = answer.json()
        assert problem["code"] == "failed"
        assert "does not verify" in problem["detail"]
        assert "two" not in json.dumps(problem)


def test_who_may_see_it_and_when(api: TestClient, api_key: MakeKey) -> None:
    request_id = completed(api)
    path = f"/certificates/{request_id}/page"
    assert api.get(path, headers=api_key("predict")).status_code == 403
    assert api.get(path, headers={"Authorization": ""}).status_code == 401
    assert api.get(path, headers=api_key("read")).status_code == 200
    assert api.get("/certificates/er_none/page").status_code == 404
    waiting = api.post(
        "/erasure-requests", json={"model": "digits", "subject_id": "subject-0"}
    ).json()
    answer = api.get(f"/certificates/{waiting['id']}/page")
    assert answer.status_code == 409
    assert "issued when it is completed" in answer.json()["detail"]
