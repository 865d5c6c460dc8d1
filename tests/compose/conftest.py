"""One stack for all tests of this folder: built, brought up once, taken down with all it kept."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.compose.stack import Stack

# `pytest` alone passes by: see __main__.
collect_ignore_glob = [] if os.environ.get("LETHE_TEST_COMPOSE") else ["test_*.py"]


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The stack of docker-compose.yml under a name of its own, on a free port."""
    stack = Stack(f"lethe-test-{secrets.token_hex(4)}")
    try:
        stack.build()
        stack.up()
        yield stack
    finally:
        stack.remove()
