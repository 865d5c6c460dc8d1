"""`lethe dataset append` at the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli import Commands
from tests.unit.lethe.test_sources import parquet, png


@pytest.fixture
def lethe(here: Commands, tmp_path: Path) -> Commands:
    """Where data set "table" of 120 people with a picture each is."""
    here.variables = {"LETHE_HOME": str(tmp_path / "home")}
    people: list[object] = [f"person {i}" for i in range(120)]
    parquet(tmp_path / "first.parquet", rows=120, subject=people)
    here.ok("dataset", "import", "table", "--from", "parquet:first.parquet")
    return here


def more(folder: Path, **columns: list[object]) -> str:
    parquet(folder / "more.parquet", 30, image=[png(120 + i) for i in range(30)], **columns)
    return "parquet:more.parquet"


def test_samples_of_named_people(lethe: Commands, tmp_path: Path) -> None:
    names: list[object] = [f"new/{i}" for i in range(30)]
    source = more(tmp_path, name=names, subject=[f"other {i}" for i in range(30)])
    done = lethe.json("dataset", "append", "table", "--from", source)
    assert (sum(done["appended"].values()), done["samples"], done["repeated"]) == (30, 150, False)
    assert done["unseen_by"] == []
    again = lethe("dataset", "append", "table", "--from", source)
    assert again.status == 0
    assert "done before" in again.err
    assert lethe.json("dataset", "list")[0]["samples"] == 150


def test_who_has_not_seen_them_is_said(lethe: Commands, tmp_path: Path) -> None:
    lethe.ok("train", "pets", "--dataset", "table", "--epochs", "1")
    done = lethe("dataset", "append", "table", "--from", more(tmp_path), "--prefix", "may/")
    assert done.status == 0, done.err
    assert "pets: what is served has not seen them" in done.err
    assert done.out.startswith("Data set table: ")


def test_whose_they_are_must_be_said(lethe: Commands, tmp_path: Path) -> None:
    append = ["dataset", "append", "table", "--from"]
    assert "give --subjects, or --prefix" in lethe.fails(*append, more(tmp_path))
    assert "no data set 'nope'" in lethe.fails("dataset", "append", "nope", "--from", "digits")
    assert "do not fit into data set 'table'" in lethe.fails(*append, "digits", "--prefix", "x/")
    lines = ["sample_id,subject_id", *(f"train/{i:05d},person {i}" for i in range(30))]
    (tmp_path / "map.csv").write_text("\n".join(lines))
    said = lethe.fails(*append, more(tmp_path), "--subjects", "map.csv")
    assert "30 of these sample ids already: train/00000" in said
    assert "appended" in lethe.ok(*append, more(tmp_path), "--subjects", "map.csv", "--prefix", "x")
