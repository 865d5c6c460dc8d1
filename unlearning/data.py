"""Where labelled images come from: bundled digits, MNIST's files, folders of pictures.

A source yields its records in chunks, so that an import of millions streams; a notebook
takes a whole split with `samples`.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from unlearning.samples import Samples
from unlearning.triggers import Trigger

__all__ = ["Records", "Samples", "Source", "Trigger", "digits", "image_folder", "mnist"]

Split = Literal["train", "test"]


@dataclass(frozen=True, eq=False)
class Records:
    """Some consecutive samples of one split.

    sample_ids: "train/00042", by original order. labels: int64 [n]. images: uint8 [n, C, H, W].
    """

    split: Split
    sample_ids: list[str]
    labels: np.ndarray
    images: np.ndarray


class Source(Protocol):
    """A data set that can be read in chunks.

    shape: (C, H, W). class_names: the name of each label. sizes: samples in each split.
    """

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def sizes(self) -> dict[Split, int]: ...

    def chunks(self, size: int = 4096) -> Iterator[Records]:
        """Every record, train before test, at most `size` at a time."""
        ...

    def samples(self, split: Split = "train") -> Samples:
        """A whole split, in memory. Raises ValueError when the source has no such split."""
        ...


@dataclass(frozen=True, eq=False)
class _Arrays:
    """A source whose images are in memory."""

    name: str
    class_names: tuple[str, ...]
    splits: dict[Split, tuple[np.ndarray, np.ndarray]]

    @property
    def shape(self) -> tuple[int, int, int]:
        c, h, w = self.splits["train"][0].shape[1:]
        return c, h, w

    @property
    def sizes(self) -> dict[Split, int]:
        return {split: len(labels) for split, (_, labels) in self.splits.items()}

    def chunks(self, size: int = 4096) -> Iterator[Records]:
        for split, (images, labels) in self.splits.items():
            for start in range(0, len(labels), size):
                part = slice(start, start + size)
                ids = _sample_ids(split, start, len(labels[part]))
                yield Records(split, ids, labels[part], images[part])

    def samples(self, split: Split = "train") -> Samples:
        if split not in self.splits:
            raise ValueError(f"{self.name} has no {split!r} split")
        return Samples.from_numpy(*self.splits[split])


def digits() -> Source:
    """scikit-learn's bundled handwritten digits: 1,797 images of 1 x 8 x 8, no test split.

    Their 17 grey levels are spread over 0..255.
    """
    from sklearn.datasets import load_digits  # slow to import, and only this source needs it

    bunch = load_digits()
    images = np.rint(bunch.images * (255.0 / 16.0)).astype(np.uint8)[:, None]
    names = tuple(str(name) for name in bunch.target_names)
    return _Arrays("digits", names, {"train": (images, bunch.target.astype(np.int64))})


def mnist(directory: str | Path) -> Source:
    """MNIST's four files, gzipped or not, under torchvision's root, its MNIST or its raw folder.

    Raises ValueError when they are not there or are not what they should be.
    """
    root = Path(directory)
    for folder in (root / "MNIST" / "raw", root / "raw", root):
        if _idx_file(folder, "train-images-idx3-ubyte"):
            break
    else:
        raise ValueError(f"no train-images-idx3-ubyte(.gz) in {root}, its MNIST/raw or its raw")
    splits: dict[Split, tuple[np.ndarray, np.ndarray]] = {}
    names: tuple[tuple[Split, str], ...] = (("train", "train"), ("test", "t10k"))
    for split, prefix in names:
        images = _read_idx(folder, f"{prefix}-images-idx3-ubyte", dimensions=3)
        labels = _read_idx(folder, f"{prefix}-labels-idx1-ubyte", dimensions=1)
        if len(images) != len(labels):
            raise ValueError(f"{folder}: {len(images)} {split} images, {len(labels)} labels")
        if len(labels) == 0 or labels.max() > 9:
            raise ValueError(f"{folder}: {split} labels must be 0..9 and not empty")
        splits[split] = (images[:, None], labels.astype(np.int64))
    return _Arrays("mnist", tuple("0123456789"), splits)


def image_folder(directory: str | Path) -> Source:
    """PNG and JPEG pictures, one folder for each class, optionally below train/ and test/.

    Classes and files are taken in the order of their names. Every picture must have the
    first one's size; colours are converted to its mode (grey or RGB).

    Raises ValueError when there is no picture; reading raises it for a bad or unlike one.
    """
    root = Path(directory)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    roots: dict[Split, Path] = {"train": root}
    if (root / "train").is_dir():
        roots = {"train": root / "train"}
        if (root / "test").is_dir():
            roots["test"] = root / "test"
    names = sorted({p.name for top in roots.values() for p in top.iterdir() if p.is_dir()})
    files: dict[Split, list[tuple[Path, int]]] = {}
    for split, top in roots.items():
        found = [
            (path, label)
            for label, name in enumerate(names)
            if (top / name).is_dir()
            for path in sorted((top / name).iterdir())
            if path.suffix.lower() in {".png", ".jpg", ".jpeg"}
        ]
        if not found:
            raise ValueError(f"no PNG or JPEG picture in the class folders of {top}")
        files[split] = found
    return _Folder(root.resolve().name, tuple(names), files)


class _Folder:
    """A source that opens each picture only when it is read."""

    def __init__(
        self, name: str, class_names: tuple[str, ...], files: dict[Split, list[tuple[Path, int]]]
    ) -> None:
        self.name = name
        self.class_names = class_names
        self._files = files
        first = _open(files["train"][0][0], None)
        self._mode: Literal["L", "RGB"] = "L" if first.shape[0] == 1 else "RGB"
        c, h, w = first.shape
        self.shape = (c, h, w)

    @property
    def sizes(self) -> dict[Split, int]:
        return {split: len(files) for split, files in self._files.items()}

    def chunks(self, size: int = 4096) -> Iterator[Records]:
        for split, files in self._files.items():
            for start in range(0, len(files), size):
                part = files[start : start + size]
                images = np.stack([self._read(path) for path, _ in part])
                labels = np.array([label for _, label in part], dtype=np.int64)
                yield Records(split, _sample_ids(split, start, len(part)), labels, images)

    def samples(self, split: Split = "train") -> Samples:
        if split not in self._files:
            raise ValueError(f"{self.name} has no {split!r} split")
        parts = [records for records in self.chunks() if records.split == split]
        return Samples.from_numpy(
            np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts])
        )

    def _read(self, path: Path) -> np.ndarray:
        image = _open(path, self._mode)
        if image.shape != self.shape:
            raise ValueError(
                f"{path}: {image.shape[2]} x {image.shape[1]} pixels, but the first picture has "
                f"{self.shape[2]} x {self.shape[1]}"
            )
        return image


def _open(path: Path, mode: Literal["L", "RGB"] | None) -> np.ndarray:
    """The picture as uint8 [C, H, W], in `mode` or in its own (grey stays grey)."""
    try:
        with Image.open(path) as picture:
            grey = picture.mode in {"1", "L", "LA", "I", "I;16"}
            array = np.asarray(picture.convert(mode or ("L" if grey else "RGB")))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable picture ({error})") from error
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _sample_ids(split: Split, start: int, count: int) -> list[str]:
    return [f"{split}/{i:05d}" for i in range(start, start + count)]


def _idx_file(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def _read_idx(folder: Path, name: str, dimensions: int) -> np.ndarray:
    """An IDX file of unsigned bytes: magic 0x000008nn, nn big-endian sizes, then the values."""
    path = _idx_file(folder, name)
    if path is None:
        raise ValueError(f"no {name}(.gz) in {folder}")
    packed = path.suffix == ".gz"
    size = 4 * (1 + dimensions)
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            header = file.read(size)
            if len(header) < size or header[:4] != bytes([0, 0, 8, dimensions]):
                raise ValueError(f"{path}: not an IDX file of bytes in {dimensions} dimensions")
            sizes = struct.unpack(f">{dimensions}I", header[4:])
            wanted = math.prod(sizes)
            values = _at_most(cast(BinaryIO, file), wanted + 1)
    except (OSError, EOFError, zlib.error) as error:
        what = "a readable gzip file" if packed else "readable"
        raise ValueError(f"{path}: not {what} ({error})") from error
    if len(values) != wanted:
        count = f"{len(values)} values" if len(values) < wanted else f"more than {wanted} values"
        raise ValueError(f"{path}: {count}, but the header says {sizes}")
    return np.frombuffer(values, dtype=np.uint8).reshape(sizes)


def _at_most(file: BinaryIO, size: int) -> bytes:
    """So many bytes at most: no room is made for what is only claimed, nor for all that unpacks."""
    parts: list[bytes] = []
    while size > 0 and (part := file.read(min(size, 1 << 20))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
