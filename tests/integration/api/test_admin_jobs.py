"""The dashboard's pages of jobs: followed while they run, decided, drawn."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from core import holding, jobs, plots
from core.backend import Backend
from core.errors import Unauthorized
from core.records import Job
from service.admin import graphs, live
from tests.integration.api.conftest import SignIn
from tests.integration.api.hand import Hand, posted

PATH = "/admin/jobs"


def state_of(backend: Backend, job_id: str) -> str:
    with backend.db.reading() as session:
        return jobs.get(session, job_id).state


def in_review(api: TestClient, hand: Hand, subject: str, candidate: bool = True) -> str:
    """A job that waits for a decision: of its candidate, or of why it failed."""
    job_id: str = posted(api, subject)["job_id"]
    held = hand.claim()
    assert held.job_id == job_id
    found = {"version_id": "v", "digest": "0" * 64, "strategy": "rfu_ss"} if candidate else None
    hand.give_to_person(held, found)
    return job_id


def test_jobs_are_listed_and_filtered(admin: SignIn, api: TestClient, api_hand: Hand) -> None:
    waiting = in_review(api, api_hand, "subject-1")
    queued = posted(api, "subject-2")["job_id"]
    client = admin("read")
    every = client.get(PATH).text
    assert every.index(queued) < every.index(waiting)
    found = client.get(f"{PATH}?status=needs_review&model=digits").text
    assert waiting in found
    assert queued not in found
    assert "No job is like this" in client.get(f"{PATH}?status=failed").text


def test_a_reviewer_decides_with_a_typed_confirmation(
    admin: SignIn, api: TestClient, api_hand: Hand, api_backend: Backend
) -> None:
    client = admin("review")
    job_id = in_review(api, api_hand, "subject-1")
    page = client.get(f"{PATH}/{job_id}").text
    assert "a gate was inconclusive" in page.lower()
    assert all(f"{job_id}/{action}" in page for action in ("approve", "reject", "retry", "cancel"))
    fields = {"reason": "it will do", "typed": "approve"}
    assert client.post(f"{PATH}/{job_id}/approve", data=fields).status_code == 422
    assert state_of(api_backend, job_id) == "needs_review"
    fields["typed"] = job_id[-6:]
    answer = client.post(f"{PATH}/{job_id}/reject", data=fields)
    assert (answer.status_code, state_of(api_backend, job_id)) == (303, "failed")
    assert "The candidate was refused" in client.get(answer.headers["location"]).text
    page = client.get(f"{PATH}/{job_id}").text
    assert f"{job_id}/retry" in page
    assert f"{job_id}/approve" not in page
    assert client.post(f"{PATH}/{job_id}/retry").status_code == 303
    assert state_of(api_backend, job_id) == "queued"
    assert client.post(f"{PATH}/{job_id}/cancel", data=fields).status_code == 303
    assert state_of(api_backend, job_id) == "cancelled"
    second = in_review(api, api_hand, "subject-2")
    fields["typed"] = second[-6:]
    assert client.post(f"{PATH}/{second}/approve", data=fields).status_code == 303
    assert state_of(api_backend, second) == "publishing"


def test_who_only_reads_decides_nothing_and_is_shown_no_decision(
    admin: SignIn, api: TestClient, api_hand: Hand, api_backend: Backend
) -> None:
    client = admin("read")
    job_id = in_review(api, api_hand, "subject-1", candidate=False)
    assert f"{job_id}/retry" not in client.get(f"{PATH}/{job_id}").text
    for action in ("approve", "reject", "retry", "cancel"):
        fields = {"reason": "x", "typed": job_id[-6:]}
        assert client.post(f"{PATH}/{job_id}/{action}", data=fields).status_code == 403
    assert state_of(api_backend, job_id) == "needs_review"


def test_a_page_shows_curves_gates_and_histograms(
    admin: SignIn, api: TestClient, api_hand: Hand, api_backend: Backend
) -> None:
    job_id = posted(api, "subject-1")["job_id"]
    held = api_hand.claim()
    curves = plots.Curves([])
    for step in (1, 10, 20):
        curves.add("unlearning", 0, step, {"remember_loss": 0.5, "forget_loss": 1.25, "alpha": 0})
    progress = {**jobs.NO_PROGRESS, "phase": "unlearning", "step": 20, "total_steps": 100}
    holding.report(api_backend.db, held, progress, curves)
    gate = {
        "gate": "G1",
        "name": "membership",
        "what": "Membership AUC",
        "statistic": 0.52,
        "low": 0.41,
        "high": 0.63,
        "least": 0.4,
        "most": 0.6,
        "samples": 12,
        "verdict": "INCONCLUSIVE",
        "decisive": True,
    }
    counts = {
        f"{which}_{when}": [3, 1] for which in ("erased", "heldout") for when in ("before", "after")
    }
    with api_backend.db.transaction() as tx:
        tx.session.get_one(Job, job_id).verification = {
            "verdict": "INCONCLUSIVE",
            "gates": [gate],
            "measures": {when: {"test_accuracy": 0.9} for when in ("before", "after", "retrained")},
        }
        plots.keep_scores(tx, job_id, {"margin": {"edges": [0.0, 1.0, 2.0], **counts}})
    page = admin("read").get(f"{PATH}/{job_id}").text
    assert page.count('<td class="number">1.25</td>') == 3
    assert "Step 20 of at most 100" in page
    assert "0.400 to 0.600" in page
    assert "0.410 to 0.630" in page
    assert "Exact retraining" in page
    assert page.count('class="hist erased"') == 2


def test_an_interval_is_drawn_within_its_picture_and_in_order() -> None:
    gate = {"statistic": 0.1, "low": 0.0, "high": 0.4, "least": -1.0, "most": 0.02}
    it = graphs.interval({**gate, "verdict": "FAIL"})
    assert 0 <= it.low < it.figure < it.high <= graphs.WIDTH
    assert it.allowed[0] == 0, "allowed from the edge on"
    assert it.low < it.allowed[1] < it.figure
    assert it.tone == "bad"


def test_a_page_follows_its_job_until_it_is_over(
    admin: SignIn, api: TestClient, api_server: str, api_hand: Hand
) -> None:
    job_id = posted(api, "subject-1")["job_id"]
    held = api_hand.claim()
    client = admin("read")
    cookies = dict(client.cookies.items())
    seen: list[str] = []
    first = threading.Event()

    def read() -> None:
        with httpx.stream(
            "GET", f"{api_server}{PATH}/{job_id}/live", cookies=cookies, timeout=60
        ) as stream:
            for line in stream.iter_lines():
                seen.append(line)
                if line == "":
                    first.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert first.wait(30)
    api_hand.report(held, phase="unlearning", step=7, total_steps=9, remember_loss=0.25)
    api_hand.publish(held)
    api_hand.succeed(held)
    reader.join(60)
    assert not reader.is_alive()
    events = [line for line in seen if line.startswith("event:")]
    assert events[0] == "event: parts"
    assert events[-1] == "event: over"
    text = "\n".join(seen)
    assert text.count('id="job-head"') >= 2
    assert "Succeeded" in text.rpartition('id="job-head"')[2]
    assert (
        'id="job-curve-rows"' not in text.partition("event: parts")[2].partition("event: parts")[2]
    ), "what has not changed is not sent again"


def test_no_stream_for_nobody_and_none_of_a_job_that_does_not_exist(
    admin: SignIn, api: TestClient
) -> None:
    assert admin("read").get(f"{PATH}/job_x/live").status_code == 404
    assert api.get(f"{PATH}/job_x/live", follow_redirects=False).status_code == 401


@pytest.mark.parametrize("pages", [1, 20])
def test_a_change_is_drawn_once_for_however_many_pages(pages: int) -> None:
    drawn = 0

    async def draw() -> live.Drawing:
        nonlocal drawn
        drawn += 1
        await asyncio.sleep(0.01)
        return live.Drawing(drawn, drawn == 3, {"a": f'<p id="a">{drawn}</p>'})

    class Told:
        closing = False

        async def wait(self, *_: Any) -> bool:
            await asyncio.sleep(0.001)
            return True

    async def allowed() -> None:
        return None

    async def page(easel: live.Easel) -> str:
        key = ("job_1", False)
        stream = live.events(easel, Told(), key, draw, allowed)  # type: ignore[arg-type]
        return "".join([event async for event in stream])

    async def every() -> list[str]:
        easel = live.Easel()
        return await asyncio.gather(*(page(easel) for _ in range(pages)))

    told = asyncio.run(every())
    assert drawn == 3
    assert len(set(told)) == 1
    assert re.findall(r"<p.*?>(\d)", told[0]) == ["1", "2", "3"]
    assert json.dumps(told[0]).count("event: over") == 1


def test_a_stream_ends_with_its_session_and_says_while_nothing_changes_that_it_is_there() -> None:
    refused = False

    async def draw() -> live.Drawing:
        return live.Drawing(1, False, {"a": '<p id="a">1</p>'})

    class Quiet:
        closing = False

        async def wait(self, *_: Any) -> bool:
            return False

    async def allowed() -> None:
        nonlocal refused
        if refused:
            raise Unauthorized("this API key was revoked")
        refused = True

    async def told() -> list[str]:
        stream = live.events(live.Easel(), Quiet(), ("job_1", False), draw, allowed)  # type: ignore[arg-type]
        return [event async for event in stream]

    events = asyncio.run(told())
    assert events[0].startswith("event: parts")
    assert events[1:] == [": still here\n\n"] * 2

    async def told_who_shows_it() -> list[str]:
        stream = live.events(live.Easel(), Quiet(), ("job_1", False), draw, allowed, seen=1)  # type: ignore[arg-type]
        return [event async for event in stream]

    refused = False
    assert asyncio.run(told_who_shows_it()) == [": still here\n\n"] * 2, "what is typed there stays"


def test_the_overview_says_what_waits(admin: SignIn, api: TestClient, api_hand: Hand) -> None:
    waiting = in_review(api, api_hand, "subject-1")
    client = admin("read")
    page = client.get("/admin/").text
    assert waiting in page
    assert "No worker is running" in page
    part = client.get("/admin/overview/live", headers={"HX-Request": "true"}).text
    assert part.startswith('<div id="overview"')
    assert waiting in part
