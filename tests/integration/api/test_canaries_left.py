"""How many canary groups are left: with the model, and as a gauge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update

from core.backend import Backend
from core.canaries import Plan
from core.importing import Importer
from core.records import CanaryGroup
from tests.cli import Commands
from tests.factories import RandomSource, make_model, submit


def test_groups_left_are_shown_and_counted(
    api: TestClient,
    api_app: FastAPI,
    api_backend: Backend,
    api_server: str,
    monkeypatch: Any,
    capsys: Any,
    tmp_path: Path,
) -> None:
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
    variables = {"LETHE_URL": api_server, "LETHE_API_KEY": api_app.state.first_key.text}
    lethe = Commands(monkeypatch, capsys, tmp_path, variables)
    assert "Left of 3 canary groups: 2" in lethe.ok("models", "guarded")
    assert "canary" not in lethe.ok("models", "digits")
    lines = api.get("/metrics").text.splitlines()
    gauges = [line for line in lines if line.startswith("lethe_canary_groups_left")]
    assert gauges == ['lethe_canary_groups_left{dataset="planted"} 2.0']
