"""What a command shows: one result on stdout, everything else on stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value on stdout.")]

Advance = Callable[[float, str], None]
"""Takes the share done, 0..1, and a few words about where things stand."""

_PLAIN_EVERY = 5.0  # seconds between two lines where there is no terminal to draw a bar on


def note(message: str) -> None:
    """A line for the person who watches, on stderr."""
    typer.echo(message, err=True)


def show(value: Any, as_json: bool, human: str | Callable[[], None]) -> None:
    """The command's result: `value` as JSON, or `human`, a text or a function that prints it."""
    if as_json:
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
    elif isinstance(human, str):
        typer.echo(human)
    else:
        human()


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """A table on stdout; None is shown as a dash."""
    drawn = Table(*headers, title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for row in rows:
        drawn.add_row(*("-" if cell is None else str(cell) for cell in row))
    console = Console()
    if not console.is_terminal:  # a pipe has no width: wrap nothing
        console = Console(width=max(80, console.measure(drawn, options=_wide(console)).maximum))
    console.print(drawn)


def _wide(console: Console) -> Any:
    return console.options.update(width=10_000, max_width=10_000)


@contextmanager
def progress(what: str) -> Iterator[Advance]:
    """A progress bar on stderr where that is a terminal, a plain line every few seconds else."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain(what)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=1.0, words="")
        yield lambda share, words: bar.update(task, completed=share, words=words)


def _plain(what: str) -> Advance:
    last = time.monotonic() - _PLAIN_EVERY

    def advance(share: float, words: str) -> None:
        nonlocal last
        if share >= 1.0 or time.monotonic() - last >= _PLAIN_EVERY:
            last = time.monotonic()
            note(f"{what}: {share:.0%} {words}".rstrip())

    return advance
