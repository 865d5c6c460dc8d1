"""docs/notebook.md runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = Path(__file__).parents[3] / "docs" / "notebook.md"


def test_every_block_runs_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 7
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert names["outcome"].converged
    images = names["held_out"].images
    assert torch.equal(names["again"].logits(images), names["outcome"].model.logits(images))
    assert "TriggerRates" in capsys.readouterr().out
