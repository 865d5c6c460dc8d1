"""Made-up bodies, headers and paths: refused in the protocol's form, never a fault of ours."""

from __future__ import annotations

import json

from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.integration.inference.wire import INFER, error_of

HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Inference-Header-Content-Length": st.one_of(
            st.integers(-2, 300).map(str), st.from_regex(r"[!-~]{0,12}", fullmatch=True)
        ),
        "Content-Encoding": st.sampled_from(["gzip", "deflate", "br", "identity", ""]),
        "Accept-Encoding": st.from_regex(r"(gzip|deflate|br|\*|;q=|0|,| ){0,6}", fullmatch=True),
        "Content-Type": st.sampled_from(["text/plain", "application/json", "multipart/form-data"]),
    },
)
PATHS = st.lists(
    st.sampled_from(
        [
            "models",
            "digits",
            "versions",
            "1",
            "9",
            "infer",
            "ready",
            "stats",
            "config",
            "trace",
            "setting",
            "repository",
            "index",
            "load",
            "region",
            "..",
            "%00",
            "%ff",
            "",
            "é",
        ]
    ),
    max_size=6,
)
BODIES = st.one_of(
    st.binary(max_size=80),
    st.fixed_dictionaries(
        {},
        optional={
            "inputs": st.lists(
                st.fixed_dictionaries(
                    {
                        "name": st.just("image"),
                        "datatype": st.sampled_from(["FP32", "UINT8", "BYTES"]),
                    },
                    optional={
                        "shape": st.sampled_from(
                            [[1, 1, 8, 8], [1], [2**31, 2**31], [-1, 1, 8, 8], [2**62, 1, 8, 8]]
                        ),
                        "data": st.sampled_from(
                            [[0.5] * 64, [300] * 64, [[[[0] * 8] * 8]], [[[0] * 8] * 8], ["iVBO"]]
                        ),
                        "parameters": st.dictionaries(
                            st.sampled_from(["binary_data_size", "classification", "x"]),
                            st.sampled_from([0, 64, 256, 2**40, -1, "4", None]),
                        ),
                    },
                ),
                max_size=2,
            ),
            "outputs": st.lists(
                st.fixed_dictionaries({"name": st.sampled_from(["label", "probabilities", "x"])}),
                max_size=2,
            ),
            "id": st.text(max_size=3),
        },
    ).map(lambda document: json.dumps(document).encode()),
)


@examples(max_examples=150)
@given(BODIES, st.binary(max_size=70), HEADERS)
def test_no_body_and_no_header_is_our_fault(
    client: TestClient, body: bytes, more: bytes, headers: dict[str, str]
) -> None:
    answer = client.post(INFER, content=body + more, headers=headers)
    if answer.status_code != 200:
        assert answer.status_code in (400, 413, 415)
        error_of(answer, answer.status_code)


@examples(max_examples=100)
@given(PATHS, st.sampled_from(["GET", "POST", "HEAD", "DELETE", "PUT"]))
def test_no_path_is_our_fault(client: TestClient, parts: list[str], method: str) -> None:
    answer = client.request(method, "/v2/" + "/".join(parts))
    if not answer.is_success and answer.url.path.startswith("/v2/"):
        assert answer.status_code in (400, 404, 405)
        if method != "HEAD":
            error_of(answer, answer.status_code)
