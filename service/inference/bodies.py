"""What POST /predict was asked: its query, its headers and a body of any of five kinds."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from core.errors import Invalid
from service.inference.inputs import check_count, invalid, kind, refuse_text
from service.schemas.predictions import MOST_IMAGES, MOST_SAMPLES

NAMES = ("model", "version", "samples", "inputs", "images")
"""What a JSON body may hold; the first three may be in the query instead."""

MOST_LISTS = 500_000
"""Lists and objects in one JSON body; 1,024 images of 3 x 150 rows are fewer.

In memory an empty one takes thirty times its place in the body, and NumPy looks at each.
"""


@dataclass(slots=True)
class Question:
    """Which model and version, how many draws of z, and images in one of three forms."""

    model: str | None = None
    version: int | None = None
    samples: int = 0
    lists: Sequence[Any] | None = None
    numbers: bytes | None = None
    dtype: str = "float32"
    files: Sequence[bytes] = field(default_factory=list)


async def read(body: bytes, content_type: str, query: bytes) -> Question:
    """The question; raises `Invalid` that says where it is wrong."""
    question = _from_query(query) if query else Question()
    kind_, _, _ = content_type.partition(";")
    kind_ = kind_.strip().lower()
    if not body:
        raise Invalid('the body is empty; send {"inputs": [...]} as JSON, or an image')
    if kind_ == "application/octet-stream":
        question.numbers = body
    elif kind_.startswith("image/"):
        question.files = [body]
    elif kind_ == "multipart/form-data":
        await _from_form(question, body, content_type)
    else:  # JSON, whatever it is called: many clients do not say
        _from_json(question, body)
    return question


def seconds_allowed(header: bytes | None) -> float:
    """The X-Request-Timeout header, in seconds; infinite without one. Raises `Invalid`."""
    if header is None:
        return math.inf
    try:
        seconds = float(header)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise invalid("X-Request-Timeout", "must be a number of seconds above 0, such as 0.5")
    return seconds


def _from_query(query: bytes) -> Question:
    question = Question()
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        _set(question, name, value)
    return question


def _set(question: Question, name: str, value: str) -> None:
    """One parameter that came as text."""
    if name == "model":
        question.model = value
    elif name == "dtype":
        question.dtype = value
    elif name in ("version", "samples"):
        number = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
        _set_number(question, name, number, repr(value[:20]))
    else:
        raise invalid(name[:40], "is not known here; use model, version, samples or dtype")


def _set_number(question: Question, name: str, value: int | None, came: str) -> None:
    if name == "version":
        if value is None or not 1 <= value < 2**31:
            raise invalid(name, f"must be a version's number, such as 1, got {came}")
        question.version = value
    else:
        if value is None or not 0 <= value <= MOST_SAMPLES:
            raise invalid(name, f"must be a whole number from 0 to {MOST_SAMPLES}, got {came}")
        question.samples = value


def _from_json(question: Question, body: bytes) -> None:
    document = _parsed(body)
    if type(document) is not dict:
        raise invalid("body", 'must be an object like {"inputs": [...]}')
    for name in document:
        if name not in NAMES:
            raise invalid(name[:40], f"is not known here; use {', '.join(NAMES)}")
    model = document.get("model")
    if model is not None:
        if not isinstance(model, str):
            raise invalid("model", f"must be a name, got {kind(model)}")
        question.model = model
    for name in ("version", "samples"):
        value = document.get(name)
        if value is not None:
            whole = value if isinstance(value, int) and not isinstance(value, bool) else None
            came = kind(value) if whole is None else str(value)[:20]
            _set_number(question, name, whole, came)
    if ("inputs" in document) == ("images" in document):
        raise invalid("body", "must have either inputs or images")
    name = "inputs" if "inputs" in document else "images"
    items = document[name]
    if not isinstance(items, list) or not items:
        raise invalid(name, f"must be a list with at least one image, got {kind(items)}")
    check_count(len(items), name)
    if name == "inputs":
        # Keys and the model's name aside, there is no text here: NumPy would give every number
        # the room of the longest one. (Mostly no quote follows the first list: found at once.)
        most = 2 * (len(document) + (model is not None))
        if body.find(b'"', body.find(b"[")) >= 0 and body.count(b'"') > most:
            refuse_text(items)
        question.lists = items
    else:
        question.files = [_decoded(item, at) for at, item in enumerate(items)]


def _parsed(body: bytes) -> Any:
    # A short body cannot hold so many; counting takes as long as half of the parsing.
    lists = body.count(b"[") + body.count(b"{") if len(body) > MOST_LISTS else 0
    if lists > MOST_LISTS:
        raise invalid(
            "body", f"holds {lists} lists and objects; at most {MOST_LISTS} are taken at once"
        )
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass  # slower, but says why; and some of what it refuses is JSON
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise invalid("body", f"is not JSON: {error}") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


def _decoded(item: Any, at: int) -> bytes:
    if not isinstance(item, str):
        raise invalid(f"images[{at}]", f"must be base64 text, got {kind(item)}")
    try:
        return base64.b64decode(item, validate=True)
    except ValueError:
        raise invalid(f"images[{at}]", "is not base64") from None


async def _from_form(question: Question, body: bytes, content_type: str) -> None:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    headers = Headers({"content-type": content_type})
    parser = MultiPartParser(
        headers, stream(), max_files=MOST_IMAGES, max_fields=8, max_part_size=len(body)
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        raise invalid("body", f"is not multipart/form-data: {error}") from None
    files = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            files.append(await value.read())
        else:
            _set(question, name, value)
    await form.close()
    if not files:
        raise invalid("body", "must have at least one file: a part with a filename")
    question.files = files
