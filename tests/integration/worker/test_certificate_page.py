"""The printable certificate of real jobs: every gate, figure and destruction is on it."""

from __future__ import annotations

import json
from typing import Any

from core import policy, registry, requests
from core.certificates import STATEMENT, UNTESTED
from core.intake import NewRequest, submit
from service.pages.certificate import render
from tests.integration.conftest import Erase
from tests.unit.service.reading import Page
from worker import tasks
from worker.engine import Engine


def page_of(engine: Engine, request_id: str) -> tuple[Page, dict[str, Any]]:
    with engine.backend.db.reading() as session:
        text = requests.certificate_of(session, request_id)
    return Page(render(text, engine.backend.signer.public_pem)), json.loads(text)["certificate"]


def test_every_gate_in_words_with_its_figure_bound_and_verdict(
    engine: Engine, erase: Erase
) -> None:
    with engine.backend.db.transaction() as tx:
        model = registry.lock_model(tx, registry.model_named(tx.session, "digits").id)
        model.audit_next = True
    job, request = erase("subject-trigger")
    page, document = page_of(engine, request.id)
    assert job.verification is not None
    gates = job.verification["gates"]
    assert len(gates) > 5
    [titles, *rows] = page.rows[: len(gates) + 1]
    assert titles == ["Test", "Figure, interval", "Allowed", "Samples", "Verdict"]
    for gate, (what, figure, allowed, samples, verdict) in zip(gates, rows, strict=True):
        assert what.startswith(f"{gate['gate']} {gate['what']}")
        assert abs(float(figure.split()[0]) - gate["statistic"]) <= 0.0005
        low, high = (float(each) for each in figure.split()[1::2])
        assert abs(low - gate["low"]) <= 0.0005
        assert abs(high - gate["high"]) <= 0.0005
        assert abs(float(allowed.split()[-1]) - gate["most"]) <= 0.0005
        assert (samples, verdict) == (str(gate["samples"]), gate["verdict"])
    assert page.rows[len(gates) + 1] == ["Measured", "Before", "After", "Exact retraining"]
    said = document["models"]["digits"]
    for word in (
        request.id, job.id, document["statement"], document["subject"]["commitment"],
        said["digest_before"], said["digest_after"], document["audit"]["head"],
        f"Samples deleted {said['destruction']['samples']['samples']}",
        f"Version 1, {said['destruction']['versions'][0]['destroyed_at'][:10]}",
        "lethe verify-certificate certificate.json --key key.pem",
    ):  # fmt: skip
        assert word in page.words
    assert "subject-trigger" not in page.words
    assert "drift budget, accuracy lost 1, by default 0.01" in page.words
    assert "auc band 0.100" in page.words


def test_a_job_that_had_nothing_to_unlearn_says_why(engine: Engine, erase: Erase) -> None:
    held_back = engine.backend.samples.load(_dataset(engine), "heldout").sample_ids[0]
    wanted = NewRequest("digits", sample_ids=(held_back,))
    submitted = submit(engine.backend, wanted, key_id=None)
    tasks.work(engine, "by hand")
    page, _ = page_of(engine, submitted.request.id)
    assert "None of the samples was trained on." in page.words
    assert UNTESTED in page.words
    assert STATEMENT not in page.words
    assert "The request named samples, not a person." in page.words
    assert "Samples deleted 1" in page.words
    assert page.rows == []


def test_a_retraining_after_unlearning_failed_is_said(engine: Engine, erase: Erase) -> None:
    with engine.backend.db.transaction() as tx:
        model = registry.lock_model(tx, registry.model_named(tx.session, "digits").id)
        change = {"inconclusive": "retrain", "thresholds": {"auc_band": 0.2}, "relearning": True}
        policy.change(tx, model, change)
    job, request = erase("subject-7")
    page, document = page_of(engine, request.id)
    for words in (
        "inconclusive retrain, by default publish",
        "auc band 0.2, by default 0.1",
        "relearning on, by default off",
    ):
        assert words in page.words
    said = document["models"]["digits"]["verification"]
    assert {each["setting"] for each in said["policy_deviations"]} >= {*change} - {"thresholds"}
    assert said["thresholds"]["auc_band"] == 0.2
    assert [gate["name"] for gate in said["gates"] if gate["gate"] == "G8"] == ["relearning"]
    assert job.verification is not None
    assert job.verification["strategy"] == "retrain"
    assert "exact retraining on everything that remains" in page.words
    assert "after rfu_ss had not sufficed" in page.words
    [below] = said["rungs_before"]
    assert f"rfu_ss, {below['steps']} steps: {below['verdict']} by G" in page.words
    assert "(recorded only)" in page.words


def _dataset(engine: Engine) -> str:
    with engine.backend.db.reading() as session:
        return registry.model_named(session, "digits").dataset_id
