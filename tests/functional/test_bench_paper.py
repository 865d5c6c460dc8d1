"""The paper's evaluation runs for anyone: on the bundled digits."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from torch.nn.functional import avg_pool2d

from bench import paper
from bench._paper.data import Data, load

ROOT = Path(__file__).parents[2]
FIGURES = {
    "test_accuracy", "backdoor_accuracy", "trigger_undone", "remaining_accuracy",
    "erased_accuracy", "membership_auc", "output_kl_to_retrain", "representation_kl_to_retrain",
    "relearn", "steps", "seconds",
}  # fmt: skip


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.paper", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def test_table2_on_digits_prints_one_object_with_a_row_for_each_method() -> None:
    done = bench("table2", "--dataset", "digits", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    rows = {row["method"]: row for row in found["rows"]}
    assert {"origin", "rfu_ss", "rfu_ss_paper", "retrain"} <= set(rows)
    for row in rows.values():
        for name in FIGURES:
            assert math.isfinite(row[name]["mean"])
            assert row[name]["spread"] == 0.0
    assert rows["rfu_ss"]["teacher_seconds"]["mean"] > 0
    assert rows["origin"]["backdoor_accuracy"]["mean"] > 0.8
    assert rows["rfu_ss"]["backdoor_accuracy"]["mean"] < 0.05
    assert rows["rfu_ss"]["trigger_undone"]["mean"] > 0.8


def test_a_missing_data_set_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        paper.main(["table2", "--dataset", "mnist", "--data", str(tmp_path)])
    assert caught.value.code == 2
    assert "no train-images-idx3-ubyte(.gz)" in capsys.readouterr().err


def test_a_reduced_cifar10_keeps_what_it_leaves_over(tmp_path: Path) -> None:
    """Each of 1,600 images is one grey, but for a row, so that it is known again."""
    greys = np.random.default_rng(0).permutation(1600)
    for name in ("train", "test"):
        images = [np.full((32, 32, 3), grey // 8, np.uint8) for grey in greys]
        for image, grey in zip(images, greys, strict=True):
            image[0, 0] = 2 * (grey % 8)
        _parquet(tmp_path / "CIFAR10" / f"{name}.parquet", images)
    whole = load("cifar10", tmp_path, 0, images=500)
    half = load("cifar10", tmp_path, 0, images=500, side=16)
    for data, side in ((whole, 32), (half, 16)):
        assert data.spare is not None
        parts = (data.pool, data.references, data.held_out, data.spare)
        assert [len(part) for part in parts] == [500, 500, 500, 100]
        assert data.pool.shape == (3, side, side)
    assert len({image.numpy().tobytes() for part in parts_of(whole) for image in part}) == 1600
    fine, coarse = whole.pool.images.float(), half.pool.images.float()
    np.testing.assert_allclose(coarse, avg_pool2d(fine, 2), atol=0.5)
    assert whole.pool.labels.tolist() == half.pool.labels.tolist()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--dataset", "mnist", "--images", "6300"], "--images is for CIFAR-10"),
        (["--dataset", "cifar10", "--side", "16"], "give --images as well"),
    ],
)
def test_what_is_for_reduced_runs_is_refused_elsewhere(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        paper.main(["table2", *given])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def parts_of(data: Data) -> list[torch.Tensor]:
    assert data.spare is not None
    return [part.images for part in (data.pool, data.references, data.held_out, data.spare)]


def _parquet(path: Path, images: list[np.ndarray]) -> None:
    path.parent.mkdir(exist_ok=True)
    packed = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "png")
        packed.append(file.getvalue())
    labels = [number % 10 for number in range(len(images))]
    parquet.write_table(pa.table({"image": packed, "label": labels}), path)
