"""`lethe export-openapi`: the service's OpenAPI document."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lethe.console import AsJson, show


def export_openapi(as_json: AsJson = True) -> None:  # noqa: ARG001  # --json is what it does anyway
    """Print the OpenAPI document on stdout.

    Example: `lethe export-openapi > openapi.json`
    """
    from core.settings import Settings
    from service.app import create_app

    with tempfile.TemporaryDirectory() as home:  # the document depends on no setting
        app = create_app(Settings(home=Path(home)), "all")
        show(app.openapi(), True, "")
