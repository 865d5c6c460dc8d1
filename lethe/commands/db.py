"""`lethe db`: the database's schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from lethe.console import AsJson, show

if TYPE_CHECKING:
    from core.db import Database

app = typer.Typer(help="The database's schema.", no_args_is_help=True)

Wait = Annotated[
    float,
    typer.Option(
        min=0.001, metavar="SECONDS", help="How long to wait for a lock; then nothing is changed."
    ),
]


@app.command("upgrade")
def upgrade(wait: Wait = 30.0, as_json: AsJson = False) -> None:
    """Bring the database to this version's schema. Running it twice changes nothing.

    Example: `lethe db upgrade`
    """
    from core import migrate

    url = _with_database(lambda db: migrate.upgrade(db, wait_seconds=wait))
    show({"database": url, "current": True}, as_json, f"{url} is up to date")


@app.command("downgrade")
def downgrade(
    revision: Annotated[str, typer.Argument(help="An earlier revision, such as 0002.")],
    wait: Wait = 30.0,
    as_json: AsJson = False,
) -> None:
    """Go back to an earlier schema, for an older version; refused where data would be lost.

    Example: `lethe db downgrade 0002`
    """
    from core import migrate

    url = _with_database(lambda db: migrate.downgrade(db, revision, wait_seconds=wait))
    show({"database": url, "revision": revision}, as_json, f"{url} is at revision {revision}")


def _with_database(change: Callable[[Database], None]) -> str:
    """Change the database that the environment names; returns its address, without a password."""
    from core.backend import open_backend
    from core.settings import read_settings

    backend = open_backend(read_settings())
    try:
        change(backend.db)
        return backend.db.engine.url.render_as_string(hide_password=True)
    finally:
        backend.close()
