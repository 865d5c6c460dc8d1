"""Signing in, by mouse and by keyboard; the frame around every page."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Shown, Visit
from tests.browser.site import Site


def test_a_wrong_key_is_refused_and_a_good_one_leads_to_the_overview(
    site: Site, visit: Visit, shown: Shown
) -> None:
    page = visit(signed_in=False)
    page.goto("/admin/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.keyboard.type("key_x.guess")  # the field has the focus
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").first).to_contain_text("not known")
    shown(page, "sign-in")
    page.get_by_label("API key").fill(site.key("read"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    shown(page, "overview")
