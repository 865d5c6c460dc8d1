"""`lethe models import`: weights from elsewhere, at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.cli import Commands
from tests.functional.deployment import Deployment
from unlearning import PRESETS, Samples, digits, train


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VIB of all digits, as the guide makes it."""
    torch.set_num_threads(1)
    parts = [Samples.from_numpy(c.images, c.labels) for c in digits().chunks(4096)]
    preset = PRESETS["digits-mlp"]
    vib = train(preset.architecture((1, 8, 8), 10), Samples.concat(*parts), preset.training, seed=0)
    path = tmp_path_factory.mktemp("weights") / "vib.safetensors"
    described = json.dumps(vib.architecture.to_dict())
    save_file(vib.state_dict(), path, {"architecture": described})
    return path


def test_a_model_from_elsewhere(here: Commands, embedded: Deployment, weights: Path) -> None:
    here.variables = embedded.variables
    said = here.ok("models", "import", "shop", "--weights", str(weights), "--dataset", "digits")
    assert "Model shop, version 1, serving; imported: trained on digits" in said
    other = here.json(
        "models", "import", "late", "--weights", str(weights), "--dataset", "digits",
        "--trained-at", "2026-05-01T12:00:00+02:00",
    )  # fmt: skip
    assert other["metrics"]["test_accuracy"] > 0.9
    embedded.serve("--role", "api")
    here.variables = {**here.variables, "LETHE_URL": embedded.url}
    listed = here.ok("models")
    assert [line.split()[0] for line in listed.splitlines()[3:6]] == ["digits", "late", "shop"]
    assert "100%" in listed or "99%" in listed
    assert "imported: trained on digits" in here.ok("models", "shop")
    assert here.json("models", "shop") == here.json("models", "list", "shop")


def test_what_is_wrong_is_said_in_one_line(
    here: Commands, embedded: Deployment, weights: Path
) -> None:
    here.variables = embedded.variables
    taken = ["models", "import", "digits", "--weights", str(weights), "--dataset", "digits"]
    assert "a model 'digits' already" in here.fails(*taken)
    new = ["models", "import", "shop", "--dataset", "digits", "--weights"]
    assert "No such file" in here.fails(*new, "nowhere.safetensors")
    for moment in ("yesterday", "2026-05-01"):
        said = here.fails(*new, str(weights), "--trained-at", moment)
        assert f"--trained-at '{moment}' is not like" in said
