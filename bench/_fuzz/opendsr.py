"""OpenDSR bodies, of both versions: read alone, by the thousand, and posted through the stack."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any
from uuid import UUID

from bench._fuzz.http import open_http
from bench._fuzz.mutate import BYTES, Mutator, counted, json_value, tokens, written
from bench._fuzz.running import Parser, Take, refusing
from core.errors import LetheError

PATHS = {"2.0": ("/requests", "/v2/requests"), "1.0": ("/v1/opengdpr_requests",)}
OURS = "localhost"
"""The processor's domain where none is set: its part of `extensions` is read."""

WORDS = tokens(
    b'"identity_format":"sha256",',
    b'"identity_type":"android_id",',
    b'"api_version":"1.0",',
    b'"submitted_time":"2026-02-30T25:61:61+99:99",',
    b'"status_callback_urls":["http://[::1]:99999/"],',
    b'"extensions":{"localhost":{"models":["digits"]}},',
    b"\\ud800",
    b"\\u0000",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"NaN",
    b"-Infinity",
    b"9" * 5000,
    b"[" * 300,
    b"}",
    b'"":',
)
URLS = (
    "https://8.8.8.8/opendsr",
    "https://8.8.8.8:0/",
    "http://8.8.8.8/",
    "https://10.0.0.1/",
    "https://[::ffff:127.0.0.1]/",
    "https://user:pass@8.8.8.8/",
    "https://8.8.8.8/\r\nHost: x",
    "https://1.1.1.1/" + "a" * 3000,
    "https://0x7f.1/",
    "//8.8.8.8/",
    "https://[8.8.8.8/",
    "https://\u2488.8.8.8/",
)


def bodies() -> list[bytes]:
    """Bodies as controllers send them: every format of an identity, with and without extras."""
    person = "subject-3"
    named = [
        ("controller_customer_id", "raw", person),
        ("email", "md5", hashlib.md5(person.encode(), usedforsecurity=False).hexdigest()),
        ("android_id", "sha1", hashlib.sha1(person.encode(), usedforsecurity=False).hexdigest()),
        ("email", "sha256", hashlib.sha256(person.encode()).hexdigest().upper()),
    ]
    identities = [
        {"identity_type": kind, "identity_format": form, "identity_value": value}
        for kind, form, value in named
    ]
    first: dict[str, Any] = {
        "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
        "subject_request_type": "erasure",
        "submitted_time": "2026-10-02T15:00:00Z",
        "subject_identities": identities[:1],
    }
    second = {**first, "regulation": "gdpr", "api_version": "2.0"}
    return [
        written(each)
        for each in (
            second,
            {**second, "subject_identities": identities, "status_callback_urls": [URLS[0]]},
            {**second, "regulation": "ccpa", "extensions": {OURS: {"models": ["digits"]}}},
            {**second, "extensions": {"another.example.com": {"x": [1]}}, "property_id": "a"},
            {**first, "api_version": "1.0"},
            {**first, "subject_identities": identities[1:], "status_callback_urls": URLS[:1]},
        )
    ]


def renumbered(rng: random.Random, data: bytes) -> bytes:
    """Its number is new, as the next person's is, so that it is no repetition."""
    return _with(data, subject_request_id=str(UUID(int=rng.getrandbits(128), version=4)))


def addressed(rng: random.Random, data: bytes) -> bytes:
    """It is to be called back elsewhere."""
    return _with(data, status_callback_urls=rng.sample(URLS, rng.randrange(1, 4)))


def peopled(rng: random.Random, data: bytes) -> bytes:
    """It names other people, some in a way that the format does not allow."""
    hexadecimal = "0123456789abcdefABCDEF"
    people = []
    for _ in range(rng.choice((1, 1, 2, 3, 101))):
        form, size = rng.choice((("raw", 9), ("md5", 32), ("sha1", 40), ("sha256", 64)))
        value = "".join(rng.choices(hexadecimal, k=size))
        if rng.random() < 0.1:
            form = rng.choice(("sha512", "RAW", "md5", "sha1"))
        if rng.random() < 0.1:
            value = rng.choice((value[:-1] + "\u0661", value[1:], value * 30, ""))
        kind = rng.choice(("email", "ios_vendor_id", "android_id", "fire_advertising_id"))
        people.append({"identity_type": kind, "identity_format": form, "identity_value": value})
    return _with(data, subject_identities=people)


def _with(data: bytes, **fields: Any) -> bytes:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    return written({**document, **fields}) if isinstance(document, dict) else data


def _open_alone(folder: Path) -> Take:
    """What a body goes through before the database is asked, for both versions."""
    from core.backend import open_backend
    from core.keys import Caller
    from core.settings import Settings
    from service.api import opendsr_body

    settings = Settings(home=folder / "home")
    settings.home.mkdir()
    backend = open_backend(settings, send=lambda _: None)
    anybody = Caller("key_1", "a controller", frozenset({"erase"}))
    bound = Caller("key_2", "another", frozenset({"erase"}), "mod_1", "digits")

    def read(data: bytes, version: str, caller: Caller) -> None:
        new = opendsr_body.read(data, version, OURS, caller)
        backend.identities.body(new.body)
        for identity in new.identities:
            backend.identities.named(identity.value, identity.format)
        for url in new.callback_urls:
            backend.outbound.check_named(url)
        assert caller.model is None or set(new.models) == {caller.model}
        try:
            again = opendsr_body.read(new.body, version, OURS, caller)
        except LetheError as error:
            raise AssertionError("the canonical form of what is read is refused") from error
        assert again == new, "the canonical form means what the body did"

    one = refusing()(lambda data: read(data, "1.0", anybody))
    two = refusing()(lambda data: read(data, "2.0", anybody))
    of_one_model = refusing()(lambda data: read(data, "2.0", bound))

    def take(data: bytes) -> bool:
        return any([one(data), two(data), of_one_model(data)])

    return take


def _posted() -> list[bytes]:
    found = []
    for body in bodies():
        version = json.loads(body).get("api_version", "1.0")
        for path in PATHS[version]:
            head = f"POST {path}\nContent-Type: application/json\n\n"
            found.append(head.encode() + renumbered(random.Random(len(found)), body))
    return found


def of_body(mutator: Mutator) -> Mutator:
    """The same of a call's body; its head stays."""

    def changed(rng: random.Random, data: bytes) -> bytes:
        head, blank, body = data.partition(b"\n\n")
        return head + blank + mutator(rng, body)

    return changed


_CHANGES: tuple[Mutator, ...] = (counted, WORDS, addressed, peopled, *[json_value] * 6)

OPENDSR = Parser(
    "opendsr",
    "POST /requests, /v2/requests, /v1/opengdpr_requests: the body",
    bodies,
    (*BYTES, *_CHANGES, renumbered, renumbered),
    _open_alone,
    3,
)
OPENDSR_HTTP = Parser(
    "opendsr-http",
    "the same through the whole stack, to the database",
    _posted,
    tuple(of_body(each) for each in (*_CHANGES, renumbered, renumbered, renumbered)),
    open_http,
    1,
)
