"""The public client of the Open Inference Protocol, sync and asyncio, against a real server."""

from __future__ import annotations

import ast
import asyncio
import base64
import gc
import io
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as sync
import tritonclient.http.aio as aio
import uvicorn
from numpy.typing import NDArray
from PIL import Image
from tritonclient.utils import InferenceServerException

from core import keys
from core.backend import open_backend
from core.settings import Settings
from service.app import create_app
from service.inference.open_inference_calls import CALLS
from tests.conftest import SECRET

# The asyncio client looks at the status of a readiness call and never reads what follows it.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed connection:ResourceWarning")

OUTPUTS = ("probabilities", "class_index", "label", "uncertainty")
GREY = np.random.default_rng(7).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
PIXELS = GREY.astype(np.float32) / np.float32(255)


@dataclass
class Service:
    """A server, and its keys."""

    url: str
    key: str
    reader: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def predict(self, pixels: NDArray[Any]) -> Any:
        """What POST /predict answers, which has tests of its own."""
        body = {"model": "digits", "inputs": pixels.tolist()}
        return httpx.post(f"{self.url}/predict", json=body, headers=self.headers).json()


@pytest.fixture(scope="module")
def service(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("open-inference") / "home"
    shutil.copytree(trained, home)
    settings = Settings(home=home, secret=SECRET, max_body_bytes=100_000)
    backend = open_backend(settings)
    with backend.db.transaction() as tx:
        key, reader = (keys.create(tx, scope, [scope])[1] for scope in ("predict", "read"))
    backend.close()
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(settings), log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    found = Service(f"http://127.0.0.1:{listening.getsockname()[1]}", key, reader)
    try:
        assert httpx.get(f"{found.url}/readyz", timeout=60).status_code == 200
        yield found
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


class Client:
    """Either client, called alike; the key goes along with each call unless it says otherwise."""

    def __init__(self, client: Any, run: Callable[[Any], Any], headers: dict[str, str]) -> None:
        self._client, self._run, self._headers = client, run, headers

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            kwargs.setdefault("headers", dict(self._headers))
            return self._run(getattr(self._client, name)(*args, **kwargs))

        return call

    def refused(self, name: str, *args: Any, **kwargs: Any) -> str:
        """The error that a call ends in."""
        with pytest.raises(InferenceServerException) as caught:
            getattr(self, name)(*args, **kwargs)
        return str(caught.value)


@pytest.fixture(scope="module", params=["sync", "asyncio"])
def client(request: pytest.FixtureRequest, service: Service) -> Iterator[Client]:
    url = service.url.removeprefix("http://")
    if request.param == "sync":
        with sync.InferenceServerClient(url) as found:
            yield Client(found, lambda value: value, service.headers)
        return

    async def opened() -> aio.InferenceServerClient:
        return aio.InferenceServerClient(url)

    with asyncio.Runner() as runner:
        found = runner.run(opened())
        yield Client(found, runner.run, service.headers)
        runner.run(found.close())
    gc.collect()  # those connections, while that is still let pass


def image(array: NDArray[Any], datatype: str, *, binary: bool = True) -> sync.InferInput:
    found = sync.InferInput("image", list(array.shape), datatype)
    return found.set_data_from_numpy(array, binary_data=binary)


def texts(array: NDArray[Any]) -> list[str]:
    return [each if isinstance(each, str) else each.decode() for each in array.ravel()]


def check(result: Any, expected: Any) -> None:
    """The answer says what /predict says."""
    rows = expected["predictions"]
    probabilities = [row["probabilities"] for row in rows]
    np.testing.assert_allclose(result.as_numpy("probabilities"), probabilities, atol=1e-6)
    labels = [row["label"] for row in rows]
    assert texts(result.as_numpy("label")) == labels
    assert result.as_numpy("class_index").tolist() == [int(label) for label in labels]
    uncertainty = [row["uncertainty"] for row in rows]
    np.testing.assert_allclose(result.as_numpy("uncertainty"), uncertainty, atol=1e-5)
    response = result.get_response()
    assert (response["model_name"], response["model_version"]) == ("digits", "1")
    assert response["parameters"]["digest"] == expected["digest"]


def test_health_needs_no_key(client: Client) -> None:
    for headers in (None, {"Authorization": "Bearer nonsense"}):
        assert client.is_server_live(headers=headers)
        assert client.is_server_ready(headers=headers)


def test_readiness_of_a_model(client: Client) -> None:
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", "1")
    assert not client.is_model_ready("digits", "2")
    assert not client.is_model_ready("faces")
    assert not client.is_model_ready("digits", headers=None)


def test_metadata_configuration_and_index_agree(client: Client) -> None:
    server = client.get_server_metadata()
    assert server["name"] == "lethe"
    assert "binary_tensor_data" in server["extensions"]
    metadata = client.get_model_metadata("digits")
    assert client.get_model_metadata("digits", "1") == metadata
    assert (metadata["name"], metadata["versions"]) == ("digits", ["1"])
    (taken,) = metadata["inputs"]
    assert (taken["name"], taken["datatype"], taken["shape"]) == ("image", "FP32", [-1, 1, 8, 8])
    assert list(taken["parameters"]["datatypes"]) == ["FP32", "UINT8", "BYTES"]
    assert [(each["name"], each["datatype"], each["shape"]) for each in metadata["outputs"]] == [
        ("probabilities", "FP32", [-1, 10]),
        ("class_index", "INT64", [-1]),
        ("label", "BYTES", [-1]),
        ("uncertainty", "FP32", [-1]),
    ]
    config = client.get_model_config("digits")
    assert client.get_model_config("digits", "1") == config
    assert config["input"] == [{"name": "image", "data_type": "TYPE_FP32", "dims": [1, 8, 8]}]
    assert [each["name"] for each in config["output"]] == list(OUTPUTS)
    assert config["max_batch_size"] == taken["parameters"]["max_images"]
    index = client.get_model_repository_index()
    assert index == [{"name": "digits", "version": "1", "state": "READY", "reason": ""}]


@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("array", "datatype"), [(PIXELS, "FP32"), (GREY, "UINT8")])
def test_the_same_answer_in_every_form(
    client: Client,
    service: Service,
    array: NDArray[Any],
    datatype: str,
    binary: bool,
    packed: str | None,
) -> None:
    expected = service.predict(PIXELS)
    packing = {"request_compression_algorithm": packed, "response_compression_algorithm": packed}
    inputs = [image(array, datatype, binary=binary)]
    check(client.infer("digits", inputs, **packing), expected)
    outputs = [sync.InferRequestedOutput(name, binary_data=not binary) for name in OUTPUTS]
    check(client.infer("digits", inputs, "1", outputs=outputs, **packing), expected)


@pytest.mark.parametrize("binary", [True, False])
def test_image_files(client: Client, service: Service, binary: bool) -> None:
    files = []
    for pixels in GREY[:, 0]:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        files.append(buffer.getvalue())
    if not binary:
        files = [base64.b64encode(each) for each in files]
    result = client.infer("digits", [image(np.array(files, object), "BYTES", binary=binary)])
    check(result, service.predict(PIXELS))


def test_a_large_answer_is_packed_for_whoever_reads_that(client: Client) -> None:
    many = np.tile(PIXELS, (20, 1, 1, 1))
    result = client.infer("digits", [image(many, "FP32")])
    assert result.as_numpy("probabilities").shape == (60, 10)


@pytest.mark.parametrize("binary", [True, False])
def test_only_what_is_asked_for(client: Client, binary: bool) -> None:
    outputs = [sync.InferRequestedOutput("uncertainty", binary_data=binary)]
    result = client.infer("digits", [image(PIXELS, "FP32")], outputs=outputs, request_id="call 7")
    assert result.as_numpy("uncertainty").shape == (3,)
    assert result.as_numpy("probabilities") is None
    assert result.get_response()["id"] == "call 7"


@pytest.mark.parametrize("binary", [True, False])
def test_the_likeliest_classes(client: Client, service: Service, binary: bool) -> None:
    outputs = [sync.InferRequestedOutput("probabilities", binary_data=binary, class_count=2)]
    result = client.infer("digits", [image(PIXELS, "FP32")], outputs=outputs)
    found = result.as_numpy("probabilities")
    assert found.shape == (3, 2)
    for texts_of_row, row in zip(found, service.predict(PIXELS)["predictions"], strict=True):
        first, second = (text.split(":") for text in texts(texts_of_row))
        assert first[2] == row["label"]
        assert float(first[0]) == pytest.approx(row["probability"], abs=1e-6)
        assert float(second[0]) == pytest.approx(sorted(row["probabilities"])[-2], abs=1e-6)


def test_parameters_that_mean_nothing_here_are_left_alone(client: Client) -> None:
    result = client.infer(
        "digits",
        [image(PIXELS, "FP32")],
        priority=2,
        timeout=30_000_000,
        sequence_id=9,
        sequence_start=True,
        sequence_end=True,
        parameters={"customer": "a", "trial": 1},
        query_params={"trace": "a b"},
    )
    assert result.as_numpy("label").shape == (3,)


def test_draws_of_z_on_request(client: Client) -> None:
    named = [sync.InferRequestedOutput("mutual_information")]
    few = client.infer("digits", [image(PIXELS, "FP32")], outputs=named)
    information = few.as_numpy("mutual_information")
    assert information.shape == (3,)
    assert (information >= 0).all()
    every = client.infer("digits", [image(PIXELS, "FP32")], parameters={"samples": 64})
    assert (every.as_numpy("mutual_information") <= every.as_numpy("uncertainty") + 1e-6).all()
    plain = client.infer("digits", [image(PIXELS, "FP32")])
    assert plain.as_numpy("mutual_information") is None
    probabilities = plain.as_numpy("probabilities")
    entropy = -(probabilities * np.log(probabilities)).sum(axis=1)
    np.testing.assert_allclose(plain.as_numpy("uncertainty"), entropy, atol=1e-5)


def test_what_the_client_writes_and_reads_by_itself(service: Service) -> None:
    body, json_length = sync.InferenceServerClient.generate_request_body([image(PIXELS, "FP32")])
    headers = service.headers | {"Inference-Header-Content-Length": str(json_length)}
    url = f"{service.url}/v2/models/digits/infer"
    answer = httpx.post(url, content=body, headers=headers)
    result = sync.InferenceServerClient.parse_response_body(
        answer.content, header_length=int(answer.headers["Inference-Header-Content-Length"])
    )
    check(result, service.predict(PIXELS))
    assert answer.headers["X-Model-Version"] == "1"


def test_many_at_once(service: Service) -> None:
    expected = service.predict(PIXELS)
    with sync.InferenceServerClient(service.url.removeprefix("http://"), concurrency=4) as client:
        waiting = [
            client.async_infer("digits", [image(PIXELS, "FP32")], headers=service.headers)
            for _ in range(8)
        ]
        for each in waiting:
            check(each.get_result(timeout=30), expected)


def test_statistics_count_what_was_asked(client: Client) -> None:
    def counted(**which: str) -> Any:
        (found,) = client.get_inference_statistics(**which)["model_stats"]
        return found

    client.infer("digits", [image(PIXELS, "FP32")])
    before = counted()
    client.infer("digits", [image(PIXELS, "FP32")])
    client.refused("infer", "digits", [image(PIXELS[:, :, :4], "FP32")])
    after = counted(model_name="digits", model_version="1")
    assert counted(model_name="digits") == after
    assert (after["name"], after["version"]) == ("digits", "1")
    assert after["inference_count"] == before["inference_count"] + 3
    assert after["execution_count"] == before["execution_count"] + 1
    assert after["last_inference"] >= before["last_inference"] > 0
    for part, more in (("success", 1), ("compute_infer", 1), ("fail", 1)):
        was, now = before["inference_stats"][part], after["inference_stats"][part]
        assert now["count"] == was["count"] + more
        assert now["ns"] > was["ns"]
    assert "[404]" in client.refused("get_inference_statistics", "faces")


def test_settings_can_be_read(client: Client) -> None:
    assert client.get_log_settings()["log_errors"] is True
    assert client.get_trace_settings()["trace_level"] == ["OFF"]
    assert client.get_trace_settings("digits")["trace_level"] == ["OFF"]
    assert "[404]" in client.refused("get_trace_settings", "faces")
    assert client.get_system_shared_memory_status() == []
    assert client.get_cuda_shared_memory_status() == []


@pytest.mark.parametrize(
    ("call", "args", "said"),
    [
        ("load_model", ["digits"], "serves what the registry has published"),
        ("unload_model", ["digits"], "serves what the registry has published"),
        ("update_log_settings", [{"log_verbose_level": 1}], "LETHE_LOG"),
        ("update_trace_settings", ["digits", {"trace_level": ["OFF"]}], "OTEL_EXPORTER"),
        ("update_trace_settings", [], "OTEL_EXPORTER"),
        ("get_system_shared_memory_status", ["a"], "shared memory is not offered"),
        ("register_system_shared_memory", ["a", "b", 9], "shared memory is not offered"),
        ("unregister_system_shared_memory", [], "shared memory is not offered"),
        ("unregister_system_shared_memory", ["a"], "shared memory is not offered"),
        ("get_cuda_shared_memory_status", ["a"], "shared memory is not offered"),
        ("register_cuda_shared_memory", ["a", "aGFuZGxl", 0, 9], "shared memory is not offered"),
        ("unregister_cuda_shared_memory", [], "shared memory is not offered"),
        ("unregister_cuda_shared_memory", ["a"], "shared memory is not offered"),
    ],
)
def test_what_does_not_apply_is_refused(
    client: Client, call: str, args: list[Any], said: str
) -> None:
    refused = client.refused(call, *args)
    assert refused.startswith("[400] ")
    assert said in refused


def test_errors_say_what_to_do(client: Client, service: Service) -> None:
    good = [image(PIXELS, "FP32")]
    assert "[401] send an API key" in client.refused("infer", "digits", good, headers=None)
    unknown = {"Authorization": "Bearer key_x.y"}
    assert "[401] this API key is not known" in client.refused(
        "get_server_metadata", headers=unknown
    )
    reader = {"Authorization": f"Bearer {service.reader}"}
    said = client.refused("infer", "digits", good, headers=reader)
    assert said == "[403] this needs the scope 'predict'; the key has read"
    assert "[404] there is no model 'faces'" in client.refused("infer", "faces", good)
    assert "[404]" in client.refused("infer", "digits", good, "2")
    assert "[400] path: expected a version's number" in client.refused("infer", "digits", good, "x")
    large = image(np.zeros((500, 1, 8, 8), np.float32), "FP32")
    assert "[413] the body is larger than 100000" in client.refused("infer", "digits", [large])
    packed = client.refused("infer", "digits", [large], request_compression_algorithm="gzip")
    assert "[413] the body unpacks to more than 100000 bytes" in packed
    small = [image(np.zeros((1, 1, 4, 4), np.float32), "FP32")]
    said = client.refused("infer", "digits", small)
    assert said == "[400] inputs[0].shape: expected [N, 1, 8, 8], got [1, 1, 4, 4]"
    memory = sync.InferInput("image", [1, 1, 8, 8], "FP32").set_shared_memory("region", 256)
    assert "[400] inputs[0].parameters: shared memory" in client.refused(
        "infer", "digits", [memory]
    )


def test_the_examples_of_the_reference(
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LETHE_URL", service.url)
    monkeypatch.setenv("LETHE_API_KEY", service.key)
    page = (Path(__file__).parents[3] / "docs/reference/open-inference.md").read_text()
    (block,) = re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    commands = "\n".join(line.removeprefix("$ ") for line in block.splitlines())
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=tmp_path, capture_output=True, check=True
    )
    assert b'"label"' in done.stdout
    assert b"probabilities" in (tmp_path / "answer.bin").read_bytes()
    (program,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    exec(compile(program, "open-inference.md", "exec"), {})
    rows = capsys.readouterr().out.splitlines()
    assert [len(ast.literal_eval(row)) for row in rows] == [2, 2]


def test_the_reference_names_every_call_and_tensor() -> None:
    page = (Path(__file__).parents[3] / "docs/reference/open-inference.md").read_text()
    listed = page.replace("[/versions/{version}]", "")
    for template in CALLS:
        if not re.search("/versions/|repository/models|/region/|/unregister", template):
            assert template in listed, template
    for name in (*OUTPUTS, "image", "FP32", "UINT8", "BYTES"):
        assert name in page
