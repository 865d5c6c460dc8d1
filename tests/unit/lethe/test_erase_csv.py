"""`lethe erase MODEL --csv FILE`: thousands of people, each with a result."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.errors import LetheError
from lethe import Client, sheet
from tests.cli import Commands

HEADER = "subject_id,external_id,regulation"


class Desk:
    """Answers as the service would; a person named "bad ..." is refused."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[dict[str, Any]]]] = []
        self.fail_at: int | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        items = json.loads(request.content)["items"]
        if self.fail_at == len(self.calls):
            self.fail_at = None
            return httpx.Response(500, json={"detail": "broken", "code": "internal"})
        self.calls.append((request.headers["Idempotency-Key"], items))
        results = [self.result(index, item) for index, item in enumerate(items)]
        refused = sum(result["status"] != 202 for result in results)
        counted = {"accepted": len(items) - refused, "refused": refused}
        return httpx.Response(200, json={**counted, "items": results})

    def result(self, index: int, item: dict[str, Any]) -> dict[str, Any]:
        if item["subject_id"].startswith("bad"):
            problem = {"status": 422, "code": "invalid", "title": "", "detail": "no"}
            return {"index": index, "status": 422, "problem": problem}
        view = {"id": f"er_{index}", "status": "scheduled", "received_at": "2026-01-01T00:00:00Z"}
        return {"index": index, "status": 202, "id": view["id"], "request": view}


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk()
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(sheet, "CHUNK", 3)
    made = Client.__init__

    def init(self: Client, *where: Any, **how: Any) -> None:
        made(self, "http://lethe.test", "key", transport=httpx.MockTransport(desk))

    monkeypatch.setattr(Client, "__init__", init)
    return desk


def people(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "people.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def results(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_line_is_sent_and_told(lethe: Commands, desk: Desk, tmp_path: Path) -> None:
    lines = [f'"Ann, the {n}th",t-{n},' for n in range(5)] + ["", '"two\nlines",,ccpa', "last,,"]
    done = lethe("erase", "digits", "--csv", str(people(tmp_path, *lines)), "--json")
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert (told["accepted"], told["refused"]) == (7, 0)
    assert [len(items) for _, items in desk.calls] == [3, 3, 1]
    sent = [item for _, items in desk.calls for item in items]
    assert sent[0] == {"model": "digits", "subject_id": "Ann, the 0th", "external_id": "t-0"}
    assert sent[5] == {"model": "digits", "subject_id": "two\nlines", "regulation": "ccpa"}
    found = results(Path(told["results"]))
    assert [row["line"] for row in found] == ["2", "3", "4", "5", "6", "8", "10"]
    assert found[0]["id"] == "er_0"
    assert found[0]["request_status"] == "scheduled"
    assert "Ann" not in Path(told["results"]).read_text()
    assert "Asking for 7 people: 100%" in done.err


def test_refused_lines_are_named_and_fail_the_command(
    lethe: Commands, desk: Desk, tmp_path: Path
) -> None:
    path = people(tmp_path, "good,t-1,", "bad one,t-2,", "bad two,t-3,")
    said = lethe.fails("erase", "digits", "--csv", str(path), "--results", "told.csv")
    assert said == "lethe: 2 of 3 lines were refused; told.csv says why"
    assert [
        (row["line"], row["code"], row["detail"]) for row in results(tmp_path / "told.csv")
    ] == [
        ("2", "", ""),
        ("3", "invalid", "no"),
        ("4", "invalid", "no"),
    ]


def test_sent_again_it_has_the_same_keys(lethe: Commands, desk: Desk, tmp_path: Path) -> None:
    path = people(tmp_path, *(f"person {n},," for n in range(7)))
    desk.fail_at = 1
    assert "broken" in lethe.fails("erase", "digits", "--csv", str(path))
    assert len(desk.calls) == 1
    lethe.ok("erase", "digits", "--csv", str(path))
    first, again, second, third = (key for key, _ in desk.calls)
    assert first == again
    assert len({first, second, third}) == 3
    lethe.ok("erase", "letters", "--csv", str(path))
    path.write_text(path.read_text() + "another,,\n")
    lethe.ok("erase", "digits", "--csv", str(path))
    keys = [key for key, _ in desk.calls]
    assert len(set(keys)) == 3 * 3, "another model or another file is another request"
    assert not any("person" in key for key in keys)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "people.csv, line 1: must name the columns"),
        (b"subject_id;external_id\nA;1\n", "line 1: must name the columns, separated by commas"),
        (b"subject_id,colour\nA,red\n", "line 1: no column 'colour'; they are subject_id,"),
        (b"subject_id,subject_id\nA,B\n", "line 1: the column subject_id is named twice"),
        (b"subject_id\n", "people.csv has no line below its header"),
        (b"subject_id,external_id\nA,1\nB\n", "line 3: 1 cells under 2 columns"),
        (b"subject_id,external_id\nA,1\n,2\n", "line 3: no subject_id"),
        (b'subject_id,external_id\n"A\nA",1\n\n,2\n', "line 5: no subject_id"),
        (b'subject_id\nA\n"B\nC\n', "line 3: not CSV (unexpected end of data)"),
        (b"subject_id\nA\n\xff\n", "people.csv, line 3: not UTF-8"),
        (b"subject_id,\xff\nA,1\n", "line 1: no column '\\udcff'"),
        (b"subject_id\n" + b"x" * 200_000 + b"\n", "line 2: not CSV (field larger than"),
    ],
)
def test_a_wrong_line_is_named_before_anything_is_sent(
    lethe: Commands, desk: Desk, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "people.csv").write_bytes(content)
    assert said in lethe.fails("erase", "digits", "--csv", "people.csv")
    assert desk.calls == []


def test_a_byte_order_mark_is_no_part_of_the_header(
    lethe: Commands, desk: Desk, tmp_path: Path
) -> None:
    (tmp_path / "people.csv").write_bytes(b"\xef\xbb\xbfsubject_id\r\nA\r\n")
    lethe.ok("erase", "digits", "--csv", "people.csv")
    assert desk.calls[0][1] == [{"model": "digits", "subject_id": "A"}]


def test_one_way_to_say_who(lethe: Commands, tmp_path: Path) -> None:
    path = str(people(tmp_path, "A,,"))
    assert "give one of" in lethe.fails("erase", "digits", "--csv", path, "--subject", "A")
    assert "give one of" in lethe.fails("erase", "digits")
    assert "goes without --wait" in lethe.fails("erase", "digits", "--csv", path, "--wait")


def test_a_short_answer_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    def short(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"accepted": 0, "refused": 0, "items": []})

    client = Client("http://lethe.test", "key", transport=httpx.MockTransport(short))
    with pytest.raises(LetheError, match="answered 0 of 1 lines from line 2 on"):
        sheet.send(
            client, "m", sheet.Sheet(people(tmp_path, "A,,")), tmp_path / "r.csv", lambda *_: None
        )
