"""POST /erasure-requests/bulk: many at once, each with a result of its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError, OperationalError

from core import audit, bulk
from core.asked import Asked, Submitted
from core.backend import Backend
from core.errors import Conflict, Invalid
from core.records import ErasureRequest, Job, Subject
from service.schemas import BulkAnswer
from tests.integration.api.hand import count

URL = "/erasure-requests/bulk"


def item(number: int, **more: Any) -> dict[str, Any]:
    return {"model": "digits", "subject_id": f"subject-{number}", **more}


def posted(api: TestClient, items: list[Any], key: str | None = None) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    answer = api.post(URL, json={"items": items}, headers=headers)
    assert answer.status_code == 200, answer.text
    BulkAnswer.model_validate_json(answer.content)
    found: dict[str, Any] = answer.json()
    return found


def test_each_item_has_its_own_result(api: TestClient, api_backend: Backend) -> None:
    items = [
        item(1, external_id="ticket-1", callback_url="https://93.184.215.14/done"),
        item(2, strategy="magic"),
        {"model": "digits", "sample_ids": ["train/00006", "none/1"]},
        {"model": "nope", "subject_id": "subject-3"},
        {"model": "digits"},
        {"model": "digits", "subject_id": 7, "colour": "red"},
        "not an object",
        {"model": "digits", "sample_ids": ["train/00008", "train/00009"]},
        item(999),
    ]
    answer = posted(api, items)
    results = answer["items"]
    assert [each["index"] for each in results] == list(range(len(items)))
    assert [each["status"] for each in results] == [202, 422, 422, 404, 422, 422, 422, 202, 202]
    assert (answer["accepted"], answer["refused"]) == (3, 6)
    details = [each["problem"]["detail"] for each in results if each["problem"]]
    for detail, words in zip(
        details,
        [
            "unknown strategy 'magic'",
            "1 of 2 samples are not in the model's data set: none/1",
            "no model 'nope'; models: digits",
            "either subject_id or sample_ids",
            "subject_id: Input should be a valid string; colour: Extra inputs",
            "item: must be an object",
        ],
        strict=True,
    ):
        assert words in detail
    first, named, nobody = (each["request"] for each in results if each["request"])
    assert (first["external_id"], first["sample_count"], first["status"]) == (
        "ticket-1", 2, "scheduled"
    )  # fmt: skip
    assert named["sample_count"] == 2
    assert nobody["outcome"] == "no_data_found"
    for each in results:
        if each["id"]:
            kept = api.get(f"/erasure-requests/{each['id']}").json()
            assert {name: kept[name] for name in each["request"]} == each["request"]
        else:
            alone = api.post("/erasure-requests", json=items[each["index"]])
            assert alone.status_code == each["status"]
            said = {**alone.json(), "request_id": each["problem"]["request_id"]}
            assert each["problem"]["code"] == said["code"]
    assert count(api_backend, ErasureRequest) == 3
    with api_backend.db.reading() as session:
        assert audit.verify_chain(session).broken_at is None


def test_the_requests_of_a_call_share_jobs_and_few_statements(
    api: TestClient, api_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement)

    event.listen(api_backend.db.engine, "before_cursor_execute", note)
    posted(api, [item(number) for number in range(2)])
    few = len(statements)
    statements.clear()
    # Six people have a tenth of these 120 samples: more in one job would wait for a reviewer.
    answer = posted(api, [item(number) for number in range(2, 26)])
    event.remove(api_backend.db.engine, "before_cursor_execute", note)
    jobs = [each["request"]["job_id"] for each in answer["items"]]
    assert [jobs.count(job_id) for job_id in dict.fromkeys(jobs)] == [6, 6, 6, 6]
    assert len(statements) <= few + 6, "as many for twelve times as many requests"


def test_more_than_one_transaction_takes_share_none(
    api: TestClient, api_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "TOGETHER", 2)
    answer = posted(api, [item(number) for number in range(5)])
    jobs = [each["request"]["job_id"] for each in answer["items"]]
    assert [jobs.count(job_id) for job_id in dict.fromkeys(jobs)] == [2, 2, 1]
    assert count(api_backend, Job) == 3


def test_one_person_named_twice_is_one_job(api: TestClient, api_backend: Backend) -> None:
    answer = posted(api, [item(1), item(1), {"model": "digits", "sample_ids": ["train/00002"]}])
    assert answer["accepted"] == 3
    assert count(api_backend, Job) == 1


def test_the_key_is_for_the_whole_call(api: TestClient, api_backend: Backend) -> None:
    items = [item(1), item(2, strategy="magic"), item(3)]
    first = posted(api, items, "k")
    answer = api.post(URL, json={"items": items}, headers={"Idempotency-Key": "k"})
    assert answer.headers["Idempotency-Replayed"] == "true"
    again = answer.json()
    for name in ("id", "request"):
        assert [each[name] for each in again["items"]] == [each[name] for each in first["items"]]
    assert count(api_backend, ErasureRequest) == 2
    for other in ([item(1)], [*items, item(4)], [item(3), *items[1:]]):
        answer = api.post(URL, json={"items": other}, headers={"Idempotency-Key": "k"})
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    alone = api.post("/erasure-requests", json=item(5), headers={"Idempotency-Key": "k"})
    assert alone.status_code == 202, "it is another call"
    posted(api, [item(number) for number in range(6, 9)], "l")


def test_a_call_that_broke_off_goes_on_where_it_was(
    api: TestClient, api_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "TOGETHER", 2)
    whole, calls = bulk._write, 0

    def fails(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls in wrong:
            raise OperationalError("COMMIT", {}, OSError("the server has gone"))
        whole(*arguments)

    monkeypatch.setattr(bulk, "_write", fails)
    items = [item(number) for number in range(6)]
    wrong = {1}
    answer = api.post(URL, json={"items": items}, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 503, "nothing was taken in"
    wrong = {3}
    broken = posted(api, items, "k")
    assert [each["status"] for each in broken["items"]] == [202, 202, 503, 503, 503, 503]
    assert "post this again" in broken["items"][2]["problem"]["detail"]
    mended = posted(api, items, "k")
    assert mended["accepted"] == 6
    assert mended["items"][:2] == broken["items"][:2]
    assert count(api_backend, ErasureRequest) == 6


def test_a_replay_outlives_the_samples(api: TestClient, api_backend: Backend) -> None:
    items = [{"model": "digits", "sample_ids": ["train/00007"]}]
    first = posted(api, items, "k")
    with api_backend.db.reading() as session:
        dataset_id = session.query(Subject).first().dataset_id  # type: ignore[union-attr]
    key = api_backend.samples.find_sample_ids(dataset_id, ["train/00007"])["train/00007"]
    api_backend.samples.delete(dataset_id, [key])
    assert posted(api, items, "k") == first
    assert posted(api, items)["refused"] == 1


@pytest.mark.parametrize(
    ("body", "where"),
    [({"items": []}, "items"), ({"items": [{}] * 5001}, "items"), ({}, "items"), ([], "body")],
)
def test_too_few_and_too_many_are_refused(api_quiet: TestClient, body: Any, where: str) -> None:
    answer = api_quiet.post(URL, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == where


def test_who_may_not_erase_may_not_erase_many(api: TestClient, api_key: Any) -> None:
    answer = api.post(URL, json={"items": [item(1)]}, headers=api_key("read", "predict"))
    assert answer.status_code == 403


def test_an_address_that_would_not_be_called_is_looked_at_once(
    api: TestClient, api_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    whole = type(api_backend.outbound).check_named

    def check(self: Any, url: str, where: str) -> None:
        seen.append(url)
        whole(self, url, where)

    monkeypatch.setattr(type(api_backend.outbound), "check_named", check)
    inside = {"callback_url": "https://127.0.0.1/done"}
    answer = posted(api, [item(1, **inside), item(2), item(3, **inside)])
    assert [each["status"] for each in answer["items"]] == [422, 202, 422]
    assert answer["items"][0]["problem"]["errors"][0]["where"] == "callback_url"
    assert seen == [inside["callback_url"]]


def test_an_address_that_would_not_be_called_refuses_its_items_alone(api: TestClient) -> None:
    inside = "https://127.0.0.1/hook"
    items = [item(1, callback_url=inside), item(2), item(3, callback_url=inside)]
    results = posted(api, items)["items"]
    assert [each["status"] for each in results] == [422, 202, 422]
    assert "LETHE_CALLBACK_ALLOW" in results[0]["problem"]["detail"]


def test_what_the_book_refuses_refuses_its_item_alone(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter = bulk.Book.enter

    def held(book: bulk.Book, asked: Asked, keys: list[int]) -> Submitted:
        if asked.new.subject_id == "subject-2":
            raise Conflict("a legal hold is on this")
        return enter(book, asked, keys)

    monkeypatch.setattr(bulk.Book, "enter", held)
    results = posted(api, [item(1), item(2), item(3)])["items"]
    assert [each["status"] for each in results] == [202, 409, 202]


def test_a_key_that_another_takes_in_the_same_moment_is_answered_as_it_was(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, refused = bulk._write, [IntegrityError("INSERT", {}, Exception("taken"))]

    def once(*arguments: Any) -> None:
        if refused:
            raise refused.pop()
        write(*arguments)

    monkeypatch.setattr(bulk, "_write", once)
    assert posted(api, [item(1)], key="the same")["accepted"] == 1
    assert refused == []


def test_each_address_is_looked_at_once() -> None:
    looked: list[str] = []

    def check_named(url: str) -> None:
        looked.append(url)
        raise Invalid("callback_url: it leads to a loopback address")

    def slot(url: str | None) -> Any:
        new = SimpleNamespace(callback_url=url)
        return SimpleNamespace(outcome=None, asked=SimpleNamespace(new=new))

    part = [slot("https://one.example"), slot(None), slot("https://one.example")]
    outbound: Any = SimpleNamespace(outbound=SimpleNamespace(check_named=check_named))
    bulk._check_callbacks(outbound, part)
    assert looked == ["https://one.example"]
    assert part[0].outcome is part[2].outcome
    assert isinstance(part[0].outcome, Invalid)
    assert part[1].outcome is None
