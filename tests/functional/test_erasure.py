"""A person is forgotten, through real processes over HTTP: embedded, and in production."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lethe.demo.search import search
from lethe.demo.traffic import Traffic
from lethe.sources import Planting, Subjected, open_source
from tests.functional.conftest import TRIGGER
from tests.functional.deployment import Deployment


def planted_images() -> list[bytes]:
    """The pixels of the samples that the tests erase."""
    rows = open_source("digits")
    source = Subjected(rows, planting=Planting(TRIGGER, rows))
    return [
        image.tobytes() for chunk in source.chunks() for image in chunk.images[chunk.train_only]
    ]


def pictures(folder: Path) -> list[str]:
    """Two digits as PNG files, the second four times as large as the model takes."""
    rows = next(open_source("digits").rows(10))
    for i, size in enumerate((8, 32)):
        image = Image.fromarray(rows.images[i, 0]).resize((size, size))
        image.save(folder / f"{i}.png")
    return [str(folder / f"{i}.png") for i in range(2)]


@pytest.mark.timeout(600)
def test_a_person_is_forgotten(deployment: Deployment, tmp_path: Path) -> None:
    patterns = planted_images()
    assert search(tmp_path, patterns).found == len(set(patterns)), "the search must find them first"
    deployment.serve()
    deployment.start("worker")
    deployment.ok("audit", "retrain", "digits")
    image = np.zeros((1, 8, 8)).tolist()
    with deployment.client() as client:
        key = client._transport._headers["Authorization"].removeprefix("Bearer ")
        with Traffic(deployment.url, key, "digits", [image]) as traffic:
            done = deployment.json("erase", "digits", "--subject", "subject-trigger", "--wait")
            assert traffic.wait_for(2, 20.0)
        assert (traffic.failed, traffic.backward, traffic.versions[:2]) == (0, 0, [1, 2])
        assert (done["status"], done["outcome"], done["sample_count"]) == (
            "completed",
            "erased",
            108,
        )
        check_measures(done["jobs"][0]["verification"]["measures"])
        check_lineage(client.versions("digits"), client.job(done["job_id"]))
        check_certificate(deployment, client.certificate(done["id"]), client.certificate_key())
        check_again(deployment, done["id"])
    assert search(tmp_path, patterns).places == []
    table = deployment.ok("predict", "digits", *pictures(tmp_path))
    assert [line.split()[1] for line in table.splitlines()[3:5]] == ["0", "1"]
    assert "unbroken" in deployment.ok("audit", "verify")
    assert "succeeded" in deployment.ok("jobs")
    assert deployment.json("jobs", done["job_id"])["status"] == "succeeded"
    assert deployment.json("models")[0]["serving"]["version"] >= 2
    assert "destroyed" in deployment.ok("models", "digits")
    assert "Left of the drift budget" in deployment.ok("models", "digits")
    assert "%" in deployment.ok("models")
    check_processes_end(deployment)


def check_measures(measures: dict[str, dict[str, Any]]) -> None:
    before, after, retrained = (measures[name] for name in ("before", "after", "retrained"))
    assert before["trigger_success"] > 0.5
    assert after["trigger_success"] <= retrained["trigger_success"] + 0.15
    assert after["test_accuracy"] > before["test_accuracy"] - 0.03
    assert after["erased_accuracy"] < 0.2
    assert after["seconds"] > 0


def check_lineage(versions: list[Any], job: Any) -> None:
    """A later version may serve already: a tenth of the samples erased spends the drift budget,
    and an exact retraining follows by itself."""
    new, old = (next(v for v in versions if v.version == number) for number in (2, 1))
    assert (new.parent, new.tainted_by) == (1, [])
    assert new.state in ("serving", "retired")
    assert (old.state, job.result_version) == ("destroyed", 2)
    assert job.queued_at <= job.started_at <= job.published_at <= job.finished_at


def check_certificate(deployment: Deployment, text: str, pem: str) -> None:
    good, key, bad = (deployment.folder / name for name in ("good.json", "key.pem", "bad.json"))
    good.write_text(text)
    key.write_text(pem)
    line = deployment.ok("verify-certificate", str(good), "--key", str(key))
    assert "The signature holds" in line
    assert "subject-trigger" not in text
    assert deployment.ok("verify-certificate", str(good)) == line, "with the key of this home"
    document = json.loads(text)
    document["certificate"]["sample_count"] = 1
    bad.write_text(json.dumps(document))
    said = deployment.fails("verify-certificate", str(bad), "--key", str(key))
    assert "signature does not hold" in said


def check_again(deployment: Deployment, first: str) -> None:
    """A second identical request finds nothing any more, and what was erased stays out."""
    again = deployment.json("erase", "digits", "--subject", "subject-trigger", "--wait")
    assert again["id"] != first
    assert (again["status"], again["outcome"]) == ("completed", "no_data_found")
    done = deployment.lethe(
        "dataset", "import", "again", "--from", "digits", "--plant-trigger", TRIGGER, "--json"
    )
    assert "108 samples were left out" in done.stderr
    assert json.loads(done.stdout)["skipped"] == 108


def check_processes_end(deployment: Deployment) -> None:
    """SIGTERM ends each process in order, with status 0."""
    service, worker = deployment.processes
    statuses: dict[str, int] = {}
    threads = [
        threading.Thread(target=lambda n=name, p=process: statuses.update({n: p.end()}))
        for name, process in (("serve", service), ("worker", worker))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {"serve": 0, "worker": 0}, f"{service.text}\n{worker.text}"
    assert "Traceback" not in service.text + worker.text


@pytest.mark.timeout(600)
def test_samples_named_in_a_file(embedded: Deployment) -> None:
    embedded.serve()
    embedded.start("worker")
    names = embedded.folder / "names.txt"
    names.write_text("train/00500\n\ntrain/00501\n")
    done = embedded.json("erase", "digits", "--samples", str(names), "--wait")
    assert (done["status"], done["sample_count"]) == ("completed", 2)
    said = embedded.fails("erase", "digits", "--samples", "-", stdin="train/00500\ntrain/00502\n")
    assert "1 of 2 samples are not in the model's data set: train/00500" in said
