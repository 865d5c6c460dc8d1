"""`lethe audit`: check the chain of events, ask for an exact retraining."""

from __future__ import annotations

from typing import Annotated

import typer

from core.errors import LetheError
from lethe.console import AsJson, show

app = typer.Typer(help="Audit: the chain of events, exact retraining.", no_args_is_help=True)


@app.command("verify")
def verify(as_json: AsJson = False) -> None:
    """Recompute the hash chain over every event, and the coins of every canary group.

    Names the first break, and each group whose coins are not those committed to.

    Example: `lethe audit verify`
    """
    from core.audit import verify_chain
    from core.canaries import broken_commitments
    from lethe.home import opened

    with opened() as backend, backend.db.reading() as session:
        report = verify_chain(session)
        changed = broken_commitments(session)
    result = {
        "events": report.events,
        "head": report.head,
        "broken_at": report.broken_at,
        "reason": report.reason,
        "canaries": changed,
    }
    if report.broken_at is None and not changed:
        show(result, as_json, f"{report.events} events, unbroken; head {report.head}")
        return
    if as_json:
        show(result, as_json, "")
    wrong = [f"the audit chain is broken at event {report.broken_at}: {report.reason}"]
    raise LetheError("; ".join((wrong if report.broken_at is not None else []) + changed))


@app.command("retrain")
def retrain(
    model: Annotated[str, typer.Argument(help="The model.")], as_json: AsJson = False
) -> None:
    """Run an exact retraining beside the model's next job and record how far apart they are.

    Example: `lethe audit retrain digits`
    """
    from core import registry
    from lethe.home import opened

    with opened() as backend, backend.db.transaction() as tx:
        found = registry.lock_model(tx, registry.model_named(tx.session, model).id)
        found.audit_next = True
        tx.record("model", found.id, "audit asked for")
    show(
        {"model": model, "audit_next": True},
        as_json,
        f"The next job of {model} retrains it exactly beside the unlearning",
    )
