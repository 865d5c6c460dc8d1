"""Valid inputs, changed: bytes, numbers, JSON values, PNG chunks; the same for the same seed."""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any

NUMBERS = (
    0,
    1,
    -1,
    2,
    127,
    128,
    255,
    256,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32,
    2**53,
    2**63,
    2**64,
)
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    "",
    "x",
    "\x00",
    "\ud800",
    "é" * 40,
    "A" * 5000,
    [],
    {},
    [[]],
    [None],
    {"a": {}},
    1e308,
    -1e308,
    1e-320,
    float("nan"),
    float("inf"),
    0.5,
    *NUMBERS,
)
MOST = 200_000
"""Bytes: what is longer is cut."""

Mutator = Callable[[random.Random, bytes], bytes]


def mutated(rng: random.Random, seeds: Sequence[bytes], mutators: Sequence[Mutator]) -> bytes:
    """One of the seeds after one to four changes."""
    data = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        mutate = rng.choice(mutators)
        data = splice(rng, data, rng.choice(seeds)) if mutate is joined else mutate(rng, data)
    return data[:MOST]


def flipped(rng: random.Random, data: bytes) -> bytes:
    """Some bits turned, or bytes set."""
    if not data:
        return rng.randbytes(8)
    whole = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        at = rng.randrange(len(whole))
        whole[at] = rng.choice((whole[at] ^ (1 << rng.randrange(8)), 0, 255, rng.randrange(256)))
    return bytes(whole)


def cut(rng: random.Random, data: bytes) -> bytes:
    """Its end, its beginning or a piece is gone."""
    if len(data) < 2:
        return b""
    first, last = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    return rng.choice((data[:first], data[last:], data[:first] + data[last:]))


def doubled(rng: random.Random, data: bytes) -> bytes:
    """A piece twice, or many times."""
    if not data:
        return data
    first, last = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    piece = data[first : min(last, first + 400)]
    return data[:first] + piece * rng.choice((2, 3, 100)) + data[first:]


def filled(rng: random.Random, data: bytes) -> bytes:
    """Bytes put in, or put in the place of others."""
    at = rng.randrange(len(data) + 1)
    new = rng.choice((rng.randbytes(rng.randrange(1, 20)), b"\x00" * 16, b"\xff" * 8))
    return data[:at] + new + data[at + rng.choice((0, len(new))) :]


def sized(rng: random.Random, data: bytes) -> bytes:
    """A length or an offset in it is another: two, four or eight bytes, of either order."""
    width = rng.choice((2, 4, 8))
    if len(data) < width:
        return data
    number = rng.choice((*NUMBERS, len(data), len(data) - 1, len(data) + 1)) % 2 ** (8 * width)
    at = (
        rng.randrange(len(data) - width + 1)
        if rng.random() < 0.7
        else rng.choice((0, len(data) - width))
    )
    return data[:at] + number.to_bytes(width, rng.choice(("little", "big"))) + data[at + width :]


def counted(rng: random.Random, data: bytes) -> bytes:
    """A number that is written in digits is another."""
    found = list(re.finditer(rb"\d+", data))
    if not found:
        return data
    one = rng.choice(found)
    new = rng.choice((*map(str, NUMBERS), "1e999", "0" * 50, "9" * 400, "0x10", "1_0", "-0", "٣"))
    return data[: one.start()] + new.encode() + data[one.end() :]


def joined(_: random.Random, data: bytes) -> bytes:
    """Stands for `splice`, which needs two."""
    return data


def splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """The beginning of one and the end of another."""
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


BYTES: tuple[Mutator, ...] = (flipped, cut, doubled, filled, sized, counted, joined)


def tokens(*words: bytes) -> Mutator:
    """Puts words of a format where they may mean something else."""

    def put(rng: random.Random, data: bytes) -> bytes:
        at = rng.randrange(len(data) + 1)
        return data[:at] + rng.choice(words) + data[at + rng.choice((0, 0, 1, 4)) :]

    return put


def json_value(rng: random.Random, data: bytes) -> bytes:
    """One value of a JSON document is another, or gone, or there twice, or deep within lists."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    return written(odd(rng, document))


def written(document: Any) -> bytes:
    """As JSON, or what a careless program takes for it."""
    return json.dumps(document).encode()


def odd(rng: random.Random, value: Any) -> Any:
    """The same value, changed at one place."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(list(value))
        chance = rng.random()
        if chance < 0.1:
            return {k: v for k, v in value.items() if k != name}
        if chance < 0.15:
            return {**value, rng.choice(("", "x", name.upper(), "__proto__")): value[name]}
        return {**value, name: odd(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        chance = rng.random()
        if chance < 0.1:
            return value[:at] + value[at + 1 :]
        if chance < 0.2:
            return value[:at] + [value[at]] * rng.choice((2, 3, 50)) + value[at:]
        return [*value[:at], odd(rng, value[at]), *value[at + 1 :]]
    if rng.random() < 0.1:
        for _ in range(rng.choice((1, 2, 60))):
            value = [value]
        return value
    return rng.choice(ODD)


def png_chunk(rng: random.Random, data: bytes) -> bytes:
    """A chunk of a PNG is other, elsewhere or doubled, and its checksum is right."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks:
        return data
    one = rng.randrange(len(chunks))
    kind, body = chunks[one]
    if rng.random() < 0.6:
        chunks[one] = (kind, rng.choice((flipped, cut, filled, sized, doubled))(rng, body))
    elif rng.random() < 0.5:
        chunks.insert(rng.randrange(len(chunks) + 1), (kind, body))
    else:
        chunks[one] = (
            rng.choice((b"PLTE", b"tRNS", b"acTL", b"fcTL", b"iTXt", b"zTXt", b"eXIf")),
            body,
        )
    return data[:8] + b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        for kind, body in chunks
    )


def tensors_header(rng: random.Random, data: bytes) -> bytes:
    """The header of a safetensors file is other, and its length is right."""
    size = int.from_bytes(data[:8], "little")
    if size > len(data):
        return data
    text = json_value(rng, data[8 : 8 + size])
    return len(text).to_bytes(8, "little") + text + data[8 + size :]
