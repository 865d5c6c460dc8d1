"""Assembly of the command line. Each noun is one file in lethe/commands."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import typer

from core.errors import LetheError
from lethe import stopping
from lethe.commands import (
    append,
    audit,
    capacity,
    certificates,
    dataset,
    db,
    demo,
    erase,
    holds,
    jobs,
    keys,
    models,
    openapi,
    predict,
    secret,
    serve,
    train,
    worker,
)

# Typer keeps its copy of Click private; this is its ClickException, whatever its home.
_CommandLineError: Any = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="lethe",
    help="Make a served model forget a person: find the samples, unlearn, verify, swap, "
    "destroy, certify.",
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
dataset.app.command("append")(append.append)
app.add_typer(dataset.app, name="dataset")
app.command("train")(train.train)
app.command("serve")(serve.serve)
app.command("worker")(worker.worker)
app.command("erase")(erase.erase)
app.command("predict")(predict.predict)
app.command("jobs")(jobs.jobs)
app.add_typer(models.app, name="models")
app.add_typer(holds.app, name="holds")
app.add_typer(keys.app, name="keys")
app.add_typer(secret.app, name="secret")
app.add_typer(audit.app, name="audit")
app.command("capacity")(capacity.capacity)
app.command("verify-certificate")(certificates.verify_certificate)
app.command("export-openapi")(openapi.export_openapi)
app.add_typer(db.app, name="db")
app.command("demo")(demo.demo)


def main() -> NoReturn:
    """Run the command of sys.argv, and leave with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; returns the exit status. Errors are one line on stderr.

    With LETHE_DEBUG=1 they are raised instead, so that their traceback is seen.
    """
    try:
        status = app(arguments, prog_name="lethe", standalone_mode=False)
    except stopping.Terminated:
        _complain("terminated")
        return 143
    except KeyboardInterrupt:
        status = 130
    except _CommandLineError as error:
        message = error.format_message().strip()
        if message:
            _complain(f"{message.rstrip('.')}. Try `{_path(error)} --help`")
        return int(error.exit_code)
    except BrokenPipeError:  # whoever read our output has gone
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  # for the interpreter's last flush
        return 1
    except Exception as error:
        if os.environ.get("LETHE_DEBUG") == "1":
            raise
        _complain(_one_line(error))
        return 1
    if status == 130:
        _complain("stopped")
    return status if isinstance(status, int) else 0


def _one_line(error: Exception) -> str:
    if isinstance(error, LetheError | ValueError):
        text = str(error)
    elif isinstance(error, ModuleNotFoundError) and error.name in {"torch", "torchvision", "scipy"}:
        text = f"this command needs {error.name}; install `lethe[ml]`"
    elif type(error).__module__.startswith("sqlalchemy.") and hasattr(error, "orig"):
        text = f"the database does not answer: {error.orig}"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = f"{type(error).__name__}: {error} (LETHE_DEBUG=1 shows where)"
    return " ".join(text.split())


def _path(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context is not None else "lethe"


def _complain(message: str) -> None:
    typer.echo(f"lethe: {message}", err=True)
