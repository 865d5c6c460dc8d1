"""`lethe keys`: who may call the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lethe.console import AsJson, note, show, table

if TYPE_CHECKING:
    from datetime import datetime

    from core.records import ApiKey

app = typer.Typer(help="API keys: create, list, rotate, revoke.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    scope: Annotated[
        list[str],
        typer.Option(
            metavar="SCOPE",
            help="erase, predict, read, review or admin; may be given several times.",
        ),
    ],
    days: Annotated[int | None, typer.Option(min=1, help="Good for so many days.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The only model that it is for; else it is for every one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key. Its text is shown this once; only a digest is kept.

    Example: `lethe keys create shop --scope erase --scope read`
    """
    from core import keys
    from lethe.home import opened

    with opened() as backend, backend.db.transaction() as tx:
        record, text = keys.create(tx, name, scope, days=days, model=model)
    if not as_json:
        note(f"Key {record.id} for {name}: {', '.join(record.scopes)}. It is shown this once.")
    show({**_described(record, model), "key": text}, as_json, text)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the keys, the revoked ones too.

    Example: `lethe keys list`
    """
    from core import keys
    from lethe.home import opened

    with opened() as backend, backend.db.reading() as session:
        models = keys.models_of(session)
        found = [_described(each, models.get(each.model_id)) for each in keys.listed(session)]
    headers = ("id", "name", "scopes", "model", "created", "expires", "revoked", "last used")
    fields = ("created_at", "expires_at", "revoked_at", "last_used_at")
    lines = [
        (
            each["id"],
            each["name"],
            " ".join(each["scopes"]),
            each["model"],
            *(each[f] for f in fields),
        )
        for each in found
    ]
    show(found, as_json, lambda: table(headers, lines))


@app.command("rotate")
def rotate(
    key_id: Annotated[str, typer.Argument(help="The part of the key before its dot.")],
    overlap_hours: Annotated[
        float, typer.Option(min=0, help="How long the old text stays good; 0 ends it at once.")
    ] = 24.0,
    days: Annotated[
        int | None, typer.Option(min=1, help="Good for so many days from now; else as before.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret. Its new text is shown this once.

    Example: `lethe keys rotate key_01jz... --overlap-hours 1`
    """
    from datetime import timedelta

    from core import first_key, keys
    from lethe.home import opened

    overlap = timedelta(hours=overlap_hours)
    with opened() as backend:
        with backend.db.transaction() as tx:
            record, text = keys.rotate(tx, key_id.partition(".")[0], overlap=overlap, days=days)
            model = keys.model_of(tx.session, record)
        kept = first_key.replace(backend.settings, text)
    if not as_json:
        until = record.previous_until
        ends = f"is good until {_time(until)}" if until else "is good no longer"
        note(f"Key {record.id} has a new text, shown this once. The old one {ends}.")
        if kept:
            note("The file api-key in LETHE_HOME has it too")
    show({**_described(record, model), "key": text}, as_json, text)


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="The part of the key before its dot.")],
    as_json: AsJson = False,
) -> None:
    """End a key at once.

    Example: `lethe keys revoke key_01jz...`
    """
    from core import keys
    from lethe.home import opened

    with opened() as backend, backend.db.transaction() as tx:
        record = keys.revoke(tx, key_id.partition(".")[0])
        model = keys.model_of(tx.session, record)
    show(_described(record, model), as_json, f"Key {record.id} is revoked")


@app.command("webhook-secret")
def webhook_secret(
    key_id: Annotated[str, typer.Argument(help="The part of the key before its dot.")],
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Put a new one in force; the old signs for a day too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the secret that signs the callbacks of a key's requests: give it to the receiver.

    Example: `lethe keys webhook-secret key_01jz...`
    """
    from core import webhooks
    from lethe.home import opened

    key_id = key_id.partition(".")[0]
    with opened() as backend, backend.db.transaction() as tx:
        if rotate:
            text = webhooks.rotate(tx, backend.identities, key_id)
        else:
            text = webhooks.secret_of(tx.session, backend.identities, key_id)
    show({"key_id": key_id, "secret": text}, as_json, text)


def _time(moment: datetime) -> str:
    from core.audit import timestamp

    return timestamp(moment)


def _described(record: ApiKey, model: str | None) -> dict[str, Any]:
    moments = ("created_at", "expires_at", "revoked_at", "last_used_at", "previous_until")
    times = {name: getattr(record, name) for name in moments}
    return {
        "id": record.id,
        "name": record.name,
        "scopes": record.scopes,
        "model": model,
        **{name: _time(at) if at else None for name, at in times.items()},
    }
