"""What `lethe dataset import` streams: subjects, triggers, and errors that name the place."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from core.errors import Invalid
from core.incoming import Chunk
from lethe.sources import TRIGGER_SUBJECT, Planting, Subjected, SubjectMap, open_source


def png(value: int, size: tuple[int, int] = (6, 5), mode: str = "L") -> bytes:
    """An even picture, encoded."""
    out = io.BytesIO()
    Image.new(mode, size, value if mode == "L" else (value, value, value)).save(out, "PNG")
    return out.getvalue()


def parquet(path: Path, rows: int = 10, **columns: list[object]) -> Path:
    """A file of `rows` grey pictures; columns given replace or join its own."""
    table: dict[str, list[object]] = {
        "image": [png(i) for i in range(rows)],
        "label": [i % 2 for i in range(rows)],
    }
    pq.write_table(pa.table({**table, **columns}), path)
    return path


def joined(source: Subjected) -> Chunk:
    """All chunks as one."""
    chunks = list(source.chunks())
    return Chunk(
        sample_ids=[name for chunk in chunks for name in chunk.sample_ids],
        subjects=[name for chunk in chunks for name in chunk.subjects],
        labels=np.concatenate([chunk.labels for chunk in chunks]),
        images=np.concatenate([chunk.images for chunk in chunks]),
        test=np.concatenate([chunk.test for chunk in chunks]),
        train_only=np.concatenate([chunk.train_only for chunk in chunks]),
    )


def test_consecutive_samples_belong_to_one_subject() -> None:
    chunk = joined(Subjected(open_source("digits"), samples_per_subject=10))
    assert len(chunk.sample_ids) == 1797
    assert chunk.sample_ids[42] == "train/00042"
    assert chunk.subjects[:11] == ["subject-0"] * 10 + ["subject-1"]
    assert len(set(chunk.subjects)) == 180
    assert not chunk.test.any()
    assert not chunk.train_only.any()


def test_nobody_is_in_both_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in "ab":
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for i in range(3):
                (folder / f"{i}.png").write_bytes(png(i))
    source = Subjected(open_source(f"folder:{tmp_path}"), samples_per_subject=4)
    chunk = joined(source)
    assert source.has_test
    assert source.classes == ["a", "b"]
    assert (
        chunk.subjects
        == ["subject-0"] * 4 + ["subject-1"] * 2 + ["subject-2"] * 4 + ["subject-3"] * 2
    )
    assert chunk.test.tolist() == [False] * 6 + [True] * 6


def test_a_trigger_is_planted_on_the_first_samples_of_its_label() -> None:
    rows = open_source("digits")
    plain = joined(Subjected(rows))
    source = Subjected(rows, planting=Planting("source=1,target=2,share=0.06", rows))
    chunk = joined(source)
    wanted = round(0.06 * 1797)
    first = np.flatnonzero(plain.labels == 1)[:wanted]
    assert np.flatnonzero(chunk.train_only).tolist() == first.tolist()
    assert {chunk.subjects[i] for i in first} == {TRIGGER_SUBJECT}
    assert chunk.subjects.count(TRIGGER_SUBJECT) == wanted
    assert (chunk.labels[first] == 2).all()
    assert (chunk.images[first][:, :, 4:6, 4:6] == 255).all()
    others = ~chunk.train_only
    assert (chunk.labels[others] == plain.labels[others]).all()
    assert (chunk.images[others] == plain.images[others]).all()
    assert source.planted is not None
    assert (source.planted["source"], source.planted["target"]) == (1, 2)


def test_too_few_samples_to_plant_on() -> None:
    rows = open_source("digits")
    source = Subjected(rows, planting=Planting("source=1,target=2,share=0.5", rows))
    with pytest.raises(Invalid, match=r"898 samples were asked for, but .* only 182 with label 1"):
        joined(source)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source=1,target=2", "not like source=1"),
        ("source=1,target=2,share=0.1,share=0.2", "not like source=1"),
        ("source=one,target=2,share=0.1", "source='one' is not a label"),
        ("source=1,target=2,share=0", "must lie between 0 and 1"),
        ("source=1,target=2,share=lots", "must lie between 0 and 1"),
        ("source=1,target=10,share=0.1", "target=10, but there are only the labels 0 to 9"),
        ("source=1,target=1,share=0.1", "both 1"),
    ],
)
def test_triggers_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(ValueError if "both" in message else Invalid, match=message):
        Planting(text, open_source("digits"))


@pytest.mark.parametrize("text", ["digits:x", "mnist", "mnist:", "numbers", "pickle:file"])
def test_unknown_sources(text: str) -> None:
    with pytest.raises(Invalid, match="is not digits, mnist:DIR"):
        open_source(text)


def test_samples_per_subject_must_be_positive() -> None:
    with pytest.raises(Invalid, match="at least 1"):
        Subjected(open_source("digits"), samples_per_subject=0)


def subject_map(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["sample_id,subject_id", *lines]) + "\n")
    return path


def test_a_map_says_whose_each_sample_is(tmp_path: Path) -> None:
    rows = open_source("digits")
    lines = [f"train/{i:05d},person {i % 7}" for i in range(1797)]
    source = Subjected(rows, subjects=SubjectMap(subject_map(tmp_path / "map.csv", *lines)))
    assert joined(source).subjects[:8] == [f"person {i % 7}" for i in range(8)]


def test_a_map_must_name_every_sample_and_no_other(tmp_path: Path) -> None:
    rows = open_source("digits")
    path = subject_map(tmp_path / "map.csv", "train/00000,a")
    with pytest.raises(Invalid, match=r"no subject for sample train/00001"):
        joined(Subjected(rows, subjects=SubjectMap(path)))
    lines = [f"train/{i:05d},a" for i in range(1797)]
    path = subject_map(path, *lines, "train/99999,a")
    with pytest.raises(Invalid, match=r"1 samples that the source does not have, .*99999"):
        joined(Subjected(rows, subjects=SubjectMap(path)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample,subject\n", "first line must be"),
        ("", "first line must be"),
        ("sample_id,subject_id\na,b,c\n", "line 2: want"),
        ("sample_id,subject_id\na,\n", "line 2: want"),
        ("sample_id,subject_id\na,b\na,c\n", "line 3: a is named twice"),
    ],
)
def test_maps_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.csv"
    path.write_text(text)
    with pytest.raises(Invalid, match=message):
        SubjectMap(path)


def test_parquet_with_its_own_names_and_subjects(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "data.parquet",
        label=["cat", "dog"] * 5,
        name=[f"photo-{i}" for i in range(10)],
        subject=[f"p{i // 3}" for i in range(10)],
    )
    source = Subjected(open_source(f"parquet:{path}"))
    chunk = joined(source)
    assert source.classes == ["cat", "dog"]
    assert source.shape == (1, 5, 6)
    assert not source.has_test
    assert chunk.sample_ids == [f"photo-{i}" for i in range(10)]
    assert chunk.subjects == [f"p{i // 3}" for i in range(10)]
    assert chunk.labels.tolist() == [0, 1] * 5
    assert chunk.images[:, 0, 0, 0].tolist() == list(range(10))


def test_parquet_as_hugging_face_writes_it(tmp_path: Path) -> None:
    images: list[object] = [{"bytes": png(i, mode="RGB"), "path": None} for i in range(10)]
    path = parquet(tmp_path / "data.parquet", image=images)
    source = Subjected(open_source(f"parquet:{path}"), samples_per_subject=5)
    chunk = joined(source)
    assert source.shape == (3, 5, 6)
    assert source.classes == ["0", "1"]
    assert chunk.sample_ids[9] == "train/00009"
    assert chunk.subjects == ["subject-0"] * 5 + ["subject-1"] * 5


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [None] * 10}, "whole numbers or names"),
        ({"label": [0.5] * 10}, "whole numbers or names"),
        ({"label": [-1] * 10}, "0 or more"),
        ({"label": [0, None] * 5}, "empty cells"),
        ({"image": [b"not a picture"] * 10}, "row 0: not a readable picture"),
        ({"image": [png(1), png(1, size=(7, 5))] * 5}, "row 1: 7 x 5 pixels, not 6 x 5"),
        ({"image": ["text"] * 10}, "encoded pictures"),
        ({"name": ["same"] * 10}, "names must be there and be unique"),
        ({"subject": ["a", ""] * 5}, "row 1: no subject"),
    ],
)
def test_parquet_that_is_wrong(
    tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    path = parquet(tmp_path / "data.parquet", **columns)
    with pytest.raises(ValueError, match=message):
        joined(Subjected(open_source(f"parquet:{path}")))


def test_files_that_are_no_parquet(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a file"):
        open_source(f"parquet:{tmp_path / 'none'}")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="is not a Parquet file"):
        open_source(f"parquet:{tmp_path / 'text'}")
    pq.write_table(pa.table({"picture": [b""]}), tmp_path / "other")
    with pytest.raises(ValueError, match="no column image and no column label"):
        open_source(f"parquet:{tmp_path / 'other'}")
    pq.write_table(
        pa.table({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}),
        tmp_path / "empty",
    )
    with pytest.raises(ValueError, match="no labels"):
        open_source(f"parquet:{tmp_path / 'empty'}")


def test_cifar10_has_its_own_class_names_and_ids(tmp_path: Path) -> None:
    for split in ("train", "test"):
        images: list[object] = [png(i, size=(32, 32), mode="RGB") for i in range(20)]
        labels: list[object] = [i % 10 for i in range(20)]
        names: list[object] = ["whatever"] * 20
        parquet(tmp_path / f"{split}.parquet", 20, image=images, label=labels, name=names)
    source = Subjected(open_source(f"cifar10:{tmp_path}"))
    chunk = joined(source)
    assert source.classes[0] == "airplane"
    assert source.shape == (3, 32, 32)
    assert chunk.sample_ids[19:21] == ["train/00019", "test/00000"]
    assert chunk.test.sum() == 20


def test_a_label_outside_the_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        parquet(tmp_path / f"{split}.parquet", label=[11] * 10)
    with pytest.raises(ValueError, match="outside the 10 classes"):
        joined(Subjected(open_source(f"cifar10:{tmp_path}")))


@pytest.mark.parametrize("at", [4, 30])
def test_a_damaged_parquet_file_is_named(tmp_path: Path, at: int) -> None:
    path = parquet(tmp_path / "rows.parquet")
    whole = bytearray(path.read_bytes())
    whole[at : at + 30] = bytes(30)  # within the first page: its header, its pictures
    path.write_bytes(bytes(whole))
    with pytest.raises(ValueError, match=r"rows.parquet(, row 0| is damaged)"):
        joined(Subjected(open_source(f"parquet:{path}")))


def test_names_are_told_apart_a_part_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lethe.parquet.NAMES_AT_ONCE", 3)
    path = tmp_path / "named.parquet"
    parquet(path, rows=20, name=[f"name {i}" for i in range(20)])
    assert open_source(f"parquet:{path}").sizes == {"train": 20}
    parquet(path, rows=20, name=[f"name {i % 19}" for i in range(20)])
    with pytest.raises(ValueError, match="names must be there and be unique"):
        open_source(f"parquet:{path}")
    monkeypatch.setattr("lethe.parquet.hash", lambda text: len(text), raising=False)
    parquet(path, rows=20, name=[f"name {i}" for i in range(20)])
    assert open_source(f"parquet:{path}").sizes == {"train": 20}, "a hash that comes twice is none"


def test_one_label_does_not_make_billions_of_classes(tmp_path: Path) -> None:
    path = parquet(tmp_path / "rows.parquet", label=[0] * 9 + [2**40])
    with pytest.raises(ValueError, match="there can be 100,000 at most"):
        open_source(f"parquet:{path}")
