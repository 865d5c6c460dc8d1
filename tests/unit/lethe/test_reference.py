"""docs/reference says what the code does: the code wrote it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from service.pages.examples import Examples, answer_of, body_of
from tests.cli import Commands
from tests.reference import FOLDER, openapi, pages

ROOT = FOLDER.parent.parent


@pytest.mark.parametrize("name", ["cli.md", "settings.md", "http.md", "openapi.json"])
def test_pages_are_current(name: str) -> None:
    written = (FOLDER / name).read_text()
    assert written == pages()[name], "run `python -m tests.reference`"


def test_the_command_prints_the_committed_document(lethe: Commands) -> None:
    assert lethe.ok("export-openapi") == (FOLDER / "openapi.json").read_text()


def test_every_example_is_what_its_schema_says() -> None:
    document = openapi()
    resource = Resource.from_contents(document, default_specification=DRAFT202012)
    registry = Registry().with_resource("urn:lethe", resource)
    examples, held = Examples(document), 0
    for path, item in document["paths"].items():
        for method, operation in item.items():
            _, kind, answer = answer_of(operation)
            for schema in (body_of(operation), answer if kind == "application/json" else None):
                if schema is None:
                    continue
                absolute = {"$ref": "urn:lethe" + schema["$ref"]} if "$ref" in schema else schema
                validator = Draft202012Validator(absolute, registry=registry)
                error = next(validator.iter_errors(examples.of(schema)), None)
                assert error is None, f"{method} {path}: {error}"
                held += 1
    assert held > 25


@pytest.mark.parametrize(
    "page", sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]), ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
