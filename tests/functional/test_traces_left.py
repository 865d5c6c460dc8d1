"""Nothing that a whole run leaves behind names a person: logs, database, broker, files.

A subject's identifier is nowhere, from the import on. Sample ids are in the sample store alone,
and those of erased samples are in no file at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis
from psycopg import sql

from tests.functional.conftest import SECRET
from tests.functional.deployment import Deployment
from tests.functional.launching import Launch
from tests.unit.lethe.test_sources import parquet

PEOPLE = [f"Jonas.Vogelsang+{i:03}@example.org" for i in range(100)]
BY_SUBJECT, BY_SAMPLES, NOBODY = PEOPLE[7], PEOPLE[8], "Greta.Unbekannt@example.org"
SAMPLES = [f"passport-scan-{i:03}.png" for i in range(200)]
ERASED = {*SAMPLES[14:16], *SAMPLES[16:18]}
"""Two samples of each of the two; see `two_each`."""


@pytest.fixture(params=[pytest.param("embedded", marks=pytest.mark.long), "production"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path, launch: Launch) -> Iterator[Deployment]:
    variables = {"LETHE_HOME": str(tmp_path / "home"), "LETHE_SECRET": SECRET}
    if request.param == "production":
        variables |= {
            "LETHE_DATABASE_URL": request.getfixturevalue("postgres_db"),
            "LETHE_BROKER_URL": request.getfixturevalue("redis_url"),
        }
    deployment = Deployment(tmp_path, variables, launch)
    yield deployment
    deployment.close()


def two_each(folder: Path) -> Path:
    """A Parquet file that names people and their samples."""
    path = folder / "people.parquet"
    parquet(path, rows=200, subject=[PEOPLE[i // 2] for i in range(200)], name=SAMPLES)
    return path


def wrong(api: httpx.Client) -> None:
    """Calls that go wrong and name somebody in every place that a caller can."""
    name, sample = PEOPLE[3], SAMPLES[6]
    refused = [
        api.post("/erasure-requests", json={"model": "scans", "sample_ids": [name, "no-such"]}),
        api.post("/erasure-requests", json={"model": name, "subject_id": name}),
        api.post("/erasure-requests", json={"model": "scans", "subject_id": [name]}),
        api.post("/erasure-requests", json={"model": "scans", "subject_id": name + "\0"}),
        api.post("/erasure-requests", content=f'{{"model": "scans", "{name}'.encode()),
        api.post("/erasure-requests", json={"model": "scans", name: sample}),
        api.post("/erasure-requests", headers={"X-Long": name * 4000}, json={}),
        api.get(f"/erasure-requests/{name}", params={"subject": name}),
        api.get(f"/{name}", params={"sample": sample}),
        api.get("/jobs", params={"model": name, "after": sample}),
        api.post("/predict", json={"inputs": [name], name: sample}),
        api.post("/predict", content=name.encode(), headers={"Content-Type": "image/png"}),
        api.get("/jobs", headers={"Authorization": f"Bearer {name}"}),
        api.get("/livez", headers={"X-Request-ID": f"{name} {sample}"}),
    ]
    assert [each.status_code < 400 for each in refused].count(True) == 1, refused


def dumped(deployment: Deployment) -> dict[str, bytes]:
    """Every file under the folder, and what PostgreSQL and Redis hold, by where it is."""
    found = {
        str(path): path.read_bytes() for path in deployment.folder.rglob("*") if path.is_file()
    }
    url = deployment.variables.get("LETHE_DATABASE_URL")
    if url is None:
        return found
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for (table,) in tables:
            rows = connection.execute(
                sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table))
            )
            found[f"table {table}"] = repr(rows.fetchall()).encode()
    with redis.Redis.from_url(deployment.variables["LETHE_BROKER_URL"]) as broker:
        for key in broker.scan_iter():
            found[f"redis {key!r}"] = key + (broker.dump(key) or b"")
    return found


def forms(person: str) -> list[bytes]:
    """What names a person: the identifier, and the digests that requests may carry of it."""
    plain = person.encode()
    digests = [new(plain).hexdigest() for new in (hashlib.md5, hashlib.sha1, hashlib.sha256)]
    return [plain, *(digest.encode() for digest in digests)]


@pytest.mark.timeout(600)
def test_nothing_left_behind_names_a_person(fresh: Deployment) -> None:
    source = two_each(fresh.folder)
    fresh.ok("dataset", "import", "scans", "--from", f"parquet:{source}")
    source.unlink()
    fresh.ok("train", "scans", "--dataset", "scans", "--epochs", "3")
    scopes = [
        part for scope in ("erase", "read", "predict", "review") for part in ("--scope", scope)
    ]
    fresh.variables["LETHE_API_KEY"] = fresh.ok("keys", "create", "tests", *scopes).strip()
    fresh.serve()
    fresh.start("worker")
    headers = {"Authorization": f"Bearer {fresh.variables['LETHE_API_KEY']}"}
    with httpx.Client(base_url=fresh.url, headers=headers, timeout=30) as api:
        wrong(api)
        posted = api.post(
            "/erasure-requests",
            json={"model": "scans", "subject_id": BY_SUBJECT},
            headers={"Idempotency-Key": BY_SUBJECT, "X-Request-ID": "call-1"},
        )
        assert posted.status_code == 202, posted.text
        api.post("/erasure-requests", json={"model": "scans", "subject_id": NOBODY})
        for held in ({"subject_id": PEOPLE[20]}, {"sample_ids": SAMPLES[60:62]}):
            body = {"model": "scans", "reason": "case 7"} | held
            assert api.post("/legal-holds", json=body).status_code == 201
        refused = api.post("/erasure-requests", json={"model": "scans", "subject_id": PEOPLE[20]})
        assert refused.json()["refusal"] == "legal_hold"
        assert api.get(f"/erasure-requests/{refused.json()['id']}/answer").status_code == 200
    with fresh.client() as client:
        first = client.erasure_request(posted.json()["id"])
        named = client.erase("scans", sample_ids=sorted(ERASED - set(SAMPLES[14:16])))
        done = [client.wait(each, timeout=120) for each in (first, named)]
        assert [each.outcome for each in done] == ["erased", "erased"]
        [job_id, _] = [each.job_id for each in done]
    for process in fresh.processes:
        process.end()
    _no_name_is_left(fresh)
    _lines_carry_ids(fresh, job_id)


def _no_name_is_left(deployment: Deployment) -> None:
    found = dumped(deployment)
    assert sum(path.endswith(".log") for path in found) == 2
    for person in [*PEOPLE, NOBODY]:
        for form in forms(person):
            assert [where for where, data in found.items() if form in data] == []
    for sample in SAMPLES:
        where = {path for path, data in found.items() if sample.encode() in data}
        if sample in ERASED:
            assert where == set()
        else:
            assert where
            assert all("/store/samples/" in path for path in where)


def _lines_carry_ids(deployment: Deployment, job_id: str | None) -> None:
    """Each line is JSON; the call's id is found again on the worker's lines of its job."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for process in deployment.processes:
        said = [line for line in process.text.splitlines() if line.startswith("{")]
        lines[process.log.name.partition("-")[0]] = [json.loads(line) for line in said]
    [taken] = [line for line in lines["serve"] if line.get("job_ids") == [job_id]]
    assert (taken["event"], taken["request_id"]) == ("request taken in", "call-1")
    assert any(
        (line["request_id"], line["route"]) == ("call-1", "/erasure-requests")
        for line in lines["serve"]
        if line["event"] == "call"
    )
    of_job = [line for line in lines["worker"] if line.get("job_id") == job_id]
    assert [line["event"] for line in of_job][:1] == ["job claimed"]
    assert all(line["request_ids"] == ["call-1"] for line in of_job)
