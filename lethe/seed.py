"""`python -m lethe.seed [digits | no]`: what a deployment that has nothing yet begins with.

A key with all scopes, the bundled digits and a model of them: what makes `docker compose up`
end with a system that predicts and forgets. `no` makes the key alone. Run again it changes
nothing; killed midway and run again, it goes on. The key lies in LETHE_HOME/api-key, where the
client commands of every process that shares that folder find it.
"""

from __future__ import annotations

import sys

from core import datasets, first_key, keys, registry
from core.backend import Backend
from core.errors import Invalid, LetheError
from lethe.console import note, progress
from lethe.home import opened

NAME = "digits"
NOTHING = "no"


def seed(backend: Backend, what: str = NAME, *, epochs: int | None = None) -> list[str]:
    """Make what is missing; returns what was made, in words. `epochs`: in place of the preset's.

    Raises `Invalid` when `what` is neither `digits` nor `no`.
    """
    if what not in (NAME, NOTHING):
        raise Invalid(f"{what!r} cannot be begun with; use {NAME} or {NOTHING}")
    made = []
    with backend.db.reading() as session:
        known = bool(keys.listed(session))
    if not known:  # one that was revoked is not made anew
        path = first_key.ensure(backend.db, backend.settings, name="first").path
        made.append(f"an API key with all scopes, kept in {path}")
    if what == NOTHING:
        return made
    with backend.db.reading() as session:
        imported = NAME in {each.name for each in datasets.datasets(session)}
        models = {each.name: each.id for each in registry.models(session)}
        serves = NAME in models and registry.serving(session, models[NAME]) is not None
    if not imported:
        _import(backend)
        made.append(f"data set {NAME}")
    if not serves:
        from lethe.training import train_shown  # PyTorch: seconds, for nothing at a second start

        train_shown(backend, NAME, NAME, epochs=epochs)
        made.append(f"model {NAME}")
    return made


def _import(backend: Backend) -> None:
    from core.importing import Importer
    from lethe.sources import Subjected, open_source

    source = Subjected(open_source(NAME), samples_per_subject=10)
    with progress(f"Importing {NAME}") as advance:
        Importer(backend.db, backend.samples, backend.identities).run(
            NAME,
            source,
            on_progress=lambda seen: advance(seen / source.total, f"{seen} of {source.total}"),
        )


def main(arguments: list[str]) -> int:
    """Seed what the environment names; errors are one line."""
    try:
        with opened() as backend:
            made = seed(backend, *arguments[:1])
    except LetheError as error:
        note(f"lethe: {error}")
        return 1
    note(f"Made {', '.join(made)}" if made else "Nothing to make: all is there")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
