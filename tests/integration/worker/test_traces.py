"""One trace from POST to swap, over every process that takes part; nothing where it is off."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import select

from core import tracing
from core.errors import SettingsError
from core.records import ErasureRequest
from service.app import create_app
from tests.integration.conftest import Erase
from worker import tasks
from worker.engine import Engine

FROM = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    tracing.install(provider)
    yield found
    tracing.close()


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tracing.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)


def post(api: TestClient, subject: str) -> None:
    answer = api.post(
        "/erasure-requests",
        json={"model": "digits", "subject_id": subject},
        headers={"traceparent": FROM},
    )
    assert answer.status_code == 202, answer.text


def wait_for(api: TestClient, version: int) -> None:
    until = time.monotonic() + 30
    while api.get("/readyz").json()["models"]["digits"]["version"] != version:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_from_post_to_swap(engine: Engine, exporter: InMemorySpanExporter) -> None:
    app = create_app(engine.backend.settings.model_copy(update={"batch_seconds": 0.5}))
    with TestClient(app) as api:
        api.headers["Authorization"] = f"Bearer {app.state.first_key.text}"
        exporter.clear()
        post(api, "subject-20")
        post(api, "subject-21")
        time.sleep(0.6)
        assert tasks.work(engine, "by hand")
        wait_for(api, 2)
        spans = {span.name: span for span in exporter.get_finished_spans()}
    assert {*spans} >= {
        *("POST /erasure-requests", "job", "claim", "swap"),
        *("forget", "verify", "publish", "destroy"),
    }
    first = next(s for s in exporter.get_finished_spans() if s.name == "POST /erasure-requests")
    job = spans["job"]
    for name, span in spans.items():
        assert f"{span.context.trace_id:032x}" == FROM.split("-")[1], name
    assert parent_of(first) == int(FROM.split("-")[2], 16)
    assert parent_of(job) == parent_of(spans["swap"]) == first.context.span_id
    for name in ("claim", "forget", "verify", "publish", "destroy"):
        assert parent_of(spans[name]) == job.context.span_id
    assert len(job.links) == 1
    assert "subject" not in str([dict(span.attributes or {}) for span in spans.values()])


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def test_off_it_costs_nothing(engine: Engine, erase: Erase) -> None:
    assert tracing.span("anything", parent=FROM) is tracing.span("another", job="1")
    assert tracing.traceparent() is None
    assert not tracing.enabled()
    erase("subject-20")
    with engine.backend.db.reading() as session:
        assert session.scalars(select(ErasureRequest.traceparent)).all() == [None]


def test_a_base_install_imports_none_of_it() -> None:
    code = (  # as where nothing of it is installed; redis takes what it finds
        "import sys; sys.modules['opentelemetry.sdk'] = None;"
        "import service.app, worker.tasks; print('all is there')"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LETHE_", "OTEL_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "all is there"


def test_an_endpoint_without_the_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracing.ENDPOINTS[0], "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"install `lethe\[otel\]`"):
        tracing.configure("lethe")


def test_spans_go_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(tracing.ENDPOINTS[0], f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        tracing.configure("lethe-test")
        assert tracing.enabled()
        with tracing.span("outer", job="job-1"):
            assert (tracing.traceparent() or "").startswith("00-")
        tracing.close()
        server.shutdown()
    [(path, body)] = received
    assert path == "/v1/traces"
    assert b"lethe-test" in body
    assert b"outer" in body
    assert not tracing.enabled()
