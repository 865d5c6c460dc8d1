"""Bodies: unpacked within bounds, split where the header says, parsed only if not too full."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib

import pytest
from starlette.exceptions import HTTPException

from core.errors import Invalid
from service.inference import open_inference_body as bodies

TEXT = b'{"inputs": []}' * 100


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        (" GZip ", gzip.compress),
        ("deflate", zlib.compress),
        ("identity", bytes),
        ("", bytes),
    ],
)
def test_what_was_packed_is_unpacked(coding: str, pack: object) -> None:
    assert bodies.unpacked(pack(TEXT), coding, len(TEXT)) == TEXT  # type: ignore[operator]


@pytest.mark.parametrize(
    ("coding", "body", "said"),
    [
        ("gzip", TEXT, "is not gzip"),
        ("deflate", gzip.compress(TEXT, mtime=0), "is not deflate"),
        ("gzip", b"", "ends before its gzip does, after 0"),
        ("gzip", gzip.compress(TEXT, mtime=0)[:-9], "ends before its gzip does"),
        ("gzip", gzip.compress(TEXT, mtime=0)[:-1] + b"x", "is not gzip"),  # its length is wrong
        ("deflate", zlib.compress(TEXT) + b"more", "goes on for 4 bytes after"),
    ],
)
def test_what_does_not_unpack_is_refused(coding: str, body: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        bodies.unpacked(body, coding, 10_000)


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "zstd"])
def test_another_coding_is_refused_with_those_that_are_known(coding: str) -> None:
    with pytest.raises(HTTPException) as caught:
        bodies.unpacked(TEXT, coding, 10_000)
    assert caught.value.status_code == 415
    assert caught.value.headers == {"Accept-Encoding": "gzip, deflate"}
    assert repr(coding) in caught.value.detail


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_bomb_is_refused_before_it_takes_memory(pack: object) -> None:
    bomb = pack(bytes(50_000_000))  # type: ignore[operator]
    coding = "gzip" if pack is gzip.compress else "deflate"
    tracemalloc.start()
    try:
        with pytest.raises(HTTPException) as caught:
            bodies.unpacked(bomb, coding, 1_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.status_code == 413
    assert peak < 3_000_000
    assert len(bodies.unpacked(pack(bytes(10**6)), coding, 10**6)) == 10**6  # type: ignore[operator]


@pytest.mark.parametrize(
    ("accepted", "size", "coding"),
    [
        ("", 10_000, None),
        ("identity", 10_000, None),
        ("br, zstd", 10_000, None),
        ("gzip", 10, "gzip"),
        ("deflate", 10, "deflate"),
        ("GZIP;q=0.5", 10, "gzip"),
        ("gzip, deflate, br", 10, None),  # what libraries send in every call
        ("gzip, deflate, br", 10_000, "gzip"),
        ("gzip;q=0.2, deflate", 10_000, "deflate"),
        ("gzip;q=0", 10_000, None),
        ("gzip;q=0, deflate;q=0.1", 10_000, "deflate"),
        ("gzip;q=much", 10_000, None),
    ],
)
def test_an_answer_is_packed_for_who_reads_that(
    accepted: str, size: int, coding: str | None
) -> None:
    assert bodies.accepted_coding(accepted, size) == coding


def test_packed_answers_are_what_their_coding_says() -> None:
    assert gzip.decompress(bodies.packed(TEXT, "gzip")) == TEXT
    assert zlib.decompress(bodies.packed(TEXT, "deflate")) == TEXT


def test_binary_data_follows_the_json() -> None:
    assert bodies.split(b"{}ab", None) == (b"{}ab", b"")
    assert bodies.split(b"{}ab", "2") == (b"{}", b"ab")
    assert bodies.split(b"{}", "2") == (b"{}", b"")
    assert bodies.split(b"ab", "0") == (b"", b"ab")


@pytest.mark.parametrize("length", ["5", "-1", "", "two", "1.0", "0x2", "²", "9" * 5000, " 2"])
def test_a_header_that_lies_is_refused(length: str) -> None:
    with pytest.raises(Invalid, match="Inference-Header-Content-Length: expected how many"):
        bodies.split(b"{}ab", length)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[" * 5000, "is not JSON"),
        (b'{"a": NaN}', "is not JSON"),
        (b'{"a": 1e999}', "is not JSON"),
        (b'{"a": "\\ud800"}', "is not JSON"),
        (b'{"a": "\xff"}', "is not JSON"),
        (b"[]", "expected a JSON object, got a list"),
        (b"null", "got null"),
        (b"true", "got true"),
        (b"1", "got a whole number"),
        (b"1.5", "got a number"),
        (b'"a"', "got text"),
    ],
)
def test_what_is_no_json_object_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        bodies.read_object(text, 10_000)


@pytest.mark.parametrize("item", [b"[]", b"0", b"{}", b'""', b"[[]]"])
def test_more_values_than_can_be_meant_are_refused_before_they_are_made(item: bytes) -> None:
    text = b'{"a": [' + b",".join([item] * 500_000) + b"]}"
    tracemalloc.start()
    try:
        with pytest.raises(Invalid, match="at most 10000 can be meant"):
            bodies.read_object(text, 10_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    assert bodies.read_object(b'{"a": [' + b",".join([item] * 3_000) + b"]}", 10_000) == {
        "a": [json.loads(item)] * 3_000
    }
