"""Bodies of the Open Inference Protocol: packed with gzip or deflate, JSON before binary."""

from __future__ import annotations

import zlib
from http import HTTPStatus
from typing import Any, NoReturn

import orjson
from starlette.exceptions import HTTPException

from core.errors import Invalid

_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}

SMALL = 1400
"""Bytes that travel as one packet anyway: packed only for who reads one coding and no other."""


def invalid(where: str, message: str) -> NoReturn:
    """Refuse a request: where in it, what was expected, what came."""
    raise Invalid(f"{where}: {message}", [{"where": where, "message": message}])


def unpacked(body: bytes, coding: str, most: int) -> bytes:
    """A request's body without its Content-Encoding; never makes more than `most` bytes.

    deflate is what HTTP calls so (RFC 9110, 8.4.1.2): the zlib format of RFC 1950. Raises
    `HTTPException` 415 for another coding and 413 for a body that unpacks to more, `Invalid`
    for one that does not unpack.
    """
    name = coding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in _WINDOW:
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Encoding: expected gzip, deflate or identity, got {coding!r}",
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    reader = zlib.decompressobj(_WINDOW[name])
    try:
        found = reader.decompress(body, most + 1)
    except zlib.error as error:
        invalid("body", f"is not {name}, as Content-Encoding says: {error}")
    if len(found) > most:
        raise HTTPException(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body unpacks to more than {most} bytes, the most that is taken here",
        )
    if not reader.eof:
        invalid("body", f"ends before its {name} does, after {len(found)} unpacked bytes")
    if reader.unused_data:
        invalid("body", f"goes on for {len(reader.unused_data)} bytes after the end of its {name}")
    return found


def accepted_coding(accepted: str, size: int) -> str | None:
    """How an answer of `size` bytes is packed for this Accept-Encoding; None: not at all.

    Libraries name all that they read in every call. Who names one alone asks for it.
    """
    named: dict[str, float] = {}
    for item in accepted.lower().split(","):
        name, _, parameters = item.partition(";")
        quality = parameters.replace(" ", "").removeprefix("q=")
        try:
            named[name.strip()] = float(quality) if quality else 1.0
        except ValueError:
            named[name.strip()] = 0.0
    best = max(("gzip", "deflate"), key=lambda each: named.get(each, 0.0))
    if not named.get(best) or (len(named) > 1 and size <= SMALL):
        return None
    return best


def packed(body: bytes, coding: str) -> bytes:
    """An answer's body in this coding, the fastest way: probabilities hardly shrink."""
    packer = zlib.compressobj(1, zlib.DEFLATED, _WINDOW[coding])
    return packer.compress(body) + packer.flush()


def split(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    """The JSON of a body and the binary data after it, by Inference-Header-Content-Length."""
    if header_length is None:
        return body, memoryview(b"")
    length = digits(header_length)
    if length is None or length > len(body):
        invalid(
            "Inference-Header-Content-Length",
            f"expected how many of the body's {len(body)} bytes are JSON, got {header_length!r}",
        )
    return body[:length], memoryview(body)[length:]


def digits(text: str) -> int | None:
    """The number that these digits write; None for any other text, and past 18 digits."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def read_object(text: bytes, most: int) -> dict[str, Any]:
    """A JSON object of at most about `most` values.

    They are counted before they are made, by the commas and brackets they stand behind: in
    memory a value takes up to thirty times what it takes in the text.
    """
    if len(text) > most:
        values = text.count(b",") + text.count(b"[") + text.count(b"{")
        if values > most:
            invalid("body", f"holds about {values} values; at most {most} can be meant here")
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        invalid("body", f"is not JSON: {error}")
    if not isinstance(document, dict):
        invalid("body", f"expected a JSON object, got {kind(document)}")
    return document


def kind(value: object) -> str:
    """What a JSON value is, for people."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    names = {dict: "an object", list: "a list", str: "text", int: "a whole number"}
    return names.get(type(value), "a number")


def shown(value: Any) -> str:
    """A value that came, short: it may be anything."""
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:40] + "...")
    return str(value) if type(value) in (int, float) else kind(value)
