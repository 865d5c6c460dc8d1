"""`lethe db`: the database's schema."""

from __future__ import annotations

import typer

from lethe.console import AsJson, show

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


@app.command("upgrade")
def upgrade(as_json: AsJson = False) -> None:
    """Bring the database to this version's schema. Running it twice changes nothing.

    Example: `lethe db upgrade`
    """
    from core import migrate
    from core.backend import open_backend
    from core.settings import read_settings

    backend = open_backend(read_settings())
    try:
        migrate.upgrade(backend.db)
        url = backend.db.engine.url.render_as_string(hide_password=True)
    finally:
        backend.close()
    show({"database": url, "current": True}, as_json, f"{url} is up to date")


# A group with one command would otherwise become that command.
@app.callback()
def _group() -> None:
    """The database's schema."""
