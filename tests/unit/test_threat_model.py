"""The threat model names tests and settings that exist, and one promise that is kept here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "threat-model.md").read_text()
ROWS = [
    line
    for line in PAGE.partition("## What is defended")[2].partition("## What is not")[0].splitlines()
    if line.startswith("| ") and not line.startswith("| threat")
]
OURS = ("core", "service", "worker", "unlearning", "lethe")


def named(row: str) -> list[str]:
    return re.findall(r"`(tests/[^`]+|LETHE_\w+)`", row.rpartition(" | ")[2])


def test_there_are_rows() -> None:
    assert len(ROWS) >= 20


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:42])
def test_each_row_names_tests_or_settings_that_are_there(row: str) -> None:
    assert named(row)
    for name in named(row):
        if name.startswith("LETHE_"):
            assert name.removeprefix("LETHE_").lower() in Settings.model_fields, name
            continue
        path, _, function = name.partition("::")
        assert (ROOT / path).is_file(), path
        tree = ast.parse((ROOT / path).read_text())
        assert function in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}, name


@pytest.mark.parametrize(
    "words",
    [
        "forged and replayed webhooks",
        "malicious data subject",
        "erasing others' data",
        "poisoning by erasure",
        "slow-down by erasure",
        "difference of checkpoints",
        "timing of key checks",
        "request smuggling by content length",
        "path traversal in names",
        "zip and image bombs",
        "pickle",
    ],
)
def test_what_must_be_thought_of_has_a_row(words: str) -> None:
    assert [row for row in ROWS if words in row.lower()]


def modules_used(tree: ast.AST) -> Iterator[tuple[str, ast.Call | None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((each.name, None) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", None
        elif isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_loads_pickles() -> None:
    """Nor what else runs code on load; Celery's messages are JSON."""
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
    looked_at = 0
    for folder in OURS:
        for path in (ROOT / folder).rglob("*.py"):
            looked_at += 1
            for name, call in modules_used(ast.parse(path.read_text())):
                assert name.split(".")[0] not in forbidden, (path, name)
                if name in ("torch.load", "np.load", "numpy.load"):
                    assert call is not None
                    options = {each.arg: ast.unparse(each.value) for each in call.keywords}
                    safe = {"weights_only": "True", "allow_pickle": "False"}
                    assert safe.items() & options.items(), (path, name)
    assert looked_at > 150
