"""A certificate, and what the gates were given that it tells of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from core import requests
from core.certificates import verify as verify_certificate
from core.intake import NewRequest, submit
from core.records import ErasureRequest, Job
from tests.integration.conftest import look
from tests.integration.recomputing import Seen
from unlearning import VIB, Samples
from unlearning.verification.protocol import Evidence, Report
from worker import tasks
from worker import verify as step
from worker.context import Context
from worker.engine import Engine

SETS = ("erased", "held", "remaining", "test")


@dataclass
class Captured:
    """What one run of the protocol was given, and what the certificate says of it."""

    before: dict[str, Seen]
    after: dict[str, Seen]
    models: tuple[VIB, VIB]
    evidence: Evidence
    seed: int
    relearning: bool
    said: dict[str, Any]
    job: Job
    request: ErasureRequest
    retrained: VIB | None

    @property
    def limits(self) -> dict[str, float]:
        limits: dict[str, float] = self.said["thresholds"]
        return limits

    @property
    def gates(self) -> dict[str, dict[str, Any]]:
        return {gate["name"]: gate for gate in self.said["gates"]}


def answers(model: VIB, samples: Samples) -> Seen:
    """Logits, mu and log_var, as the model gives them."""
    with torch.no_grad():
        out = model.eval()(model.prepare(samples.images))
    arrays = (out.logits_BC, out.mu_BK, out.log_var_BK)
    return Seen(*(a.double().numpy() for a in arrays), samples.labels.numpy())


def captured(engine: Engine, monkeypatch: pytest.MonkeyPatch, **wanted: Any) -> Captured:
    """Run a job; listen at the protocol's door; read the certificate that came of it."""
    heard: list[tuple[VIB, VIB, Evidence, dict[str, Any]]] = []
    beside: list[VIB] = []
    protocol, distance = step.run_protocol, step.distance

    def listening(before: VIB, after: VIB, evidence: Evidence, *args: Any, **kw: Any) -> Report:
        heard.append((before, after, evidence, kw))
        return protocol(before, after, evidence, *args, **kw)

    def measuring(context: Context, model: VIB, retrained: VIB) -> dict[str, float]:
        beside.append(retrained)
        return distance(context, model, retrained)

    with monkeypatch.context() as patch:
        patch.setattr(step, "run_protocol", listening)
        patch.setattr(step, "distance", measuring)
        submitted = submit(engine.backend, NewRequest(model="digits", **wanted), key_id=None)
        assert tasks.work(engine, "by hand") == submitted.job_ids[0]
    job, request = look(engine, submitted.job_ids[0], submitted.request.id)
    assert request.state == "completed", job.error
    before, after, evidence, asked = heard[-1]
    with engine.backend.db.reading() as session:
        text = requests.certificate_of(session, request.id)
    document = verify_certificate(text, engine.backend.signer.public_pem)
    seen = [
        {name: answers(model, getattr(evidence, name)) for name in SETS}
        for model in (before, after)
    ]
    return Captured(
        *seen, (before, after), evidence, asked["seed"], asked["relearning"],
        document["models"]["digits"]["verification"], job, request, beside[-1] if beside else None,
    )  # fmt: skip
