"""bench.swap finds no fault in the service, and would find each kind of one."""

from __future__ import annotations

import json
from array import array
from typing import Any

import numpy as np
import pytest

from bench import swap
from bench._serving.load import BROKEN, REFUSED, Answers
from bench._swap.judge import Answer, backward, judge, latencies
from bench._swap.versions import Expected, Swap

KNOWN = {
    1: Expected("one", np.array([0.9, 0.1], np.float32)),
    2: Expected("two", np.array([0.2, 0.8], np.float32)),
}


def document(of: int, **other: Any) -> dict[str, Any]:
    """What a service answers that serves this version."""
    wanted = KNOWN[of]
    probabilities = wanted.probabilities.tolist()
    label = str(int(wanted.probabilities.argmax()))
    prediction = {"label": label, "probabilities": probabilities}
    return {"version": of, "digest": wanted.digest, "predictions": [prediction]} | other


def seen(*answers: tuple[int, Any]) -> Answers:
    """A load that saw these, one after another: status and body."""
    moments = range(len(answers))
    return Answers(
        array("d", moments),
        array("d", (moment + 0.5 for moment in moments)),
        array("i", [status for status, _ in answers]),
        array("i", moments),
        [body if isinstance(body, str) else json.dumps(body) for _, body in answers],
    )


def test_right_answers() -> None:
    near = [{"label": "0", "probabilities": [0.899_995, 0.100_005]}]
    answers = [(200, document(1)), (200, document(1, predictions=near)), (200, document(2))]
    judged = judge([seen(*answers)], KNOWN)
    assert (judged.errors, judged.mixed) == (0, 0)
    assert [answer.version for answer in judged.right] == [1, 1, 2]
    assert backward(judged.right) == 0


def test_errors() -> None:
    answers = seen((200, document(1)), (BROKEN, ""), (REFUSED, ""), (503, "{}"), (500, document(1)))
    assert judge([answers, answers], KNOWN).errors == 8


@pytest.mark.parametrize(
    "lie",
    [
        document(1, version=2),
        document(1, digest="two"),
        document(1, predictions=document(2)["predictions"]),
        document(1, predictions=[{"label": "1", "probabilities": [0.9, 0.1]}]),
        document(1, predictions=[{"label": "0", "probabilities": [0.8, 0.2]}]),
        document(1, predictions=[]),
        document(1, version=3),
        "half an answ",
        "[]",
    ],
)
def test_mixed(lie: Any) -> None:
    judged = judge([seen((200, lie), (200, document(2)))], KNOWN)
    assert (judged.errors, judged.mixed, len(judged.right)) == (0, 1, 1)


def test_backward_counts_only_what_was_sent_after() -> None:
    new = Answer(sent=0.0, got=1.0, version=2)
    beside = Answer(sent=0.9, got=5.0, version=1)
    after = Answer(sent=1.1, got=1.2, version=1)
    assert backward([beside, new]) == 0
    assert backward([after, beside, new]) == 1
    assert backward([after, Answer(1.3, 1.4, 1), Answer(1.5, 1.6, 2), new]) == 2


def test_calls_that_touch_a_swap() -> None:
    swaps = [Swap(10.0, 11.0, seconds=0.5), Swap(20.0, 21.0, seconds=0.5)]
    calls = [
        Answer(9.0, 9.5, 1),
        Answer(9.9, 10.1, 1),
        Answer(10.5, 10.6, 2),
        Answer(12.0, 12.1, 2),
    ]
    during, quiet = latencies(calls, swaps)
    assert during == pytest.approx([100.0, 200.0])
    assert quiet == pytest.approx([100.0, 500.0])


@pytest.mark.long
@pytest.mark.timeout(180)
def test_nobody_notices_a_swap(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        swap.main(["--swaps", "0"])
    capsys.readouterr()
    assert swap.main(["--workers", "3", "--swaps", "4", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["workers"], row["swaps"]) for row in rows] == [(3, 4)]
    for row in rows:
        assert (row["errors"], row["mixed"], row["backward"]) == (0, 0, 0)
        assert row["requests"] > 20
        assert row["p99_ms"] > 0
        assert row["p99_quiet_ms"] > 0
