"""One parser, fed: in a child of its own, so that even what fells a process is a finding."""

from __future__ import annotations

import json
import logging
import multiprocessing
import random
import resource
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from bench._fuzz.mutate import Mutator, mutated
from core.errors import LetheError

SLOW = 10.0
"""CPU seconds after which an input is a finding."""
STUCK = 120.0
"""Seconds by the clock, which a busy machine stretches, after which it is one in any case."""
ROOM = 3 << 30
"""Bytes of address space that inputs may fill on top of what the process has."""


Take = Callable[[bytes], bool]
"""Takes one input, and says whether it was read or refused."""


def refusing(*errors: type[Exception]) -> Callable[[Callable[[bytes], object]], Take]:
    """The same function, which says whether it read its input or refused it as it should."""

    def wrap(read: Callable[[bytes], object]) -> Take:
        def take(data: bytes) -> bool:
            try:
                read(data)
            except (LetheError, *errors):
                return False
            return True

        return take

    return wrap


@dataclass(frozen=True)
class Parser:
    """A parser of foreign bytes.

    open: makes it ready, once a process, with a folder of its own; it gives a function that takes
    one input and says whether it was read or refused. Whatever that raises is a finding.
    """

    name: str
    what: str
    seeds: Callable[[], Sequence[bytes]]
    mutators: Sequence[Mutator]
    open: Callable[[Path], Take]
    share: int = 1
    """Of all inputs, beside the other parsers' shares."""


@dataclass
class Tally:
    """What became of a parser's inputs."""

    inputs: int = 0
    read: int = 0
    seconds: float = 0.0
    findings: list[dict[str, Any]] = field(default_factory=list)


class TooSlow(Exception):
    """One input took longer than `SLOW` or `STUCK`."""


def feed(parser: Parser, inputs: int, seed: int, folder: Path, first: int) -> Tally:
    """Feed the parser in this process, which is its own; the input under way lies in `folder`."""
    for each in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(each, _late)
    take, seeds, tally = parser.open(folder), parser.seeds(), Tally()
    take(seeds[0])  # what is imported at the first call is no input's doing
    _limit_memory()
    began = time.monotonic()
    for number in range(first, inputs):
        rng = random.Random(f"{seed} {parser.name} {number}")
        data = seeds[number] if number < len(seeds) else mutated(rng, seeds, parser.mutators)
        (folder / "input").write_bytes(data)
        (folder / "number").write_text(str(number))
        tally.inputs += 1
        signal.setitimer(signal.ITIMER_PROF, SLOW)
        signal.setitimer(signal.ITIMER_REAL, STUCK)
        try:
            tally.read += take(data)
        except Exception as error:  # noqa: BLE001  # any: that is what is looked for
            where = traceback.format_exception(error)[-3:]
            tally.findings.append(_finding(number, data, "".join(where)))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
    tally.seconds = time.monotonic() - began
    return tally


def _finding(number: int, data: bytes, what: str) -> dict[str, Any]:
    return {"number": number, "what": what[-1500:], "input": repr(data[:200]), "size": len(data)}


def _late(_: int, __: FrameType | None) -> None:
    raise TooSlow(f"more than {SLOW} seconds of CPU, or {STUCK} by the clock")


def _child(parser: Parser, inputs: int, seed: int, folder: Path, first: int) -> None:
    logging.disable()
    tally = feed(parser, inputs, seed, folder, first)
    (folder / "tally").write_text(json.dumps(vars(tally)))


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def fed(parser: Parser, inputs: int, seed: int, folder: Path) -> Tally:
    """Feed the parser in a child, and in another one from where one was felled."""
    folder.mkdir(parents=True, exist_ok=True)
    whole, first = Tally(), 0
    while first < inputs:
        (folder / "tally").unlink(missing_ok=True)
        context = multiprocessing.get_context("fork")
        child = context.Process(target=_child, args=(parser, inputs, seed, folder, first))
        child.start()
        child.join()
        if (folder / "tally").exists():
            part = Tally(**json.loads((folder / "tally").read_text()))
        else:
            number = int((folder / "number").read_text())
            what = f"the process ended with {child.exitcode}"
            data = (folder / "input").read_bytes()
            part = Tally(number + 1 - first, 0, 0.0, [_finding(number, data, what)])
        first += part.inputs
        whole.inputs += part.inputs
        whole.read += part.read
        whole.seconds += part.seconds
        whole.findings += part.findings
    return whole
