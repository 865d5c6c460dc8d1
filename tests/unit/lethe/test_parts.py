"""Small parts of the command line: bars and tables, the demo's search, traffic and children."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from core.errors import LetheError
from lethe import console
from lethe.answers import Job
from lethe.demo.children import Children
from lethe.demo.search import search
from lethe.demo.story import print_measures, print_verdict
from lethe.demo.traffic import Traffic
from lethe.watch import words


def test_progress_is_plain_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("Counting") as advance:
        for i in range(11):
            advance(i / 10, f"{i} sheep")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["Counting: 0% 0 sheep", "Counting: 100% 10 sheep"]


def test_progress_is_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with console.progress("Counting") as advance:
        advance(1.0, "10 sheep")
    said = capsys.readouterr()
    assert said.out == ""
    assert "━" in said.err
    assert "100%" in said.err


def test_tables_are_not_cut_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("a", "b"), [("x" * 300, None)])
    said = capsys.readouterr().out
    assert "x" * 300 in said
    assert said.splitlines()[3].rstrip().endswith("-")


def test_search_reads_every_file(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_bytes(b"\0\0secret\0")
    (tmp_path / "other").write_bytes(b"nothing")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    found = search(tmp_path, [b"secret", b"absent"])
    assert (found.files, found.bytes, found.found) == (2, 16, 1)
    assert [path.name for path in found.places] == ["file"]


def traffic(answers: list[Any]) -> Traffic:
    """Traffic that gets these answers; after the last it stops."""
    made = Traffic("http://lethe.test", "key", "m", [[0.0]])

    def answer(_: httpx.Request) -> httpx.Response:
        if len(answers) == 1:
            made._stop.set()
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)

    made._http = httpx.Client(base_url="http://lethe.test", transport=httpx.MockTransport(answer))
    return made


def test_traffic_counts_whatever_goes_wrong() -> None:
    answers = [
        {"version": 1},
        httpx.ReadError("reset"),
        {"version": 2},
        {"version": 1},
        httpx.Response(503),
        {"no": "version"},
        {"version": 2},
    ]
    with traffic(answers) as counted:
        counted._thread.join()
        assert counted.wait_for(2, 0.0)
        assert not counted.wait_for(3, 0.0)
    assert (counted.answered, counted.failed, counted.backward) == (4, 3, 1)
    assert counted.versions == [1, 2]
    assert counted.first_failure == "reset"


def test_children_that_end_are_noticed(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("jobs", "--nope")
        child.process.wait(60)
        with pytest.raises(LetheError, match=r"`lethe jobs` ended with status 2.*No such option"):
            children.check()
    children.check()  # none is left


def test_children_are_ended(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("dataset", "import", "d", "--from", "digits")
        assert child.process.poll() is None
    assert child.process.poll() is not None


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({"status": "queued"}, "queued"),
        (
            {"status": "running", "progress": {"phase": "unlearning", "step": 3, "total_steps": 9,
                                               "forget_loss": 0.5, "remember_loss": 0.25}},
            "unlearning step 3/9 forget 0.500 remember 0.250",
        ),
        ({"status": "verifying", "progress": {"phase": "running"}}, "verifying"),
    ],
)  # fmt: skip
def test_where_a_job_stands(job: dict[str, Any], said: str) -> None:
    assert words(Job.model_validate({"id": "job_1", **job})) == said


def test_measures_that_were_not_taken(capsys: pytest.CaptureFixture[str]) -> None:
    print_measures({"measures": {"before": {"test_accuracy": 0.5, "seconds": None}}})
    print_measures({"strategy": "retrain", "rung": 3})
    gate = {"gate": "G4", "verdict": "FAIL", "what": "a figure", "statistic": 0.5, "samples": 9,
            "low": 0.3, "high": 0.8, "least": 0.0, "most": 0.1}  # fmt: skip
    print_verdict({"verdict": "FAIL", "statement": "It remembers.", "gates": [gate]})
    said = capsys.readouterr().out
    assert "50.0%" in said
    assert "Forgotten by exact retraining: 3 faster runs did not pass their tests" in said
    assert "G4 FAIL: a figure: 0.500 (0.300 to 0.800) for 9 samples, allowed 0.000 to 0.100" in said
