"""The dashboard's pages of erasure requests: found, exported, ended, many at once."""

from __future__ import annotations

import csv
import io
import logging
import re
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from core import deliveries, requests
from core.backend import Backend
from core.records import ErasureRequest
from tests.integration.api.conftest import SignIn
from tests.integration.api.hand import posted

PATH = "/admin/erasure-requests"


def shown(page: str) -> list[str]:
    """Ids of the requests in a list, in its order."""
    return re.findall(rf'<th scope="row"><a href="{PATH}/(er_\w+)"', page)


def request_of(backend: Backend, request_id: str) -> ErasureRequest:
    with backend.db.reading() as session:
        return requests.get(session, request_id)


def test_a_list_is_filtered_searched_sorted_and_exported(
    admin: SignIn, api: TestClient, api_backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    first = posted(api, "subject-1", external_id="=ticket")["id"]
    second = posted(api, "subject-2")["id"]
    ended = posted(api, "subject-3")["id"]
    api.post(f"/erasure-requests/{ended}/cancel", json={"reason": "a mistake"})
    client = admin("read")
    assert shown(client.get(PATH).text) == [ended, second, first]
    assert shown(client.get(f"{PATH}?status=open&sort=oldest").text) == [first, second]
    assert shown(client.get(f"{PATH}?external_id=%3Dticket&status=&model=").text) == [first]
    assert client.get(f"{PATH}?status=lost").status_code == 422
    with caplog.at_level(logging.DEBUG):
        answer = client.post(f"{PATH}/search", data={"subject": "subject-2"})
    assert shown(answer.text) == [second]
    assert "subject-2" not in caplog.text + answer.text + str(answer.url)
    exported = client.get(f"{PATH}/export.csv?status=open&sort=oldest")
    assert "attachment" in exported.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(exported.text)))
    assert [row["id"] for row in rows] == [first, second]
    assert rows[0]["external_id"] == "'=ticket", "no spreadsheet runs it"
    assert "bulk" not in re.sub(r"<form method=.post. action=.[^>]*bulk.>", "", answer.text)
    assert 'name="chosen"' not in client.get(PATH).text, "a key that only reads chooses nothing"


def test_a_request_is_put_off_refused_and_cancelled_with_a_typed_confirmation(
    admin: SignIn, api: TestClient, api_backend: Backend
) -> None:
    client = admin("review")
    first = posted(api, "subject-1")["id"]
    page = client.get(f"{PATH}/{first}").text
    assert all(word in page for word in ("/extend", "/reject", "/cancel", "Timeline"))
    later = (datetime.now(UTC) + timedelta(days=60)).date()
    fields = {"due_on": str(later), "reason": "it is complex"}
    answer = client.post(f"{PATH}/{first}/extend", data=fields)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}/{first}")
    assert f"due on {later}" in client.get(answer.headers["location"]).text
    assert f"due on {later}" not in client.get(answer.headers["location"]).text, "said once"
    assert request_of(api_backend, first).due_at.date() == later
    refused = client.post(f"{PATH}/{first}/reject", data={"reason": "not theirs", "typed": "yes"})
    assert (refused.status_code, request_of(api_backend, first).state) == (422, "scheduled")
    assert first[-6:] in refused.text
    fields = {"reason": "not theirs", "typed": first[-6:].upper(), "refusal": "no_such"}
    assert client.post(f"{PATH}/{first}/reject", data=fields).status_code == 422
    fields["refusal"] = "insuf_verification"
    assert client.post(f"{PATH}/{first}/reject", data=fields).status_code == 303
    assert request_of(api_backend, first).refusal == "insuf_verification"
    assert request_of(api_backend, first).state == "rejected"
    page = client.get(f"{PATH}/{first}").text
    assert "/extend" not in page
    assert "not theirs" in page
    assert "· we could not confirm" in page
    assert "We have refused your request because we could not confirm" in page
    again = client.post(f"{PATH}/{first}/cancel", data=fields, headers={"HX-Request": "true"})
    assert again.status_code == 409
    assert "rejected" in again.text
    assert "<" not in again.text


def test_who_only_reads_is_shown_no_decision(admin: SignIn, api: TestClient) -> None:
    first = posted(api, "subject-1")["id"]
    client = admin("read")
    page = client.get(f"{PATH}/{first}").text
    assert "/cancel" not in page
    for action in ("cancel", "reject", "extend"):
        fields = {"reason": "x", "typed": first[-6:], "due_on": "2030-01-01"}
        assert client.post(f"{PATH}/{first}/{action}", data=fields).status_code == 403
    assert (
        client.post(f"{PATH}/bulk", data={"action": "cancel", "chosen": first}).status_code == 403
    )


def test_many_are_ended_at_once_and_what_one_refuses_stops_no_other(
    admin: SignIn, api: TestClient, api_backend: Backend
) -> None:
    ids = [posted(api, f"subject-{i}")["id"] for i in range(3)]
    client = admin("review")
    chosen = {"action": "cancel", "chosen": [*ids, ids[0]]}
    asked = client.post(f"{PATH}/bulk", data=chosen).text
    assert "Cancel 3 requests" in asked
    api.post(f"/erasure-requests/{ids[1]}/cancel", json={"reason": "meanwhile"})
    fields = {**chosen, "reason": "by mistake", "typed": "2"}
    assert client.post(f"{PATH}/bulk/do", data=fields).status_code == 422
    answer = client.post(f"{PATH}/bulk/do", data={**fields, "typed": "3"})
    assert answer.status_code == 303
    assert "2 of 3 done" in client.get(answer.headers["location"]).text
    assert {request_of(api_backend, each).state for each in ids} == {"cancelled"}
    late = posted(api, "subject-4")["id"]
    fields = {"action": "extend", "chosen": late, "reason": "complex", "typed": "1"}
    assert client.post(f"{PATH}/bulk/do", data=fields).status_code == 422, "until when?"
    fields["due_on"] = "2099-01-01"
    assert client.post(f"{PATH}/bulk/do", data=fields).status_code == 303
    assert request_of(api_backend, late).due_at.year == 2099
    assert client.post(f"{PATH}/bulk", data={"action": "burn", "chosen": late}).status_code == 422
    assert client.post(f"{PATH}/bulk", data={"action": "cancel"}).status_code == 422
    fields = {"action": "burn", "chosen": late, "reason": "x", "typed": "1"}
    assert client.post(f"{PATH}/bulk/do", data=fields).status_code == 404


def test_the_certificate_is_viewed_downloaded_and_verified(
    admin: SignIn, api: TestClient, api_backend: Backend
) -> None:
    nobody = posted(api, "nobody we know")["id"]
    client = admin("read")
    page = client.get(f"{PATH}/{nobody}").text
    assert "Signature holds" in page
    assert "Nothing was found to erase" in page
    view = client.get(f"{PATH}/{nobody}/certificate")
    assert "form-action 'none'" in view.headers["content-security-policy"]
    file = client.get(f"{PATH}/{nobody}/certificate.json")
    assert file.text == api.get(f"/erasure-requests/{nobody}/certificate").text
    answer = client.post(f"{PATH}/{nobody}/verify")
    assert "The signature holds" in client.get(answer.headers["location"]).text
    with api_backend.db.transaction() as tx:
        found = tx.session.get(requests.Certificate, nobody)
        assert found is not None
        found.document = found.document.replace("no_data_found", "erased")
    assert "Does not verify" in client.get(f"{PATH}/{nobody}").text
    assert client.post(f"{PATH}/{nobody}/verify").status_code == 422
    waiting = posted(api, "subject-5")["id"]
    assert client.get(f"{PATH}/{waiting}/certificate.json").status_code == 409
    assert "issued when the request is completed" in client.get(f"{PATH}/{waiting}").text


def test_messages_are_shown_with_their_attempts_and_sent_again(
    admin: SignIn, api: TestClient, api_backend: Backend
) -> None:
    url = "https://93.184.216.34/erased"
    request_id = posted(api, "subject-1", callback_url=url)["id"]
    with api_backend.db.reading() as session:
        message = deliveries.listed(session, request_id=request_id)[0]
    attempt = deliveries.begin(api_backend, message.id)
    assert attempt is not None
    deliveries.end(api_backend.db, attempt, 410, None)
    page = admin("read").get(f"{PATH}/{request_id}").text
    assert "answered 410" in page
    assert "Given up" in page
    assert "/replay" not in page
    client = admin("admin")
    path = f"{PATH}/{request_id}/deliveries/{message.id}/replay"
    assert path in client.get(f"{PATH}/{request_id}").text
    assert client.post(path).status_code == 303
    with api_backend.db.reading() as session:
        assert deliveries.listed(session, request_id=request_id)[0].state == "pending"
    assert admin("read").post(path).status_code == 403
