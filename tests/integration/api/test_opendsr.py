"""OpenDSR, held to its specification by a controller that was written from it alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from core import keys, registry, requests
from core.backend import Backend
from core.records import ErasureRequest, OpenDsrRequest
from core.settings import Settings
from tests import factories
from tests.controller import BARE, V1, V2, Controller, Dialect
from tests.integration.api.conftest import MakeKey
from tests.integration.api.hand import Hand, count
from tests.receiving import ALLOW, Got, Receiver, receiver
from worker.courier import Courier

PERSON = "subject-3"


@pytest.fixture
def api_settings(api_settings: Settings) -> Settings:
    return factories.other(api_settings, callback_allow=ALLOW, callback_http=True)


@pytest.fixture
def taker() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@pytest.fixture
def controller(api: TestClient, api_key: MakeKey, taker: Receiver) -> Controller:
    made = Controller(api, api_key("erase"), callback_url=f"{taker.url}/opendsr/callbacks")
    taker.answer = made.take
    return made


@pytest.fixture
def courier(api_backend: Backend) -> Courier:
    return Courier(api_backend, "a test")


def erasures(backend: Backend) -> list[ErasureRequest]:
    with backend.db.reading() as session:
        return list(session.scalars(select(ErasureRequest).order_by(ErasureRequest.id)))


def hashed(form: str, name: str = PERSON) -> str:
    return name if form == "raw" else hashlib.new(form, name.encode()).hexdigest()


@pytest.mark.parametrize("dialect", [V2, BARE, V1])
def test_discovery(controller: Controller, dialect: Dialect) -> None:
    controller.dialect = dialect
    found = controller.discovery()
    assert found["supported_subject_request_types"] == ["erasure"]
    assert len(found["supported_identities"]) == 11 * 4
    controller.certificate()
    assert controller.http.request("GET", f"{dialect.prefix}/discovery/").status_code == 200


@pytest.mark.parametrize("form", ["raw", "md5", "sha1", "sha256"])
def test_a_person_is_found_in_every_form(
    controller: Controller, api_backend: Backend, form: str
) -> None:
    body = controller.body((form, hashed(form)))
    controller.ask(body)
    [erasure] = erasures(api_backend)
    assert (erasure.state, erasure.sample_count) == ("scheduled", 2)
    assert erasure.external_id == body["subject_request_id"]
    assert erasure.regulation == "gdpr"
    assert erasure.subject_hash == api_backend.identities.subject(PERSON).raw
    named = api_backend.identities.commitment(erasure.id, hashed(form))
    assert erasure.commitment == named, "opened with the identity as it came"


def test_upper_case_digits_and_several_names_are_one_person(
    controller: Controller, api_backend: Backend
) -> None:
    names = [("sha256", hashed("sha256").upper()), ("raw", PERSON), ("email", "x")]
    controller.ask(controller.body(*names[:2]))
    assert len(erasures(api_backend)) == 1


@pytest.mark.parametrize("dialect", [V2, V1])
def test_from_the_post_to_the_end(
    controller: Controller, courier: Courier, api_hand: Hand, dialect: Dialect
) -> None:
    controller.dialect = dialect
    body = controller.body(("raw", PERSON))
    number = body["subject_request_id"]
    receipt = controller.ask(body)
    courier.once()
    assert controller.status(number)["request_status"] == "pending"
    held = api_hand.claim()
    courier.once()
    assert controller.status(number)["request_status"] == "in_progress"
    api_hand.publish(held)
    api_hand.succeed(held)
    courier.once()
    done = controller.status(number)
    assert done["request_status"] == "completed"
    assert done["controller_id"] == receipt["controller_id"]
    [part] = done["extensions"]["localhost"]["erasure_requests"]
    assert (part["status"], part["outcome"]) == ("completed", "erased")
    assert controller.told(number) == ["pending", "in_progress", "completed"]


def test_every_url_is_told(controller: Controller, courier: Courier, taker: Receiver) -> None:
    with receiver() as second:
        urls = [controller.callback_url, f"{second.url}/a", f"{second.url}/b"]
        controller.ask(controller.body(("raw", PERSON), status_callback_urls=urls))
        courier.once()
        assert [got.path for got in taker.got] == ["/opendsr/callbacks"]
        assert sorted(got.path for got in second.got) == ["/a", "/b"]
        for got, url in zip(second.got, urls[1:], strict=True):
            assert controller.signature_holds(got.headers, got.body)
            assert got.json["status_callback_url"] == url


def test_a_callback_that_was_tampered_with_is_refused(
    controller: Controller, courier: Courier, taker: Receiver
) -> None:
    controller.ask(controller.body(("raw", PERSON)))
    courier.once()
    [got] = taker.got
    assert controller.signature_holds(got.headers, got.body)
    assert not controller.signature_holds(got.headers, got.body.replace(b"pending", b"completed"))
    for name, value in (
        ("x-opendsr-processor-domain", "evil.example"),
        ("x-opendsr-signature", "AAAA"),
        ("x-opendsr-signature", "not base64"),
    ):
        forged = Got(got.path, {**got.headers, name: value}, got.body)
        assert not controller.signature_holds(forged.headers, forged.body)


def test_a_callback_that_is_not_taken_is_sent_again(
    controller: Controller, courier: Courier, taker: Receiver, api: TestClient
) -> None:
    taker.answer = lambda handler, _: handler.send_error(503)
    body = controller.body(("raw", PERSON))
    controller.ask(body)
    courier.once()
    [delivery] = api.get("/deliveries").json()["items"]
    assert (delivery["form"], delivery["erasure_request_id"]) == ("opendsr/2", None)
    assert delivery["opendsr_request_id"].startswith("dsr_")
    assert [each["status"] for each in delivery["attempts"]] == [503]
    taker.answer = controller.take
    assert api.post(f"/deliveries/{delivery['id']}/replay").status_code == 202
    courier.once()
    assert controller.told(body["subject_request_id"]) == ["pending"]
    assert taker.got[0].body == taker.got[1].body


def test_an_unknown_person_is_done_at_once(
    controller: Controller, courier: Courier, api_backend: Backend
) -> None:
    body = controller.body(("raw", "nobody"), ("md5", hashed("md5", "nobody")))
    controller.ask(body)
    courier.once()
    assert controller.told(body["subject_request_id"]) == ["completed"]
    assert erasures(api_backend) == []


def test_the_same_again(controller: Controller, api_backend: Backend, courier: Courier) -> None:
    body = controller.body(("raw", PERSON))
    first = controller.ask(body)
    raw = json.dumps(dict(reversed(body.items())), indent=2).encode()
    again = controller.ask(raw)
    assert {**again, "encoded_request": ""} == {**first, "encoded_request": ""}
    assert count(api_backend, OpenDsrRequest) == len(erasures(api_backend)) == 1
    changed = controller.post({**body, "submitted_time": "2026-11-03T15:00:00Z"})
    assert "another body" in controller.refused(changed, 409)["message"]
    courier.once()
    assert controller.told(body["subject_request_id"]) == ["pending"]


def test_controllers_do_not_see_one_another(
    controller: Controller, api: TestClient, api_key: MakeKey
) -> None:
    body = controller.body(("raw", PERSON))
    number = body["subject_request_id"]
    first = controller.ask(body)
    other = Controller(api, api_key("erase"))
    other.refused(other._one("GET", number), 404)
    other.refused(other._one("DELETE", number), 404)
    assert other.ask(other.body(("raw", PERSON), subject_request_id=number)) != first


def test_cancelled_while_pending(controller: Controller, courier: Courier) -> None:
    body = controller.body(("raw", PERSON))
    number = body["subject_request_id"]
    controller.ask(body)
    first = controller.cancel(number)
    assert controller.cancel(number) == first, "what is cancelled stays so"
    assert controller.status(number)["request_status"] == "cancelled"
    courier.once()
    assert controller.told(number) == ["pending", "cancelled"]


def test_not_cancelled_once_it_has_begun(controller: Controller, api_hand: Hand) -> None:
    body = controller.body(("raw", PERSON))
    controller.ask(body)
    api_hand.claim()
    answer = controller._one("DELETE", body["subject_request_id"])
    assert "only one that is pending" in controller.refused(answer)["message"]
    assert controller.status(body["subject_request_id"])["request_status"] == "in_progress"


def test_a_refusal_is_in_the_extension(controller: Controller, api_backend: Backend) -> None:
    body = controller.body(("raw", PERSON))
    controller.ask(body)
    [erasure] = erasures(api_backend)
    with api_backend.db.transaction() as tx:
        requests.end(tx, erasure.id, "rejected", "held by a court", refusal="legal_hold")
    found = controller.status(body["subject_request_id"])
    assert found["request_status"] == "cancelled"
    [part] = found["extensions"]["localhost"]["erasure_requests"]
    assert (part["id"], part["outcome"]) == (erasure.id, "rejected")
    assert part["refusal"] == "legal_hold"
    assert "court" not in json.dumps(found), "what a reviewer writes is not for the controller"


def test_every_data_set_that_knows_the_person(
    controller: Controller, api_backend: Backend, api_hand: Hand, courier: Courier
) -> None:
    factories.make_model(api_backend, factories.make_dataset(api_backend, "more", seed=1), "more")
    factories.make_dataset(api_backend, "unused", seed=2)
    body = controller.body(("raw", PERSON))
    number = body["subject_request_id"]
    controller.ask(body)
    assert len(erasures(api_backend)) == 2
    ours = controller.status(number)["extensions"]["localhost"]
    assert ours["uncovered_datasets"] == ["unused"]
    for expected in ("in_progress", "completed"):
        held = api_hand.claim()
        api_hand.publish(held)
        api_hand.succeed(held)
        assert controller.status(number)["request_status"] == expected
    courier.once()
    assert controller.told(number) == ["pending", "in_progress", "completed"]


def test_the_extension_names_models(controller: Controller, api_backend: Backend) -> None:
    factories.make_model(api_backend, factories.make_dataset(api_backend, "more", seed=1), "more")
    ours = {"localhost": {"models": ["more"]}, "other.example": {"anything": 1}}
    controller.ask(controller.body(("raw", PERSON), extensions=ours))
    [erasure] = erasures(api_backend)
    with api_backend.db.reading() as session:
        assert erasure.model_id == registry.model_named(session, "more").id
    unknown = {"localhost": {"models": ["none"]}}
    answer = controller.post(controller.body(("raw", PERSON), extensions=unknown))
    assert "no model 'none'" in controller.refused(answer)["message"]
    answer = controller.post(controller.body(("raw", PERSON), extensions={"localhost": {"x": 1}}))
    assert "extensions.localhost.x" in controller.refused(answer)["message"]


def test_a_key_for_one_model(controller: Controller, api: TestClient, api_backend: Backend) -> None:
    factories.make_model(api_backend, factories.make_dataset(api_backend, "more", seed=1), "more")
    with api_backend.db.transaction() as tx:
        _, text = keys.create(tx, "one model's", ["erase"], model="more")
    bound = Controller(api, {"Authorization": f"Bearer {text}"})
    bound.ask(bound.body(("raw", PERSON)))
    assert len(erasures(api_backend)) == 1
    digits = {"localhost": {"models": ["digits"]}}
    bound.refused(bound.post(bound.body(("raw", PERSON), extensions=digits)), 403)


SECRETIVE = "Greta.Unbekannt@example.org"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"regulation": None}, "regulation"),
        ({"regulation": "lgpd"}, "regulation"),
        ({"subject_request_id": "A7551968-D5D6-44B2-9831-815AC9017798"}, "subject_request_id"),
        ({"subject_request_id": "a7551968-d5d6-14b2-9831-815ac9017798"}, "subject_request_id"),
        ({"subject_request_type": "access"}, "subject_request_type: only erasure"),
        ({"subject_request_type": "portability"}, "subject_request_type: only erasure"),
        ({"subject_request_type": "rectification"}, "subject_request_type"),
        ({"submitted_time": "yesterday"}, "submitted_time"),
        ({"submitted_time": "2026-11-02T15:00:00"}, "submitted_time"),
        ({"subject_identities": []}, "subject_identities"),
        ({"subject_identities": None}, "subject_identities"),
        ({"api_version": "3.0"}, "api_version"),
        ({"status_callback_urls": ["https://10.0.0.1/"]}, "status_callback_urls.0: the URL leads"),
        ({"status_callback_urls": ["no"]}, "status_callback_urls"),
    ],
)
def test_what_is_wrong_is_said_in_an_error_object(
    controller: Controller, api_backend: Backend, change: dict[str, Any], where: str
) -> None:
    answer = controller.post(controller.body(("raw", SECRETIVE), **change))
    assert where in controller.refused(answer)["message"]
    assert SECRETIVE not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert count(api_backend, OpenDsrRequest) == 0


@pytest.mark.parametrize(
    ("kind", "form", "value", "where"),
    [
        ("email", "rot13", SECRETIVE, "identity_format"),
        ("shoe_size", "raw", SECRETIVE, "identity_type"),
        ("email", "md5", SECRETIVE, "identity_value: md5 is 32"),
        ("email", "sha256", "0" * 63 + "g", "identity_value: sha256 is 64"),
        ("email", "raw", "", "identity_value"),
    ],
)
def test_identities_that_are_none(
    controller: Controller, kind: str, form: str, value: str, where: str
) -> None:
    one = {"identity_type": kind, "identity_format": form, "identity_value": value}
    answer = controller.post(controller.body(subject_identities=[one]))
    assert f"subject_identities.0.{where}" in controller.refused(answer)["message"]
    assert SECRETIVE not in answer.text


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff", b'"a"', b"[" * 10_000])
def test_bodies_that_are_none(controller: Controller, raw: bytes) -> None:
    controller.refused(controller.post(raw))


def test_fields_that_nobody_knows_are_passed_over(controller: Controller) -> None:
    body = controller.body(("raw", PERSON), group_id="g", property_id=12)
    assert controller.ask(body) == controller.ask(body)


def test_who_may(controller: Controller, api: TestClient, api_key: MakeKey) -> None:
    body = controller.body(("raw", PERSON))
    for key, status in (({}, 401), (api_key("read", "admin"), 403)):
        anyone = Controller(api, {"Authorization": "", **key})
        anyone.refused(anyone.post(body), status)
        anyone.refused(anyone._one("GET", body["subject_request_id"]), status)
        anyone.refused(anyone._one("DELETE", body["subject_request_id"]), status)
    controller.refused(controller._one("GET", body["subject_request_id"]), 404)


def test_no_name_is_kept(
    controller: Controller, api_backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        for form in ("raw", "md5", "sha1", "sha256"):
            controller.ask(controller.body((form, hashed(form, SECRETIVE))))
            controller.ask(controller.body((form, hashed(form))))
    kept = b"".join(p.read_bytes() for p in api_backend.settings.home.rglob("lethe.db*"))
    for form in ("raw", "md5", "sha1", "sha256"):
        assert hashed(form, SECRETIVE).encode() not in kept
        assert hashed(form, SECRETIVE) not in caplog.text
    for form in ("md5", "sha1", "sha256"):
        assert hashed(form).encode() not in kept


def test_where_it_is_not_set_up_it_says_so(
    api: TestClient, api_backend: Backend, api_key: MakeKey
) -> None:
    api_backend.__dict__["opendsr"] = None  # as production that was given no certificate
    controller = Controller(api, api_key("erase"))
    for answer in (
        api.get("/v2/discovery"),
        api.get("/opendsr/certificate.pem"),
        controller.post(controller.body(("raw", PERSON))),
    ):
        assert "LETHE_OPENDSR_URL" in controller.refused(answer, 404)["message"]


def test_a_worker_that_cannot_sign_says_so(
    controller: Controller, courier: Courier, api_backend: Backend, api: TestClient
) -> None:
    controller.ask(controller.body(("raw", PERSON)))
    api_backend.__dict__["opendsr"] = None
    courier.once()
    [delivery] = api.get("/deliveries").json()["items"]
    assert "LETHE_OPENDSR_URL" in delivery["attempts"][0]["error"]
    assert controller.callbacks == []
