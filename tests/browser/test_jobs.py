"""Jobs in the browser: watched to their end, approved, refused, with and without JavaScript."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from core import jobs, registry
from tests.browser.conftest import Shown, Visit
from tests.browser.site import Site
from worker.context import Context

SECONDS = 60_000
"""Milliseconds that a state may take on a busy machine."""


@pytest.fixture
def careful(site: Site) -> Iterator[None]:
    """What is inconclusive waits for a person; so few samples always are."""
    set_policy(site, "review")
    yield
    set_policy(site, "publish")


def set_policy(site: Site, inconclusive: str) -> None:
    with site.backend.db.transaction() as tx:
        model = registry.model_named(tx.session, "digits")
        model.policy = model.policy | {"inconclusive": inconclusive}


def test_a_job_is_watched_to_its_end_and_its_certificate_verified(
    site: Site, visit: Visit, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id, job_id = site.post("subject-trigger", "ticket-1041")
    page = visit("review")
    page.goto(f"/admin/jobs/{job_id}")
    head, rows = page.locator("#job-head"), page.locator("#job-curve-rows tbody tr")
    expect(head).to_contain_text("Queued")
    seen, half_way = half_way_stop(monkeypatch)
    with site.working():
        assert half_way.wait(SECONDS / 1000)
        expect(head).to_contain_text("Running", timeout=SECONDS)
        expect(rows.first).to_be_attached(timeout=SECONDS)
        expect(page.locator("#job-curves canvas").first).to_be_visible(timeout=SECONDS)
        before = rows.count()
        shown(page, "job-running")
        seen.set()
        expect(head).to_contain_text("Succeeded", timeout=SECONDS)
    assert rows.count() > before, "the curves grew while it ran"
    expect(page.locator("#job-result")).to_contain_text("Planted trigger works")
    shown(page, "job-succeeded")
    page.get_by_role("link", name=request_id[-6:]).click()
    expect(page.get_by_role("heading", name="Certificate")).to_be_visible()
    expect(page.locator("#certificate")).to_contain_text("Signature holds")
    page.get_by_role("button", name="Verify now").click()
    expect(page.get_by_role("status")).to_contain_text("The signature holds")
    shown(page, "request-completed")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == f"certificate-{request_id}.json"
    page.get_by_role("link", name="View", exact=True).click()
    expect(page.get_by_role("heading", name="The samples were erased")).to_be_visible()
    shown(page, "certificate")


def half_way_stop(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Let the job wait, once it has reported some steps, until the first event is set.

    The digits are forgotten in less time than a busy browser takes to draw anything.
    """
    seen, half_way = threading.Event(), threading.Event()
    report = Context.report

    def reporting(self: Context, phase: str, fraction: float, **figures: object) -> None:
        now = bool(figures.pop("now", False)) or phase == "unlearning"
        report(self, phase, fraction, now=now, **figures)
        if phase == "unlearning" and figures["step"] >= 20 and not half_way.is_set():  # type: ignore[operator]
            half_way.set()
            assert seen.wait(2 * SECONDS / 1000)

    monkeypatch.setattr(Context, "report", reporting)
    return seen, half_way


def decide(page: Page, action: str, job_id: str) -> None:
    """Fill the form of this decision, and send it."""
    form = page.locator(f"form[action$='{action}']")
    form.get_by_role("textbox", name="Reason").fill("looked at the evidence")
    form.get_by_label("Type").fill(job_id[-6:])
    form.get_by_role("button").click()


def test_a_reviewer_approves_one_job_and_refuses_another(
    site: Site, visit: Visit, shown: Shown, careful: None
) -> None:
    _, first = site.post(site.trained_on(0))
    site.run_job()
    assert site.job(first).state == "needs_review"
    page = visit("review")
    page.goto("/admin/")
    page.get_by_role("link", name=first[-6:]).first.click()
    shown(page, "job-needs-review")
    form = page.locator("form[action$='approve']")
    form.get_by_label("Reason").fill("it will do")
    form.get_by_label("Type").fill("wrong")
    form.get_by_role("button").click()
    expect(page.locator("#toasts")).to_contain_text("to confirm")
    assert site.job(first).state == "needs_review"
    decide(page, "approve", first)
    expect(page.get_by_role("status")).to_contain_text("approved")
    site.run_job()
    expect(page.locator("#job-head")).to_contain_text("Succeeded", timeout=SECONDS)
    _, second = site.post(site.trained_on(1))
    site.run_job()
    page.goto(f"/admin/jobs/{second}")
    decide(page, "reject", second)
    expect(page.get_by_role("status")).to_contain_text("refused")
    expect(page.locator("#job-head")).to_contain_text("Failed")
    shown(page, "job-failed")
    with site.backend.db.transaction() as tx:
        jobs.retry(tx, second)
    set_policy(site, "publish")
    site.run_job()
    assert site.job(second).state == "succeeded"


def test_without_javascript_a_job_is_decided_and_a_request_refused(
    site: Site, visit: Visit, careful: None
) -> None:
    request_id, job_id = site.post(site.trained_on(2))
    page = visit("review", script=False)
    page.goto(f"/admin/jobs/{job_id}")
    page.locator("#job-actions summary").click()
    decide(page, "cancel", job_id)
    expect(page.get_by_role("status")).to_contain_text("cancelled")
    assert site.job(job_id).state == "cancelled"
    request_id, _ = site.post(site.trained_on(2))
    page.goto(f"/admin/erasure-requests/{request_id}")
    decide(page, "reject", request_id)
    expect(page.get_by_role("status")).to_contain_text("refused")
    page.goto("/admin/erasure-requests")
    page.get_by_label("State").select_option("rejected")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(1)
