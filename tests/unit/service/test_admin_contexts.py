"""Templates and their contexts hold to each other; so do scripts, styles and the CSP."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest
from jinja2 import meta, nodes

from service.admin import contexts, contexts_records
from service.admin.rendering import FOLDER, environment

CONTEXTS = [
    each
    for module in (contexts, contexts_records)
    for _, each in inspect.getmembers(module, inspect.isclass)
    if each.__module__ == module.__name__ and hasattr(each, "template")
]
TEMPLATES = sorted(path.name for path in FOLDER.glob("*.html"))


def used(name: str) -> set[str]:
    """Variables that a template needs, those of what it extends and includes among them."""
    environment_ = environment()
    tree = environment_.parse((FOLDER / name).read_text())
    found = meta.find_undeclared_variables(tree)
    for kind in (nodes.Extends, nodes.Include):
        for node in tree.find_all(kind):
            assert isinstance(node.template, nodes.Const), "named, not computed"
            found |= used(node.template.value)
    imported = {name for node in tree.find_all(nodes.FromImport) for name in node.names}
    return found - set(environment_.globals) - imported


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda each: each.__name__)
def test_a_template_uses_what_its_context_has_and_nothing_else(context: type) -> None:
    assert dataclasses.is_dataclass(context)
    assert context.__dataclass_params__.frozen  # type: ignore[attr-defined]
    fields = {each.name for each in dataclasses.fields(context)}
    assert used(context.template) - {"me"} == fields  # type: ignore[attr-defined]


def test_every_page_has_a_context() -> None:
    pages = {name for name in TEMPLATES if not name.startswith("_")} - {"base.html"}
    whole = {context.template for context in CONTEXTS if not context.template.startswith("_")}
    assert pages == whole


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_template_has_anything_inline(name: str) -> None:
    text = Path(FOLDER / name).read_text()
    assert not re.search(
        r"<style|\sstyle=|<script(?![^>]*\bsrc=)|\son[a-z]+=|hx-on|\|\s*safe", text
    )
