"""`lethe secret`: the secret that keys the hashes of subjects."""

from __future__ import annotations

import typer

from lethe.console import AsJson, note, show

app = typer.Typer(help="The secret that keys the hashes of subjects.", no_args_is_help=True)


@app.command("rotate")
def rotate(as_json: AsJson = False) -> None:
    """Bring every stored hash up to a new secret. No plain identifier is needed.

    The embedded mode makes the new secret. In production set LETHE_SECRET to it and append the
    old one to LETHE_SECRETS_BEFORE first. Stop workers and imports before; a service that still
    runs refuses erasure requests with 503 until it is started with the new secret.

    Example: `lethe secret rotate`
    """
    from core import migrate, rotation
    from core.backend import open_backend
    from core.errors import Conflict
    from core.identities import Identities
    from core.settings import read_settings

    settings = read_settings()
    backend = open_backend(settings)
    try:
        migrate.require_current(backend.db)
        kept = settings.embedded and settings.secret is None
        secret, before = settings.secret_bytes, settings.secrets_before_bytes
        if kept:
            secret, before = rotation.next_secret(settings), (*before, secret)
        identities = Identities(secret, before)
        try:
            with backend.db.transaction() as tx:
                hashes = rotation.rotate(tx, identities)
        except Conflict:
            with backend.db.reading() as session:
                rotation.check(session, identities)
            if not kept:
                raise
            hashes = 0  # cut off before, once the hashes were stored
        if kept:
            rotation.put_in_force(settings, secret)
    finally:
        backend.close()
    if not as_json:
        note("Start every process again. Keep the old secrets: hashes begin with the first")
    found = {"generation": identities.generation, "hashes": hashes}
    show(found, as_json, f"{hashes} hashes are made with secret number {identities.generation}")
