"""What is asked wrongly is answered in one line, and changes nothing."""

from __future__ import annotations

import signal
import socket
import time

import httpx
import pytest

from tests.cli import Commands
from tests.functional.deployment import Deployment

pytestmark = pytest.mark.timeout(600)


def test_without_a_service(empty: Deployment) -> None:
    said = empty.fails("models", LETHE_URL="http://127.0.0.1:9")
    assert "no service answers at http://127.0.0.1:9" in said
    assert "lethe serve" in said


def test_over_http(embedded: Deployment, here: Commands) -> None:
    embedded.serve()
    here.variables = {"LETHE_URL": embedded.url, "LETHE_HOME": str(embedded.home)}
    assert "no model 'nope'" in here.fails("erase", "nope", "--subject", "x")
    assert "give one of --subject, --samples and --csv" in here.fails("erase", "digits")
    assert "unknown strategy 'magic'" in here.fails(
        "erase", "digits", "--subject", "subject-1", "--strategy", "magic"
    )
    nobody = here.json("erase", "digits", "--subject", "nobody at all")
    assert (nobody["status"], nobody["outcome"]) == ("completed", "no_data_found")
    assert "names no sample" in here.fails("erase", "digits", "--samples", "-", stdin="\n")
    assert "No such file" in here.fails("erase", "digits", "--samples", "missing.txt")
    assert "No such file" in here.fails("predict", "digits", "missing.png")
    text = embedded.folder / "text.png"
    text.write_text("not a picture")
    assert "images[0] is neither PNG nor JPEG" in here.fails("predict", "digits", str(text))
    assert "no job job_x" in here.fails("jobs", "job_x")
    assert "no model 'nope'" in here.fails("models", "nope")
    said = here.fails("models", LETHE_API_KEY="key_x.wrong")
    assert "not known" in said
    assert "LETHE_API_KEY" in said
    assert here.json("jobs") == []
    key = here.ok("keys", "create", "reader", "--scope", "read").strip()
    assert "the key has read" in here.fails(
        "erase", "digits", "--subject", "subject-1", LETHE_API_KEY=key
    )
    here.ok("keys", "revoke", key)
    time.sleep(1.0)  # longer than LETHE_POLL_SECONDS: by then the service has asked again
    assert "revoked" in here.fails("models", LETHE_API_KEY=key)
    raw_calls(embedded)


def raw_calls(embedded: Deployment) -> None:
    """What only a program that is wrong would send."""
    key = (embedded.home / "api-key").read_text().strip()
    with httpx.Client(base_url=embedded.url, headers={"Authorization": f"Bearer {key}"}) as http:
        for body in (b"", b"[]", b"{", b'{"model": 7, "subject_id": "x"}', b'{"model": "digits"}'):
            answer = http.post("/erasure-requests", content=body)
            assert answer.status_code in (400, 422), (body, answer.text)
            assert answer.headers["Content-Type"] == "application/problem+json"
        huge = http.post("/erasure-requests", content=b"x" * (33 * 1024 * 1024))
        assert huge.status_code == 413


def test_a_taken_port(embedded: Deployment) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = embedded.fails("serve", "--port", str(taken.getsockname()[1]))
    assert "Address already in use; choose another --port" in said


def test_a_corrupt_checkpoint_serves_nothing_and_says_so(embedded: Deployment) -> None:
    for path in (embedded.home / "store" / "checkpoints").rglob("*.safetensors"):
        damaged = bytearray(path.read_bytes())
        damaged[-1] ^= 1
        path.write_bytes(damaged)
    process = embedded.start("serve", "--port", "0")
    embedded.url = process.wait_for("Serving on").split()[-1]
    until = time.monotonic() + 30
    while True:
        try:
            answer = httpx.get(f"{embedded.url}/readyz")
            if "digest" in answer.text or time.monotonic() > until:
                break
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    assert answer.status_code == 503
    assert process.end(signal.SIGINT) == 0
