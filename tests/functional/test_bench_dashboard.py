"""bench.dashboard asks for every page, in small; no page of the dashboard is left out."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from fastapi.routing import APIRoute

from bench import dashboard
from bench._dashboard.filling import Plan, Sample
from bench._dashboard.pages import addresses
from service.admin.app import PAGES

ELSEWHERE = {
    "/static/{version}/{name:path}": "files, not pages",
    "/jobs/{job_id}/live": "a stream, followed by the open pages",
    "/erasure-requests/export.csv": "a file of the whole list",
    "/erasure-requests/{request_id}/certificate.json": "a file",
    "/audit/export": "a file of the whole chain",
}
"""What is read, and is no page."""


def test_every_page_is_asked_for() -> None:
    plan = Plan(1000, 100, "ds", [], datetime(2026, 1, 1, tzinfo=UTC), Sample({}, {}, ""))
    asked = [path.partition("?")[0].removeprefix("/admin") for path in addresses(plan).values()]
    routes = {
        route.path
        for page in PAGES
        for route in page.router.routes
        if isinstance(route, APIRoute) and "GET" in route.methods
    }
    patterns = {path: re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)) for path in routes}
    found = {path for path in routes if any(patterns[path].fullmatch(each) for each in asked)}
    assert routes - found == set(ELSEWHERE)


@pytest.mark.long
def test_in_small(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--requests", "2000", "--jobs", "200", "--rounds", "1"]
    dashboard.main([*sizes, "--open-pages", "3", "--seconds", "2", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {"page", "p50_ms", "p99_ms"} <= found["rows"][0].keys()
    assert found["database_rows"]["erasure_requests"] == 2000
    assert found["open_pages"]["events_a_page_a_second"] > 0
    assert found["first_paint"]["cold_p50_ms"] > 0
