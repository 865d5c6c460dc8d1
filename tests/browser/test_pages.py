"""Lists, the overview, the keyboard, the dark, the narrow: what every page must bear."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from core import requests
from tests.browser.conftest import Shown, Visit
from tests.browser.site import Site


@pytest.fixture
def waiting(site: Site) -> Iterator[list[tuple[str, str]]]:
    """Requests that wait for a worker; withdrawn after."""
    made = [site.post(f"subject-{number}", f"ticket-{number}") for number in (11, 13, 15)]
    yield made
    with site.backend.db.transaction() as tx:
        for request_id, _ in made:
            if requests.get(tx.session, request_id).completed_at is None:
                requests.end(tx, request_id, "cancelled", "the test is over")


def test_a_subject_is_found_and_requests_are_withdrawn_together(
    site: Site, visit: Visit, shown: Shown, waiting: list[tuple[str, str]]
) -> None:
    page = visit("review")
    page.goto("/admin/erasure-requests")
    shown(page, "requests")
    page.get_by_label("Subject", exact=True).fill("subject-13")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    assert "subject-13" not in page.url + page.content()
    page.get_by_role("link", name="All requests").click()
    for request_id, _ in waiting[:2]:
        page.get_by_label(f"Choose {request_id}").check()
    page.get_by_role("button", name="Cancel").click()
    shown(page, "requests-bulk")
    page.get_by_label("Reason").fill("asked for by mistake")
    page.get_by_label("Type").fill("2")
    page.get_by_role("button", name="Cancel 2 requests").click()
    expect(page.get_by_role("status")).to_contain_text("2 of 2 done")
    page.get_by_label("State").select_option("open")  # with a script, choosing is enough
    expect(page.locator("tbody tr")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as CSV").click()
    assert download.value.path().read_text().count("er_") == 1


def test_the_keyboard_alone_signs_in_reaches_a_job_and_withdraws_it(
    site: Site, visit: Visit, waiting: list[tuple[str, str]]
) -> None:
    page = visit(signed_in=False)
    keys = page.keyboard

    def focus(name: str) -> None:
        """Tab on until what has the focus says this; what has it can be seen to."""
        for _ in range(60):
            keys.press("Tab")
            focused = page.locator(":focus")
            said = focused.evaluate(
                "e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent"
            )
            if name in said:
                assert focused.evaluate("e => getComputedStyle(e).outlineStyle") != "none"
                return
        raise AssertionError(f"nothing that says {name} was reached")

    page.goto("/admin/")
    keys.type(site.key("review"))
    keys.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    keys.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    keys.press("Enter")
    expect(page.locator(":focus")).to_have_id("main")
    page.goto("/admin/jobs?status=queued")
    focus(waiting[2][1][-6:])
    keys.press("Enter")
    expect(page.locator("#job-head")).to_contain_text("Queued")
    focus("Cancel this job")
    keys.press("Enter")
    focus("Reason")
    keys.type("not needed any more")
    focus("Type")
    keys.type(waiting[2][1][-6:])
    keys.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("cancelled")


@pytest.mark.parametrize(
    ("name", "dark", "width"),
    [pytest.param("dark", True, 1280, marks=pytest.mark.long), ("narrow", False, 375)],
)
def test_pages_are_legible_in_the_dark_and_on_a_phone(
    site: Site,
    visit: Visit,
    shown: Shown,
    waiting: list[tuple[str, str]],
    name: str,
    dark: bool,
    width: int,
) -> None:
    page = visit("review", dark=dark, width=width)
    request_id, job_id = waiting[0]
    for where, what in (
        ("/admin/", "overview"),
        (f"/admin/erasure-requests/{request_id}", "request"),
        (f"/admin/jobs/{job_id}", "job"),
    ):
        page.goto(where)
        shown(page, f"{what}-{name}")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(int(part) for part in background[4:-1].split(",")) < 150 if dark else True
    if width < 600:
        page.locator(".menu > summary").click()
        page.get_by_role("link", name="Jobs", exact=True).first.click()
        shown(page, f"jobs-{name}")
        page.locator(".menu > summary").click()
        page.get_by_role("button", name="Dark").first.click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_who_only_reads_is_shown_no_decision(
    site: Site, visit: Visit, shown: Shown, waiting: list[tuple[str, str]]
) -> None:
    page = visit("read")
    page.goto(f"/admin/jobs/{waiting[0][1]}")
    expect(page.locator("main form")).to_have_count(0)
    page.goto("/admin/jobs/job_x")
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    shown(page, "refusal")


def test_a_hidden_page_stops_to_follow(
    site: Site, visit: Visit, waiting: list[tuple[str, str]]
) -> None:
    page = visit("read")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"/admin/jobs/{waiting[0][1]}")
    page.wait_for_function("performance.getEntriesByType('resource').length > 2")
    assert [url for url in asked if "/live?" in url]
    hide = """hidden => {
        Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    watcher = site.watcher
    page.evaluate(hide, True)
    expect_soon(lambda: watcher.waiting == 0)
    page.evaluate(hide, False)
    expect_soon(lambda: watcher.waiting == 1)


def expect_soon(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
