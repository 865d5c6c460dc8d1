"""How many canary groups are left: with the model, and as a gauge."""

from __future__ import annotations

from fastapi.testclient import TestClient
from sqlalchemy import update

from core.backend import Backend
from core.canaries import Plan
from core.importing import Importer
from core.records import CanaryGroup
from tests.factories import RandomSource, make_model, submit


def test_groups_left_are_shown_and_counted(api: TestClient, api_backend: Backend) -> None:
    importer = Importer(api_backend.db, api_backend.samples, api_backend.identities)
    dataset = importer.run("planted", RandomSource(seed=5), canary_plan=Plan(3, 16)).dataset
    make_model(api_backend, dataset, "guarded")
    job = submit(api_backend, model="guarded").job_ids[0]
    with api_backend.db.transaction() as tx:
        taken = update(CanaryGroup).where(CanaryGroup.number == 0).values(job_id=job)
        tx.session.execute(taken)
    assert api.get("/models/digits").json()["canaries"] is None
    shown = api.get("/models/guarded").json()["canaries"]
    assert shown == {"groups": 3, "size": 16, "spent": 1, "left": 2}
    lines = api.get("/metrics").text.splitlines()
    gauges = [line for line in lines if line.startswith("lethe_canary_groups_left")]
    assert gauges == ['lethe_canary_groups_left{dataset="planted"} 2.0']
