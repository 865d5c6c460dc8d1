"""What many open pages of a running job cost, and how soon a page shows in a browser."""

from __future__ import annotations

import http.client
import statistics
import threading
import time
from collections.abc import Sequence

from playwright.sync_api import Page, sync_playwright

from bench._dashboard.filling import id_of
from bench._dashboard.scene import Client, Scene
from core import jobs
from core.backend import open_backend
from tests.browser import chromium

_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]"

REPORTS = 2.0
"""Changes of the job a second: as often as a worker reports."""


def share_of_a_core(scene: Scene, client: Client, pages: int, seconds: float) -> dict[str, float]:
    """CPU of the service, as a share of one core, without pages and with so many of one job."""
    idle = _cpu(scene, seconds)
    stop, heard = threading.Event(), [0] * pages
    path = f"/admin/jobs/{id_of('job', scene.plan.jobs - 1)}/live"
    threads = [
        threading.Thread(target=_follow, args=(scene.port, client.cookie, path, n, heard, stop))
        for n in range(pages)
    ]
    worker = threading.Thread(target=_report, args=(scene, stop))
    for thread in (*threads, worker):
        thread.start()
    time.sleep(2)
    before = sum(heard)
    busy = _cpu(scene, seconds)
    events = sum(heard) - before
    stop.set()
    for thread in (*threads, worker):
        thread.join()
    return {
        "pages": pages,
        "idle_share": round(idle, 4),
        "share": round(busy - idle, 4),
        "events_a_page_a_second": round(events / pages / seconds, 2),
    }


def _cpu(scene: Scene, seconds: float) -> float:
    began, before = time.monotonic(), scene.cpu_seconds()
    time.sleep(seconds)
    return (scene.cpu_seconds() - before) / (time.monotonic() - began)


def _follow(
    port: int, cookie: str, path: str, number: int, heard: list[int], stop: threading.Event
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Cookie": cookie})
    stream = connection.getresponse()
    assert stream.status == 200, stream.status
    while not stop.is_set():
        line = stream.readline()
        if not line:
            break
        heard[number] += line.startswith(b"event:")
    connection.close()


def _report(scene: Scene, stop: threading.Event) -> None:
    """What a worker writes of a running job."""
    backend = open_backend(scene.settings, send=lambda _: None)
    job_id, step = id_of("job", scene.plan.jobs - 1), 0
    while not stop.wait(1 / REPORTS):
        step += 10
        with backend.db.transaction() as tx:
            job = jobs.locked(tx, job_id)
            losses = {"forget_loss": 1 / step, "remember_loss": 0.1, "alpha": 0.5}
            steps = {"step": step, "total_steps": 10_000, "fraction": step / 10_000}
            job.progress = {**jobs.NO_PROGRESS, "phase": "unlearning", **steps, **losses}
            job.revision += 1
    backend.close()


def _painted(page: Page) -> float:
    """When words were first painted; a page's own policy forbids to wait for it by a script."""
    until = time.monotonic() + 30
    while (painted := page.evaluate(f"{_PAINT}?.startTime")) is None:
        assert time.monotonic() < until, "nothing was painted"
        time.sleep(0.05)
    return float(painted)


def first_paints(scene: Scene, client: Client, paths: Sequence[str]) -> dict[str, float]:
    """Milliseconds from asking for a page until Chromium paints words of it, the cache empty and
    then filled: the median of pages, and the worst."""
    executable = chromium.find()
    assert executable is not None, chromium.MISSING
    name, _, value = client.cookie.partition("=")
    cold: list[float] = []
    warm: list[float] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=chromium.ARGUMENTS)
        for path in paths:
            context = browser.new_context(base_url=f"http://127.0.0.1:{scene.port}")
            context.add_cookies(
                [{"name": name, "value": value, "url": f"http://127.0.0.1:{scene.port}/admin"}]
            )
            page = context.new_page()
            for paints in (cold, warm):
                page.goto(path)
                paints.append(_painted(page))
            context.close()
        browser.close()
    return {
        "cold_p50_ms": round(statistics.median(cold), 1),
        "cold_max_ms": round(max(cold), 1),
        "warm_p50_ms": round(statistics.median(warm), 1),
        "warm_max_ms": round(max(warm), 1),
    }
