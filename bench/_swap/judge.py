"""Was every answer whole, right for the version that it names, and never older than one before?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench._serving.load import Answers
from bench._swap.versions import Expected, Swap

TOLERANCE = 1e-5
"""Of a probability: batches of other sizes round otherwise."""


@dataclass(frozen=True)
class Answer:
    """One answer: when its call was sent and it was whole, and the version it named."""

    sent: float
    got: float
    version: int


@dataclass(frozen=True)
class Judged:
    """All answers of all clients."""

    right: list[Answer]
    errors: int
    mixed: int


def judge(loads: Sequence[Answers], known: Mapping[int, Expected]) -> Judged:
    """Errors are breaks, refusals and every status but 200; mixed are wrong for their version."""
    right, errors, mixed = [], 0, 0
    for seen in loads:
        versions = [_version(body, known) for body in seen.bodies]
        for sent, got, status, body in zip(
            seen.sent, seen.got, seen.status, seen.body, strict=True
        ):
            version = versions[body]
            if status != 200:
                errors += 1
            elif version is None:
                mixed += 1
            else:
                right.append(Answer(sent, got, version))
    return Judged(right, errors, mixed)


def _version(body: str, known: Mapping[int, Expected]) -> int | None:
    """The version that an answer names, if it is that version's in every part."""
    try:
        document = json.loads(body)
        version = int(document["version"])
        wanted = known[version]
        [prediction] = document["predictions"]
        found = np.array(prediction["probabilities"])
        likeliest = int(prediction["label"]) == int(wanted.probabilities.argmax())
    except (ValueError, KeyError, TypeError):
        return None
    close = np.allclose(found, wanted.probabilities, rtol=0.0, atol=TOLERANCE)
    return version if close and likeliest and document["digest"] == wanted.digest else None


def backward(answers: Sequence[Answer]) -> int:
    """Answers by an older version than one that was whole before their call was sent."""
    count, newest = 0, 0
    finished = sorted(answers, key=lambda answer: answer.got)
    position = 0
    for answer in sorted(answers, key=lambda answer: answer.sent):
        while position < len(finished) and finished[position].got < answer.sent:
            newest = max(newest, finished[position].version)
            position += 1
        count += answer.version < newest
    return count


def latencies(answers: Sequence[Answer], swaps: Sequence[Swap]) -> tuple[list[float], list[float]]:
    """Milliseconds, sorted, of calls that touch a swap, and of those sent between two."""
    during, quiet = [], []
    for answer in answers:
        ms = (answer.got - answer.sent) * 1000
        touched = any(answer.sent < swap.ended and answer.got > swap.began for swap in swaps)
        (during if touched else quiet).append(ms)
    return sorted(during), sorted(quiet)
