"""Sources: what they read, in which order, and what they refuse."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unlearning import digits, image_folder, mnist


def test_the_bundled_digits() -> None:
    source = digits()
    assert source.shape == (1, 8, 8)
    assert source.sizes == {"train": 1797}
    assert source.class_names == tuple("0123456789")
    chunks = list(source.chunks(size=1000))
    assert [len(c.labels) for c in chunks] == [1000, 797]
    assert chunks[1].sample_ids[0] == "train/01000"
    samples = source.samples()
    assert samples.images.min() == 0
    assert samples.images.max() == 255
    assert np.array_equal(np.concatenate([c.images for c in chunks]), samples.images.numpy())
    with pytest.raises(ValueError, match="no 'test' split"):
        source.samples("test")


def idx(values: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, values.ndim])
        + struct.pack(f">{values.ndim}I", *values.shape)
        + (values.astype(np.uint8).tobytes())
    )


def write_mnist(folder: Path, n: int = 5, *, zipped: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, count in (("train", n), ("t10k", 2)):
        files = {
            f"{prefix}-images-idx3-ubyte": np.arange(count * 6).reshape(count, 2, 3),
            f"{prefix}-labels-idx1-ubyte": np.arange(count),
        }
        for name, values in files.items():
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
            else:
                (folder / name).write_bytes(idx(values))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("below", ["MNIST/raw", "raw", "."])
def test_mnist_is_found_at_each_level(tmp_path: Path, below: str, zipped: bool) -> None:
    write_mnist(tmp_path / below, zipped=zipped)
    source = mnist(tmp_path)
    assert source.name == "mnist"
    assert source.sizes == {"train": 5, "test": 2}
    ids = [i for records in source.chunks(2) for i in records.sample_ids]
    assert ids == [f"train/0000{i}" for i in range(5)] + ["test/00000", "test/00001"]
    assert source.samples("train").images[1].flatten().tolist() == list(range(6, 12))
    assert source.samples("test").labels.tolist() == [0, 1]


def test_mnist_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no train-images-idx3-ubyte"):
        mnist(tmp_path)
    write_mnist(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    good = labels.read_bytes()
    labels.write_bytes(good[:-9])
    with pytest.raises(ValueError, match="not a readable gzip file"):
        mnist(tmp_path)
    labels.write_bytes(gzip.compress(b"something else"))
    with pytest.raises(ValueError, match="not an IDX file"):
        mnist(tmp_path)
    labels.write_bytes(gzip.compress(idx(np.arange(5))[:-1]))
    with pytest.raises(ValueError, match="the header says"):
        mnist(tmp_path)
    labels.write_bytes(gzip.compress(idx(np.arange(4))))
    with pytest.raises(ValueError, match="5 train images, 4 labels"):
        mnist(tmp_path)
    labels.write_bytes(gzip.compress(idx(np.arange(5) + 6)))
    with pytest.raises(ValueError, match=r"labels must be 0\.\.9"):
        mnist(tmp_path)
    labels.unlink()
    with pytest.raises(ValueError, match="no train-labels-idx1-ubyte"):
        mnist(tmp_path)


def picture(path: Path, value: int, mode: str = "RGB", size: tuple[int, int] = (5, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(path)


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "dog" / "b.png", 20)
    picture(tmp_path / "dog" / "a.png", 10)
    picture(tmp_path / "cat" / "z.png", 30)
    (tmp_path / "cat" / "notes.txt").write_text("not a picture")
    source = image_folder(tmp_path)
    assert source.name == tmp_path.name
    assert source.shape == (3, 4, 5)
    assert source.class_names == ("cat", "dog")
    chunks = list(source.chunks(2))
    assert [c.sample_ids for c in chunks] == [["train/00000", "train/00001"], ["train/00002"]]
    assert source.samples().images[:, 0, 0, 0].tolist() == [30, 10, 20]
    assert source.samples().labels.tolist() == [0, 1, 1]


def test_a_folder_with_splits_of_grey_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "a" / "1.png", 1, "L")
    picture(tmp_path / "train" / "b" / "1.jpg", 2, "L")
    picture(tmp_path / "test" / "b" / "1.JPEG", 3, "RGB")
    source = image_folder(tmp_path)
    assert source.shape == (1, 4, 5)
    assert source.sizes == {"train": 2, "test": 1}
    assert source.samples("test").labels.tolist() == [1], "the class of its name, not its rank"
    assert [c.split for c in source.chunks()] == ["train", "test"]


def test_a_folder_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        image_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no PNG or JPEG"):
        image_folder(tmp_path)
    picture(tmp_path / "a" / "1.png", 1)
    with pytest.raises(ValueError, match="no 'test' split"):
        image_folder(tmp_path).samples("test")
    picture(tmp_path / "a" / "2.png", 1, size=(6, 4))
    with pytest.raises(ValueError, match=r"2\.png: 6 x 4 pixels"):
        image_folder(tmp_path).samples()
    (tmp_path / "a" / "2.png").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"2\.png: not a readable picture"):
        image_folder(tmp_path).samples()


def test_mnist_with_a_damaged_or_bloated_file(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:20] + bytes(8) + whole[28:])
    with pytest.raises(ValueError, match="not a readable gzip file"):
        mnist(tmp_path)
    path.write_bytes(gzip.compress(gzip.decompress(whole) + bytes(50_000_000)))
    with pytest.raises(ValueError, match="more than 30 values, but the header says"):
        mnist(tmp_path)
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", *[2**32 - 1] * 3)))
    with pytest.raises(ValueError, match="0 values, but the header says"):
        mnist(tmp_path)
