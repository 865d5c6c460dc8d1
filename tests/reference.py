"""docs/reference is written by the code itself: `python -m tests.reference` rewrites it.

tests/unit/lethe/test_reference.py fails while a page differs from what this would write.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from fastapi.routing import APIRoute

from core import settings as settings_module
from core.settings import Settings
from lethe.cli import app
from service.app import create_app
from service.deps import Needs
from service.pages.examples import Examples, answer_of, body_of, curl

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTE = "<!-- Written by `python -m tests.reference`; change the code, not this page. -->\n"

CLI = """\
# The command line

`--json` prints one JSON value on stdout; progress, notes and errors go to stderr. An error is
one line that starts with `lethe:` and a non-zero status: 1 for what went wrong, 2 for a
command that cannot be understood, 130 after Ctrl-C, 143 after SIGTERM. `LETHE_DEBUG=1` shows
the traceback. `erase`, `predict`, `jobs`, `holds`, `models policy` and `models list` (which
`models` alone and `models NAME` are short for) talk to the service at `LETHE_URL`
(http://127.0.0.1:8000 when not set) with the key in `LETHE_API_KEY`, or the one that the
embedded mode keeps in `LETHE_HOME/api-key`. Every other command opens the database and the
stores itself and takes the [settings](settings.md).
"""

SETTINGS = """\
# Settings

Read once, from environment variables, when a process starts. Without any, Lethe runs in its
embedded mode: SQLite, a file-based broker and all files under `LETHE_HOME`. With
`LETHE_DATABASE_URL` it runs in production mode, which needs `LETHE_SECRET` and a database
brought up to date by `lethe db upgrade`. Each may lie in a file instead, as secrets do:
`LETHE_SECRET_FILE` names the file that holds what `LETHE_SECRET` would.

| variable | default | what |
|---|---|---|
"""

SETTINGS_END = """
The command line knows four more:

| variable | default | what |
|---|---|---|
| `LETHE_URL` | `http://127.0.0.1:8000` | The service that client commands talk to. |
| `LETHE_API_KEY` | the one in `LETHE_HOME/api-key` | The key they send, or `LETHE_API_KEY_FILE`. |
| `LETHE_DEBUG` | | `1` shows tracebacks. |
| `OMP_NUM_THREADS` | `1` for small models | Threads of one training or prediction. |
"""

HTTP = """\
# HTTP

JSON in and out. `GET /docs` of a running service shows every field;
`lethe export-openapi` prints the same as an OpenAPI document, which is
[openapi.json](openapi.json). Errors are `application/problem+json` (RFC 9457) with a stable
`code`. Send the key as `Authorization: Bearer KEY`; one of the scopes named must be among the
key's. `X-Request-ID` is accepted and returned. A list answers
`{"items": [...], "next": cursor or null}`; pass the cursor back as `cursor`. Times are RFC 3339
in UTC, rates are fractions 0..1.
Below `/v2` predictions are also given by the [Open Inference Protocol](open-inference.md).

`POST /erasure-requests` takes an `Idempotency-Key`: the same key and body are answered as they
were the first time, the same key with another body is 409; after 30 days it is forgotten.
`GET /jobs/{job_id}` has an `ETag`; with `If-None-Match` and `?wait=SECONDS` it answers when the
job changes, or 304.

| call | scope | does |
|---|---|---|
"""


def pages() -> dict[str, str]:
    """Every page, by its file's name."""
    return {
        "cli.md": cli_page(),
        "settings.md": settings_page(),
        "http.md": http_page(),
        "openapi.json": openapi_page(),
    }


def cli_page() -> str:
    """One section a command."""
    parts = [NOTE, CLI]
    for path, command in commands(typer.main.get_command(app), ()):
        summary, _, rest = inspect.cleandoc(command.help or "").partition("\n\n")
        parts.append(
            f"## lethe {' '.join(path)}\n\n{usage(path, command)}\n{' '.join(summary.split())}\n"
        )
        rows = [row(param) for param in command.params if param.name != "help"]
        if rows:
            parts.append("| | |\n|---|---|\n" + "\n".join(rows) + "\n")
        if rest:
            parts.append(" ".join(rest.split()) + "\n")
    return "\n".join(parts)


def commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, in the order of `lethe --help`."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, below in command.commands.items():
        yield from commands(below, (*path, name))


def usage(path: tuple[str, ...], command: Any) -> str:
    """The usage line, as a code block."""
    arguments = [
        f" {name(param)}" if param.required else f" [{name(param)}]"
        for param in command.params
        if param.param_type_name == "argument"
    ]
    return f"```\nlethe {' '.join(path)}{''.join(arguments)} [OPTIONS]\n```\n"


def name(argument: Any) -> str:
    """What an argument is called in help."""
    return str(argument.metavar or argument.name.upper())


def row(param: Any) -> str:
    """One argument or option."""
    if param.param_type_name == "argument":
        return f"| `{name(param)}` | {param.help or ''} |"
    kind = {str: "TEXT", int: "N"}.get(param.type_descriptor.annotation, "PATH")
    metavar = "" if param.is_flag else f" {param.metavar or kind}"
    shown = "" if param.is_flag or param.default in (None, []) else f" Default: {param.default}."
    text = f"{param.help}{' Required.' if param.required else ''}{shown}"
    names = "/".join((", ".join(param.opts), *param.secondary_opts))
    cells = (f"`{names}{metavar}`", text)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def settings_page() -> str:
    """One row a setting; its text is the docstring under the field."""
    tree = ast.parse(inspect.getsource(settings_module))
    [settings] = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Settings"]
    told = {}
    for field, text in zip(settings.body, settings.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            assert isinstance(text.value, ast.Constant)
            told[field.target.id] = " ".join(str(text.value.value).split())
    rows = [
        f"| `LETHE_{name.upper()}` | {'' if field.default is None else f'`{field.default}`'} "
        f"| {told[name]} |"
        for name, field in Settings.model_fields.items()
    ]
    return NOTE + "\n" + SETTINGS + "\n".join(rows) + "\n" + SETTINGS_END


def http_page() -> str:
    """One row a route, with the scopes that it asks for; then each with an example."""
    service = application()
    document = service.openapi()
    scopes = {
        (route.path, method.lower()): needed(route.dependant)
        for route in routes(service)
        for method in route.methods
    }
    rows, sections = [], []
    examples = Examples(document)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            text = operation.get("description", operation["summary"]).split("\n\n")[0]
            names = ", ".join(f"`{scope}`" for scope in scopes[path, method]) or "none"
            rows.append(f"| {method.upper()} {path} | {names} | {' '.join(text.split())} |")
            sections.append(section(method, path, operation, examples))
    return "\n".join([NOTE, HTTP + "\n".join(rows), *sections])


def section(method: str, path: str, operation: dict[str, Any], examples: Examples) -> str:
    """One route: what it does, what it takes, a call of it and the answer."""
    parts = [f"## {method.upper()} {path}", operation.get("description", operation["summary"])]
    rows = [parameter_row(each) for each in operation.get("parameters", [])]
    if rows:
        parts.append("| parameter | | |\n|---|---|---|\n" + "\n".join(rows))
    parts.append(f"```\n{curl(method, path, operation, examples, body_of(operation))}\n```")
    status, kind, schema = answer_of(operation)
    if kind == "application/json" and schema:
        value = examples.of(schema)
        parts.append(
            f"{status}:\n\n```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"
        )
    else:
        parts.append(f"{status}{', `' + kind + '`' if kind else ''}.")
    refusals = sorted(each for each in operation["responses"] if each != status)
    parts.append(f"Also: {', '.join(refusals)}." if refusals else "")
    return "\n\n".join(part for part in parts if part) + "\n"


def parameter_row(parameter: dict[str, Any]) -> str:
    """One parameter."""
    where = parameter["in"] + (", required" if parameter.get("required") else "")
    text = parameter.get("description", parameter["schema"].get("description", ""))
    return f"| `{parameter['name']}` | {where} | {' '.join(text.split())} |"


def openapi_page() -> str:
    """The OpenAPI document, as `lethe export-openapi` prints it."""
    return json.dumps(openapi(), indent=2, ensure_ascii=False) + "\n"


def application() -> Any:
    """The whole service, not started."""
    with tempfile.TemporaryDirectory() as home:  # the document depends on no setting
        return create_app(Settings(home=Path(home)), "all")


def openapi() -> dict[str, Any]:
    """Its OpenAPI document."""
    document: dict[str, Any] = application().openapi()
    return document


def routes(service: Any) -> list[APIRoute]:
    """The routes of the application, those of included routers too."""
    found: list[APIRoute] = []
    waiting = list(service.routes)
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, APIRoute):
            found.append(each)
        else:
            waiting += getattr(getattr(each, "original_router", None), "routes", [])
    return found


def needed(dependant: Any) -> tuple[str, ...]:
    """Scopes of which the caller must have one."""
    if isinstance(dependant.call, Needs):
        return dependant.call.scopes
    for below in dependant.dependencies:
        if scopes := needed(below):
            return scopes
    return ()


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
        sys.stderr.write(f"{FOLDER / name}\n")


if __name__ == "__main__":
    main()
