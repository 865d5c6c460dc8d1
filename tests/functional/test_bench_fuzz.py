"""bench.fuzz: every parser of foreign bytes reads or refuses what it is fed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from bench import fuzz
from bench._fuzz.mutate import BYTES, mutated
from bench._fuzz.running import Parser, Tally, fed

pytestmark = pytest.mark.filterwarnings("ignore")  # odd pictures warn


@pytest.mark.parametrize("parser", fuzz.ALL, ids=lambda each: each.name)
@pytest.mark.parametrize("inputs", [120, pytest.param(10_000, marks=pytest.mark.long)])
def test_no_input_is_a_fault_of_ours(parser: Parser, inputs: int, tmp_path: Path) -> None:
    seed = int(os.environ.get("LETHE_FUZZ_SEED", "0"))
    feeding = afresh if parser.name.endswith("http") else fed
    tally = feeding(parser, inputs, seed, tmp_path)
    assert tally.findings == []
    assert tally.inputs == inputs
    assert len(parser.seeds()) / 2 <= tally.read < inputs, "valid ones are read, others refused"


def afresh(parser: Parser, inputs: int, seed: int, folder: Path) -> Tally:
    """The same from a process that has not used Lance, which does not survive a fork."""
    code = (
        "import json, pathlib, sys; from bench import fuzz; from bench._fuzz.running import fed;"
        "name, inputs, seed, folder = sys.argv[1:];"
        "[parser] = [each for each in fuzz.ALL if each.name == name];"
        "tally = fed(parser, int(inputs), int(seed), pathlib.Path(folder));"
        "print(json.dumps(vars(tally)))"
    )
    arguments = [parser.name, str(inputs), str(seed), str(folder)]
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Tally(**json.loads(done.stdout.splitlines()[-1]))


def test_the_same_seed_makes_the_same_inputs() -> None:
    def made(seed: int) -> list[bytes]:
        rng = random.Random(seed)
        return [mutated(rng, [b"abcdef" * 9, b"12345" * 9], BYTES) for _ in range(50)]

    assert made(1) == made(1) != made(2)


def _careless(_: Path) -> object:
    def take(data: bytes) -> bool:
        if data.startswith(b"die"):
            os._exit(3)
        if len(data) > 4:
            raise IndexError("too long")
        return True

    return take


def test_what_breaks_and_what_fells_the_process_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = [b"good", b"die", b"fine", b"longer"]
    parser = Parser("careless", "", lambda: seeds, BYTES, _careless)  # type: ignore[arg-type]
    tally = fed(parser, 4, 0, tmp_path)
    assert tally.inputs == 4
    assert [each["number"] for each in tally.findings] == [1, 3]
    assert "ended with 3" in tally.findings[0]["what"]
    assert "IndexError: too long" in tally.findings[1]["what"]
    monkeypatch.setattr(fuzz, "ALL", (parser,))
    assert fuzz.main(["--inputs", "4", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["inputs"], told["findings"], told["rows"][0]["parser"]) == (4, 2, "careless")
    monkeypatch.setattr(fuzz, "ALL", tuple(each for each in fuzz.PARSERS if each.name == "csv"))
    assert fuzz.main(["--inputs", "20"]) == 0
    assert "csv" in capsys.readouterr().out
