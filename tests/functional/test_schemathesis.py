"""The service keeps to its OpenAPI document: no 500, no answer that is not documented.

Schemathesis draws calls from the document, well-formed ones and malformed ones; here some of them
are given names that exist, so that they get past the door. Each answer must have a status, a media
type, headers and a body that the document names for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from core import deliveries, holds, keys, status_links
from core.backend import open_backend
from core.settings import Settings
from tests import factories
from tests.conftest import SECRET
from tests.digits import copy_digits
from tests.functional.deployment import Deployment
from worker import tasks
from worker.engine import Engine

pytestmark = pytest.mark.timeout(900)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
LATER = 10
"""Erasures that wait, for calls that cancel, reject or extend one."""


NUMBER, TIME = "a7551968-d5d6-44b2-9831-815ac9017798", "2026-10-02T15:00:00Z"


def opendsr_body(version: str, subject: int) -> dict[str, Any]:
    """What a body by OpenDSR must have to be taken in, but for its number and time."""
    value = f"subject-{subject}"
    named = {"identity_type": "email", "identity_format": "raw", "identity_value": value}
    return {
        "regulation": "gdpr",
        "subject_request_type": "erasure",
        "subject_identities": [named],
        "api_version": version,
        "status_callback_urls": [],
        "extensions": {},
    }


@dataclass
class Service:
    """A service that runs, and what is in it."""

    url: str
    key: str
    ended: dict[str, str]
    """The request_id and job_id of an erasure that is completed."""
    waiting: dict[str, list[str]]
    """The same of erasures that no worker has taken up."""
    known: dict[str, str]
    """What other parameters of a path may name: a key, a hold, a delivery, ..."""

    def name_what_exists(self, case: Case, pick: int) -> None:
        """Put names of what exists into a call, wherever it has the place for one."""
        for name in set(case.path_parameters or ()) & {"request_id", "job_id"}:
            # What follows a job that waits would wait with it.
            follows = case.method == "GET" and name == "job_id"
            open_ones = [] if follows else self.waiting[name]
            case.path_parameters[name] = [self.ended[name], *open_ones][pick % (1 + len(open_ones))]
        for name, value in self.known.items():
            if name in (case.path_parameters or ()):
                case.path_parameters[name] = value
        if isinstance(case.body, dict):
            case.body = meant(case.operation.label, case.body, pick)
        if case.operation.label == "POST /predict":
            for name in {"model", "version"} & set(case.query or ()):
                del case.query[name]


def meant(label: str, body: dict[str, Any], pick: int) -> dict[str, Any]:
    """A body that names what exists, so that it is looked at and not only looked through."""
    match label:
        case "POST /erasure-requests":
            named = {"model": "digits", "subject_id": f"subject-{50 + pick}", "sample_ids": None}
        case "POST /erasure-requests/bulk":
            many = [{"model": "digits", "subject_id": f"subject-{90 + n}"} for n in range(pick)]
            return {"items": [*many, {"model": "digits"}, None]}
        case "POST /erasure-requests/{request_id}/reject":
            named = {"refusal": "other"}
        case "POST /legal-holds":
            named = {"model": "digits", "subject_id": f"subject-{70 + pick}", "sample_ids": None}
        case "POST /models/{name}/rollback":
            named = {"version": 1}
        case "POST /keys":
            named = {"scopes": ["read"], "model": "digits"}
        case "POST /predict":
            return {"inputs": [[[[pick / 20] * 8] * 8]] * (1 + pick % 3)}
        case "POST /requests" | "POST /v2/requests":
            named = opendsr_body("2.0", 30 + pick)
        case "POST /v1/opengdpr_requests":
            named = opendsr_body("1.0", 30 + pick)
        case _:
            return body
    return body | named


@pytest.fixture
def service(empty: Deployment, trained: Path) -> Iterator[Service]:
    empty.variables["LETHE_SECRET"] = SECRET
    settings = Settings(home=empty.home, secret=SECRET)
    copy_digits(trained, settings)
    backend = open_backend(settings, send=lambda _: None)
    done = factories.submit(backend, "subject-20")
    assert tasks.work(Engine(backend, "cpu"), "by hand") == done.job_ids[0]
    asked = [factories.submit(backend, f"subject-{number}") for number in range(LATER)]
    # Two that stay as they are: the newest status link of one, the callbacks of the other.
    apart = factories.submit(backend, "subject-110")
    factories.submit(backend, "subject-111", callback_url="https://8.8.8.8/done")
    new = holds.NewHold("digits", "a case", subject_id="subject-112")
    hold = holds.place(backend, new)
    with backend.db.transaction() as tx:
        spare, _ = keys.create(tx, "spare", ["read"])
        link = status_links.make(tx, backend.identities, apart.request.id)
        delivery = deliveries.listed(tx.session)[0]
    backend.close()
    process = empty.serve()
    key = (empty.home / "api-key").read_text().strip()
    dsr = opendsr_body("2.0", 113) | {"subject_request_id": NUMBER, "submitted_time": TIME}
    asked_by = {"Authorization": f"Bearer {key}"}
    posted = requests.post(f"{empty.url}/requests", json=dsr, headers=asked_by, timeout=30)
    assert posted.status_code == 201, posted.text
    yield Service(
        empty.url,
        key,
        {"request_id": done.request.id, "job_id": done.job_ids[0]},
        {
            "request_id": [each.request.id for each in asked],
            "job_id": [each.job_ids[0] for each in asked],
        },
        {
            "name": "digits",
            "key_id": spare.id,
            "secret": link.secret,
            "hold_id": hold.id,
            "delivery_id": delivery.id,
            "number": NUMBER,
        },
    )
    assert "Traceback" not in process.text


@dataclass
class Found:
    """What an operation answered, with a key and without, and what was wrong with it."""

    with_key: Counter[int] = field(default_factory=Counter)
    without: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


@pytest.mark.parametrize("examples", [8, pytest.param(60, marks=pytest.mark.long)])
def test_every_answer_is_documented(service: Service, examples: int) -> None:
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    # Or malformed calls are mostly those without the key, which are made here beside the others.
    schema.config.generation.update(with_security_parameters=False)
    operations = [each.ok() for each in schema.get_all_operations()]
    assert len(operations) > 25
    shallow, answered = [], Found()
    with requests.Session() as session:
        for operation in operations:
            found = tried(service, session, operation, examples)
            answered.with_key += found.with_key
            answered.without += found.without
            assert not found.faults, f"{operation.label}: {found.faults[0]}"
            secured = bool(operation.definition.raw.get("security"))
            assert not secured or not any(status < 400 for status in found.without), operation.label
            if set(found.with_key) <= {400, 404, 422}:
                shallow.append(operation.label)
    print(f"{len(operations)} operations: {answered}")  # noqa: T201  # shown by pytest -rP
    assert not shallow, "calls that never got past the door"


def takes_more_than_a_name(operation: APIOperation) -> bool:
    """Whether a call of it can be malformed: any text may be a name.

    Hypothesis would try five hundred times, for seconds, to draw what there is not.
    """
    raw = operation.definition.raw
    return "requestBody" in raw or any(each["in"] != "path" for each in raw.get("parameters", ()))


def tried(
    service: Service, session: requests.Session, operation: APIOperation, examples: int
) -> Found:
    """Call an operation `examples` times in each mode with the key, a quarter of that without."""
    found = Found()
    modes = [GenerationMode.POSITIVE]
    if takes_more_than_a_name(operation):
        modes.append(GenerationMode.NEGATIVE)
    for mode in modes:
        for key, count in ((service.key, examples), ("", max(2, examples // 4))):

            @settings(
                max_examples=count,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(
                case=operation.as_strategy(generation_mode=mode),
                real=st.booleans(),
                pick=st.integers(0, 19),
            )
            def call(key: str, case: Case, real: bool, pick: int) -> None:
                if real:
                    service.name_what_exists(case, pick)
                headers = {"Authorization": f"Bearer {key}"} if key else {}
                response = case.call(headers=headers, session=session, timeout=30)
                (found.with_key if key else found.without)[response.status_code] += 1
                try:
                    # 504 is right where the call itself allowed less time than answering takes.
                    late = response.status_code == 504 and "x-request-timeout" in case.headers
                    case.validate_response(response, checks=CHECKS[1:] if late else CHECKS)
                except FailureGroup as fault:
                    found.faults.append(f"{fault}\n{fault.exceptions}")

            with suppress(Unsatisfiable):  # nothing to do wrong where nothing is taken
                call(key)
    return found
