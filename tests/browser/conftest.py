"""Fixtures of the browser tests. The service and the browser are started once for them all.

site       the service on a home with trained digits; posts requests, runs jobs, makes keys
visit      visit("review", ...) is an empty page of a new visitor who has signed in with such a key;
           options: dark, width, script (False: without JavaScript), signed_in (False)
shown      shown(page, "name") waits until the page stands still, keeps a screenshot of it under
           var/screenshots, and asks axe-core: no serious or critical violation

A page that writes an error to the console, breaks the CSP or gets a 5xx fails its test.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Response, expect, sync_playwright

from service.admin.sessions import SESSION
from tests.browser import chromium
from tests.browser.site import Site, opened

expect.set_options(timeout=20_000)  # milliseconds: the machine may be busy

Visit = Callable[..., Page]
Shown = Callable[[Page, str], None]

SCREENSHOTS = Path(__file__).resolve().parents[2] / "var" / "screenshots"
GRAVE = ("serious", "critical")


@pytest.fixture(scope="package")
def site(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("site") / "home"
    shutil.copytree(trained, home)
    seeds = itertools.count()
    with pytest.MonkeyPatch.context() as patch, opened(home) as site:
        patch.setattr("core.enlist.new_seed", lambda: next(seeds))  # a run is like another
        yield site


# Playwright keeps an event loop in this thread while it runs: it must end with these tests.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = chromium.find()
    if path is None:
        pytest.fail(chromium.MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=chromium.ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(site: Site, browser: Browser) -> Iterator[Visit]:
    contexts, complaints = [], []

    def heard(response: Response) -> None:
        if response.status >= 500:
            complaints.append(f"{response.status} {response.url}")

    def visit(
        *scopes: str,
        dark: bool = False,
        width: int = 1280,
        script: bool = True,
        signed_in: bool = True,
    ) -> Page:
        context = browser.new_context(
            base_url=site.url,
            viewport={"width": width, "height": 900 if width > 600 else 812},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
            reduced_motion="reduce",
            service_workers="block",
        )
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda message: complaints.append(message.text) if message.type == "error" else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("response", heard)
        if signed_in:
            session = {"name": SESSION, "value": site.session(*scopes), "domain": "127.0.0.1"}
            context.add_cookies([{**session, "path": "/admin"}])  # type: ignore[typeddict-item]
        return page

    yield visit
    for context in contexts:
        context.close()
    # A refusal that a test provokes is told by the browser too, with nothing but its status.
    grave = [each for each in complaints if "Failed to load resource" not in each]
    assert not grave


@pytest.fixture(scope="session")
def _axe() -> Axe:
    return Axe()


@pytest.fixture
def shown(_axe: Axe) -> Shown:
    def shown(page: Page, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.wait_for_load_state("load")
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
            f"{name} is wider than its window"
        )
        found = _axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
        grave = [each for each in found if each["impact"] in GRAVE]
        told = [
            f"{each['id']}: {node['target']} {node['failureSummary']}"
            for each in grave
            for node in each["nodes"][:3]
        ]
        assert not told, "\n".join(told)

    return shown
