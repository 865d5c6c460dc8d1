"""The stack from its first start to its removal. The tests tell one story, in order."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sklearn.datasets import load_digits

from lethe import Client
from lethe.answers import ErasureRequest
from tests.compose.stack import ROOT, Stack, until

LONG_LIVED = ("postgres", "redis", "api", "inference", "worker", "front")
pytestmark = pytest.mark.timeout(600)


def digits(first: int, count: int = 1) -> list[Any]:
    """Bundled digits as /predict takes them."""
    images = load_digits().images[first : first + count, None] / 16.0
    found: list[Any] = images.astype(np.float64).tolist()
    return found


def erased(client: Client, subject: int, **options: Any) -> ErasureRequest:
    """An erasure that was asked for and carried out."""
    request = client.erase("digits", subject_id=f"subject-{subject}", **options)
    return completed(client, request)


def completed(client: Client, request: ErasureRequest) -> ErasureRequest:
    done = client.wait(request, timeout=150)
    assert (done.status, done.outcome) == ("completed", "erased"), done
    return done


def test_the_first_start_ends_with_a_system_that_predicts(stack: Stack) -> None:
    with stack.client() as client:
        answer = client.predict("digits", inputs=digits(0, 10))
        assert answer.version == 1
        right = [p.label == str(i) for i, p in enumerate(answer.predictions)]
        assert sum(right) >= 9
    key = {"Authorization": f"Bearer {stack.key}"}
    for path in ("/v2/models/digits/ready", "/models/digits", "/docs"):  # inference, then the API
        assert httpx.get(f"{stack.url}{path}", headers=key).status_code == 200, path


def test_it_forgets_and_the_certificate_holds_offline(stack: Stack, tmp_path: Path) -> None:
    with stack.client() as client:
        request = erased(client, 20)
        (tmp_path / "certificate.json").write_text(client.certificate(request.id))
        (tmp_path / "key.pem").write_text(client.certificate_key())
        assert client.predict("digits", inputs=digits(0)).version == 2
    lethe = str(Path(sys.executable).with_name("lethe"))
    checked = subprocess.run(
        [lethe, "verify-certificate", "certificate.json", "--key", "key.pem", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(checked.stdout)
    assert document["request"]["id"] == request.id
    assert document["sample_count"] == request.sample_count


def test_as_the_guide_says_it(stack: Stack) -> None:
    said = stack.compose(
        "exec", "-T", "api", "lethe", "erase", "digits", "--subject", "subject-21", "--wait"
    )
    assert "is completed: erased" in said


def test_containers_may_do_no_more_than_they_must(stack: Stack) -> None:
    for service in LONG_LIVED:
        for container in stack.containers(service):
            host = stack.inspect(container)["HostConfig"]
            assert host["ReadonlyRootfs"], service
            assert host["CapDrop"] == ["ALL"], service
            assert not host["CapAdd"], service
            assert host["SecurityOpt"] == ["no-new-privileges:true"], service
            assert host["Memory"] > 0, service
            assert host["LogConfig"]["Config"]["max-size"], service
            assert stack.inside(container, "id", "-u").strip() != "0", service
    (api,) = stack.containers("api")
    found = stack.inside(
        api, "python", "-c", "import importlib.util as i; print(i.find_spec('torch'))"
    )
    assert found.strip() == "None"
    # No password in any variable, where `docker inspect` and crash reports would show it.
    password = stack.inside(api, "cat", "/var/lib/lethe/keys/database_url").split(":")[2]
    password = password.partition("@")[0]
    assert len(password) > 20
    assert all(
        password not in json.dumps(stack.inspect(container))
        for service in LONG_LIVED
        for container in stack.containers(service)
    )


def test_a_worker_that_crashes_in_a_job(stack: Stack) -> None:
    (worker,) = stack.containers("worker")
    before = stack.inspect(worker)["RestartCount"]
    with stack.client() as client:
        for subject in range(22, 32):
            request = client.erase("digits", subject_id=f"subject-{subject}", strategy="retrain")
            assert request.job_id
            while client.job(request.job_id).status == "queued":
                time.sleep(0.05)
            stack.crash(worker)
            if not client.job(request.job_id).over:
                break
            until(lambda: stack.health(worker) == "healthy", "the worker starts again")
        else:
            pytest.fail("every job was over before its worker could be killed")
        completed(client, request)
        job = client.job(request.job_id)
    assert job.status == "succeeded"
    assert job.attempts <= 1, "a lost lease is no failed attempt"
    assert stack.inspect(worker)["RestartCount"] > before


def test_an_api_that_crashes(stack: Stack) -> None:
    (api,) = stack.containers("api")
    before = stack.inspect(api)["RestartCount"]
    with stack.client() as client:
        request = client.erase("digits", subject_id="subject-40")
        stack.crash(api)
        until(lambda: stack.inspect(api)["RestartCount"] > before, "the engine starts it again")
        again = client.erase("digits", subject_id="subject-41")  # waits for it
        completed(client, request)
        completed(client, again)


def test_redis_may_crash_and_go(stack: Stack) -> None:
    (redis,) = stack.containers("redis")
    stack.crash(redis)
    with stack.client() as client:
        erased(client, 34)
        stack.compose("stop", "redis")
        request = client.erase("digits", subject_id="subject-35")
        assert client.erasure_request(request.id).status != "completed"
        stack.compose("start", "redis")
        completed(client, request)


def test_scaled_up_all_share_the_work(stack: Stack) -> None:
    stack.up("--no-recreate", "--scale", "worker=3", "--scale", "inference=2")
    assert len(stack.containers("worker")) == 3
    until(lambda: _metric(httpx.get(f"{stack.url}/metrics").text, "lethe_workers") == 3, "workers")
    with stack.client() as client, Asking(stack) as asking:
        request = erased(client, 36)
        newest = next(v.version for v in client.versions("digits") if v.state == "serving")
        until(lambda: asking.versions[-1:] == [newest], "the new version is served")
        assert client.certificate(request.id)
    assert not asking.failures, asking.failures[0]
    assert asking.versions == sorted(asking.versions), "an answer went back to a version before"
    answered = [
        _metric(
            stack.inside(
                container,
                "python",
                "-c",
                "import urllib.request as u;"
                "print(u.urlopen('http://127.0.0.1:8000/metrics').read().decode())",
            ),
            "lethe_predictions_total",
        )
        for container in stack.containers("inference")
    ]
    assert len(answered) == 2
    assert min(answered) > 0, f"one inference process was asked nothing: {answered}"


def test_a_worker_that_is_told_to_stop_ends_well(stack: Stack) -> None:
    container = stack.containers("worker")[-1]
    stack.docker("stop", container)  # by the file's own stop_grace_period
    assert stack.inspect(container)["State"]["ExitCode"] == 0, stack.logs("worker")


@dataclass(frozen=True)
class Standing:
    """What may not change, whatever happens to containers."""

    key: str
    public: str
    certificates: dict[str, str]
    served: dict[str, Any]

    @classmethod
    def of(cls, stack: Stack) -> Standing:
        with stack.client() as client:
            requests = list(client.erasure_requests())
            assert {request.status for request in requests} == {"completed"}
            return cls(
                stack.key,
                client.certificate_key(),
                {request.id: client.certificate(request.id) for request in requests},
                client.predict("digits", inputs=digits(0, 5)).plain(),
            )


def test_nothing_is_lost_when_all_of_it_starts_again(stack: Stack) -> None:
    before = Standing.of(stack)
    assert len(before.certificates) >= 8
    stack.compose("down", "--timeout", "40", seconds=200)
    assert not stack.compose("ps", "--all", "--quiet").strip()
    stack.up()
    assert Standing.of(stack) == before
    assert "Nothing to make" in stack.logs("seed")
    with stack.client() as client:
        erased(client, 37)
    assert "unbroken" in stack.compose("exec", "-T", "api", "lethe", "audit", "verify")


def test_a_backup_brings_all_of_it_back(stack: Stack, tmp_path: Path) -> None:
    """By the commands that the guide gives."""
    guide = (ROOT / "docs" / "guides" / "containers.md").read_text()
    section = guide.partition("### Backup and restore")[2].partition("\n### ")[0]
    backup, restore = re.findall(r"^```console\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    before = Standing.of(stack)
    _type(backup, stack, tmp_path)
    stack.remove()
    _type(restore, stack, tmp_path)
    stack.find()
    assert Standing.of(stack) == before
    with stack.client() as client:
        erased(client, 38)
    assert "unbroken" in stack.compose("exec", "-T", "api", "lethe", "audit", "verify")


def _type(block: str, stack: Stack, folder: Path) -> None:
    """Run the commands of a page."""
    lines = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    done = subprocess.run(
        ["bash", "-c", "\n".join(["set -e", *lines])],
        cwd=folder,
        env=stack.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, f"{block}{done.stdout}{done.stderr}\n{stack.logs()}"


def test_what_is_taken_down_leaves_nothing(stack: Stack) -> None:
    stack.remove()
    label = f"label=com.docker.compose.project={stack.name}"
    for kind in (["ps", "--all"], ["volume", "ls"], ["network", "ls"]):
        assert not stack.docker(*kind, "--quiet", "--filter", label).strip(), kind


class Asking:
    """Somebody who predicts all the while, each time on a new connection."""

    def __init__(self, stack: Stack) -> None:
        self._url, self._key = stack.url, stack.key
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.versions: list[int] = []
        self.failures: list[str] = []

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        body = {"model": "digits", "inputs": digits(0)}
        while not self._over.wait(0.02):
            answer = httpx.post(
                f"{self._url}/predict",
                json=body,
                headers={"Authorization": f"Bearer {self._key}"},
                timeout=30,
            )
            if answer.status_code == 200:
                self.versions.append(answer.json()["version"])
            else:
                self.failures.append(f"{answer.status_code}: {answer.text}")


def _metric(text: str, name: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    )
