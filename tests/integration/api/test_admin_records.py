"""Pages of models, data sets, the chain, keys and the system: what they show, do, and refuse."""

from __future__ import annotations

import html
import json
import re

import pytest
from sqlalchemy import delete, update
from starlette.testclient import TestClient

from core import audit, keys
from core.backend import Backend
from core.records import AuditEvent, Taint
from service.admin.pages.audit import _verifying
from tests.integration.api.conftest import SignIn
from tests.integration.api.hand import Hand, posted

PAGES = [
    "/admin/models",
    "/admin/models/digits",
    "/admin/models/digits/policy",
    "/admin/datasets",
    "/admin/datasets/people",
    "/admin/datasets/people/subjects",
    "/admin/audit",
    "/admin/legal-holds",
    "/admin/system",
]


def text_of(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


def test_who_may_read_sees_every_page_and_no_action(admin: SignIn) -> None:
    client = admin("read")
    for path in PAGES:
        answer = client.get(path)
        assert answer.status_code == 200, path
        forms = re.findall(r'method="post" action="([^"]+)"', answer.text)
        mine = {"/admin/theme", "/admin/sign-out", "/admin/audit/verify"}
        assert set(forms) - mine <= {"/admin/models/digits/policy"}, path
        assert "Save the policy" not in answer.text
        assert "/admin/keys" not in answer.text
    for path in ("/admin/keys", "/admin/datasets/people/samples"):
        assert client.get(path).status_code == 403
    for path in ("/admin/keys", "/admin/models/digits/policy", "/admin/models/digits/rollback"):
        assert client.post(path, data={"version": 1, "reason": "x"}).status_code == 403


def test_a_model_with_its_line_and_its_budget(
    admin: SignIn, api: TestClient, api_hand: Hand
) -> None:
    posted(api)
    held = api_hand.claim()
    api_hand.publish(held)
    api_hand.succeed(held)
    client = admin("review")
    assert "version 2" in text_of(client, "/admin/models")
    page = text_of(client, "/admin/models/digits")
    assert "Version 2 Serving" in page
    assert "Version 1 Retired Remembers 1 request" in page
    assert "made of version 1 to forget by rfu ss" in page
    assert "first training or import" in page
    assert "1 – remembers 1 request" in page  # among the versions to go back to
    refused = client.post(
        "/admin/models/digits/rollback", data={"version": 1, "reason": "it was better"}
    )
    assert refused.status_code == 409
    assert "not forgotten the same requests" in refused.text
    assert client.get("/admin/models/nothing").status_code == 404


def test_going_back_to_a_version_that_forgot_the_same(
    admin: SignIn, api: TestClient, api_hand: Hand, api_backend: Backend
) -> None:
    posted(api)
    held = api_hand.claim()
    api_hand.publish(held)
    api_hand.succeed(held)
    with api_backend.db.transaction() as tx:
        tx.session.execute(delete(Taint))
    client, place = admin("review"), "/admin/models/digits"
    assert client.post(f"{place}/rollback", data={"version": 9, "reason": "x"}).status_code == 404
    assert client.post(f"{place}/rollback", data={"version": 1}).status_code == 422
    data = {"version": 1, "reason": "it was better"}
    assert client.post(f"{place}/rollback", data=data).headers["location"] == place
    page = text_of(client, place)
    assert "Version 1 is served again." in page
    assert "Version 2 Retired" in page


def test_a_policy_is_changed_and_reset(admin: SignIn, api: TestClient) -> None:
    client, place = admin("admin"), "/admin/models/digits/policy"
    form = {
        "thresholds.auc_band": "0.05",
        "inconclusive": "review",
        "relearning": "on",
        "scheduling.class": "night",
    }
    answer = client.post(place, data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, place)
    page = text_of(client, place)
    assert "The policy was changed." in page
    assert "Not the default" in page
    assert "about 316 of them" in page
    shown = api.get("/models/digits").json()["policy"]
    assert (shown["thresholds"]["auc_band"], shown["inconclusive"]) == (0.05, "review")
    assert shown["relearning"] is True
    assert (shown["scheduling"]["class"], shown["scheduling"]["tenant"]) == ("night", None)
    assert client.post(place, data={"inconclusive": "publish"}).status_code == 303
    assert api.get("/models/digits").json()["policy_deviations"] == []


def test_a_policy_that_cannot_be_is_shown_again_with_what_is_wrong(
    admin: SignIn, api: TestClient
) -> None:
    client, place = admin("admin"), "/admin/models/digits/policy"
    for value, why in (("2", "at most 1"), ("much", "Must be a number")):
        answer = client.post(place, data={"thresholds.auc_band": value, "budget.jobs": "5"})
        assert answer.status_code == 422
        assert why in answer.text
        assert f'value="{value}"' in answer.text
    answer = client.post(place, data={"scheduling.class": "At Night"})
    assert answer.status_code == 422
    assert "Must be a name of small letters" in answer.text
    assert api.get("/models/digits").json()["policy_deviations"] == []


def test_where_nothing_predicts_the_box_says_where_to_ask(admin: SignIn) -> None:
    client = admin("read", "predict")
    assert "of the role" in client.get("/admin/models/digits/try").text
    answer = client.post("/admin/models/digits/try", files={"image": b"x"})
    assert answer.status_code == 503
    assert "/try" not in client.get("/admin/models/digits").text
    assert admin("read").get("/admin/models/digits/try").status_code == 403


def test_a_data_set_in_numbers_and_nobody_in_it(admin: SignIn) -> None:
    client = admin("read")
    page = text_of(client, "/admin/datasets/people")
    assert "Samples there 120" in page
    assert "Subjects 60" in page
    subjects = client.get("/admin/datasets/people/subjects").text
    assert len(re.findall(r"<code title=\"[0-9a-f]{64}\"", subjects)) == 50
    assert "subject-" not in subjects
    following = re.search(r'href="([^"]+)" rel="next"', subjects)
    assert following is not None
    rest = client.get(html.unescape(following[1])).text
    assert len(re.findall(r"<code title=\"[0-9a-f]{64}\"", rest)) == 10
    assert client.get("/admin/datasets/people/subjects?cursor=x").status_code == 422


def test_who_looks_at_samples_is_on_record_and_nothing_is_kept(
    admin: SignIn, api_backend: Backend
) -> None:
    client = admin("admin")
    answer = client.get("/admin/datasets/people/samples?label=1")
    assert answer.headers["cache-control"] == "no-store"
    keys = [int(key) for key in re.findall(r'alt="Sample (\d+), ', answer.text)]
    assert keys == sorted(keys)
    assert 20 < len(keys) <= 48
    assert "train/" not in answer.text
    with api_backend.db.reading() as session:
        [dataset_id] = {
            each.noun_id for each in session.query(AuditEvent) if each.noun == "dataset"
        }
        last = audit.history(session, "dataset", dataset_id)[-1]
    assert (last.event, last.data["label"]) == ("samples looked at", 1)
    assert last.data["by"].startswith("key_")
    assert client.get("/admin/datasets/people/samples?label=7").status_code == 404
    after = client.get(f"/admin/datasets/people/samples?label=1&cursor={keys[-2]}").text
    assert re.findall(r'alt="Sample (\d+), ', after) == [str(keys[-1])]


def test_the_chain_filtered_and_by_page(admin: SignIn, api: TestClient) -> None:
    for n in range(15):
        posted(api, f"subject-{n}")
    client = admin("read")
    first = client.get("/admin/audit").text
    assert first.count('<th scope="row"') == 50
    following = re.search(r'href="([^"]+)" rel="next"', first)
    assert following is not None
    assert client.get(html.unescape(following[1])).status_code == 200
    page = text_of(client, "/admin/audit?noun=key&event=created")
    assert "scopes" in page
    assert "received" not in page.split("Details")[1]
    assert "No event is like this." in text_of(client, "/admin/audit?since=2999-01-01")
    assert "received" in text_of(client, "/admin/audit?since=2020-01-01&until=2999-01-01")
    assert "received" in text_of(client, "/admin/audit?since=2020-02-31")  # no such day: no filter
    assert client.get("/admin/audit?cursor=x").status_code == 422


def test_the_chain_exported(admin: SignIn, api: TestClient) -> None:
    posted(api)
    client = admin("read")
    answer = client.get("/admin/audit/export")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert "attachment" in answer.headers["content-disposition"]
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    some = client.get("/admin/audit/export?noun=job").text.splitlines()
    assert {json.loads(line)["noun"] for line in some} == {"job"}


def test_the_chain_verified_and_found_broken(admin: SignIn, api_backend: Backend) -> None:
    client = admin("read")
    assert client.post("/admin/audit/verify").status_code == 303
    assert "The chain holds: " in text_of(client, "/admin/audit")
    with _verifying:
        assert client.post("/admin/audit/verify").status_code == 429
    with api_backend.db.transaction() as tx:
        tx.session.execute(update(AuditEvent).where(AuditEvent.seq == 2).values(event="nothing"))
    client.post("/admin/audit/verify")
    assert "The chain is broken at event 2: event 2 was changed." in text_of(client, "/admin/audit")


def test_a_key_is_shown_once_works_and_is_revoked(
    admin: SignIn, api: TestClient, api_backend: Backend
) -> None:
    client = admin("admin")
    form = {"name": "shop", "scopes": ["read", "erase"], "days": "30"}
    made = client.post("/admin/keys", data=form)
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    found = re.search(r'id="made-key">([^<]+)<', made.text)
    assert found is not None
    assert found[1] not in client.get("/admin/keys").text
    headers = {"Authorization": f"Bearer {found[1]}"}
    assert api.get("/models", headers=headers).status_code == 200
    key_id = found[1].partition(".")[0]
    assert client.post(f"/admin/keys/{key_id}/revoke").status_code == 303
    assert "The key shop was revoked." in text_of(client, "/admin/keys")
    assert api.get("/models", headers=headers).status_code == 401
    assert client.post("/admin/keys/key_none/revoke").status_code == 404
    with api_backend.db.reading() as session:
        assert keys.listed(session)[0].revoked_at is not None


def test_a_key_for_one_model_is_rotated(admin: SignIn, api: TestClient) -> None:
    client = admin("admin")
    form = {"name": "shop", "scopes": ["read"], "model": "digits"}
    found = re.search(r'id="made-key">([^<]+)<', client.post("/admin/keys", data=form).text)
    assert found is not None
    assert "for digits alone" in text_of(client, "/admin/keys")
    old, key_id = found[1], found[1].partition(".")[0]
    rotated = client.post(f"/admin/keys/{key_id}/rotate", data={"hours": "0"})
    assert rotated.status_code == 201
    found = re.search(r'id="made-key">([^<]+)<', rotated.text)
    assert found is not None
    for text, status in ((old, 401), (found[1], 200)):
        headers = {"Authorization": f"Bearer {text}"}
        assert api.get("/models/digits", headers=headers).status_code == status
    assert client.post(f"/admin/keys/{key_id}/rotate", data={"hours": "1"}).status_code == 201
    assert "old secret until" in text_of(client, "/admin/keys")


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({"name": "x"}, "at least one scope"),
        ({"name": "x", "scopes": "root"}, "scope root"),
        ({"name": "x", "scopes": "read", "days": "0"}, "at least one day"),
        ({"scopes": "read"}, "name"),
    ],
)
def test_a_key_that_cannot_be(admin: SignIn, form: dict[str, str], why: str) -> None:
    answer = admin("admin").post("/admin/keys", data=form)
    assert answer.status_code == 422
    assert why in answer.text


def test_a_hold_is_placed_refuses_and_is_released(admin: SignIn, api: TestClient) -> None:
    client, place = admin("review"), "/admin/legal-holds"
    request_id = posted(api, "subject-3")["id"]
    form = {"model": "digits", "subject": "subject-3", "reason": "a court asked"}
    assert client.post(place, data=form).headers["location"] == place
    page = text_of(client, place)
    assert "The hold is in force: 2 samples are kept." in page
    assert "subject-3" not in page
    assert "In force digits a person, 2 samples a court asked" in page
    assert api.get(f"/erasure-requests/{request_id}").json()["status"] == "rejected"
    both = {**form, "samples": "train/00001\n"}
    assert client.post(place, data=both).status_code == 422
    [hold_id] = set(re.findall(r"hold_\w{26}", client.get(place).text))
    assert admin("read").post(f"{place}/{hold_id}/release", data={"reason": "x"}).status_code == 403
    assert client.post(f"{place}/{hold_id}/release", data={"reason": "over"}).status_code == 303
    assert "Released: over" in text_of(client, place)
    assert "Nothing is held." in text_of(client, f"{place}?only=yes")
    assert posted(api, "subject-3")["status"] == "scheduled"


def test_the_system_without_a_secret(admin: SignIn, api_backend: Backend) -> None:
    page = text_of(admin("read"), "/admin/system")
    secret = api_backend.settings.secret
    assert secret is not None
    assert secret.get_secret_value() not in page
    assert "LETHE_SECRET (hidden)" in page
    assert "SQLite" in page
    assert "No worker is running" in page
