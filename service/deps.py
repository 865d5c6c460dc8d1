"""What endpoints ask for, as parameter types: a transaction, a reader, a caller with a scope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection
from starlette.types import Scope

from core import keys
from core.backend import Backend
from core.db import Transaction
from core.deciding import decided_by
from core.desk import Desk
from core.errors import Forbidden
from core.keys import Caller
from service.errors import Challenged
from service.keyring import Keyring, no_key
from service.limiting import Limiter, address_of
from service.watcher import Watcher

# What only looks something up is a coroutine: plain functions are each run in another thread.
_bearer = HTTPBearer(
    auto_error=False, description="An API key: `lethe keys create` makes one, POST /keys too."
)


async def _backend(connection: HTTPConnection) -> Backend:
    backend: Backend = connection.app.state.backend
    return backend


BackendDep = Annotated[Backend, Depends(_backend)]


async def _desk(connection: HTTPConnection) -> Desk:
    desk: Desk = connection.app.state.desk
    return desk


DeskDep = Annotated[Desk, Depends(_desk)]


async def _watcher(connection: HTTPConnection) -> Watcher:
    watcher: Watcher = connection.app.state.watcher
    return watcher


async def _keyring(connection: HTTPConnection) -> Keyring:
    keyring: Keyring = connection.app.state.keyring
    return keyring


KeyringDep = Annotated[Keyring, Depends(_keyring)]


async def _limiter(connection: HTTPConnection) -> Limiter:
    limiter: Limiter = connection.app.state.limiter
    return limiter


LimiterDep = Annotated[Limiter, Depends(_limiter)]


WatcherDep = Annotated[Watcher, Depends(_watcher)]


def _transaction(connection: HTTPConnection, backend: BackendDep) -> Iterator[Transaction]:
    with backend.db.transaction() as tx:
        yield tx
        caller: Caller | None = getattr(connection.state, "caller", None)
        decided_by(tx, caller.key_id if caller else None)


Tx = Annotated[Transaction, Depends(_transaction, scope="function")]
"""A write transaction. It commits when the endpoint returns, before the response is sent; what it
records is the caller's decision."""


def _reading(backend: BackendDep) -> Iterator[Session]:
    with backend.db.reading() as session:
        yield session


Reader = Annotated[Session, Depends(_reading, scope="function")]
"""A session that only looks, given back before the response is sent."""


async def _caller(
    connection: HTTPConnection,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    if credentials is None:
        raise no_key()
    caller = await recognised(connection.scope, credentials.credentials)
    connection.state.caller = caller  # for the transaction, which names it in the audit chain
    return caller


async def recognised(scope: Scope, text: str) -> Caller:
    """The caller whose key this is; raises `Unauthorized`, or `TooMany` when it calls too often."""
    state = scope["app"].state
    keyring: Keyring = state.keyring
    limiter: Limiter = state.limiter
    caller = await keyring.caller(text, address_of(scope))
    await limiter.spend("key_rate", caller.key_id)
    return caller


class Needs:
    """A dependency that gives the caller, if the key has one of these scopes.

    Whether the key is for the model in question is the route's to ask (`Caller.permit`, and
    `only=caller.model_id` where records are looked up). every_model: no key for one model is taken.
    """

    def __init__(self, *scopes: str, every_model: bool = False) -> None:
        assert scopes, "a route without a scope is open"
        assert set(scopes) <= set(keys.SCOPES), f"no such scope among {scopes}"
        self.scopes, self.every_model = scopes, every_model

    async def __call__(self, caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        """The caller; raises `Forbidden` naming the scope that is missing."""
        return self.check(caller)

    def check(self, caller: Caller) -> Caller:
        """The same, for a caller who is known already."""
        if caller.scopes.isdisjoint(self.scopes):
            need = (
                f"the scope {self.scopes[0]!r}"
                if len(self.scopes) == 1
                else f"one of the scopes {', '.join(self.scopes)}"
            )
            has = ", ".join(sorted(caller.scopes))
            raise Challenged(f"this needs {need}; the key has {has}", " ".join(self.scopes))
        if self.every_model and caller.model_id is not None:
            raise Forbidden(f"this needs a key for every model; this is one for {caller.model!r}")
        return caller


ERASE, READ = Needs("erase"), Needs("read", "erase", "review", "admin")
CanErase = Annotated[Caller, Depends(ERASE)]
CanRead = Annotated[Caller, Depends(READ)]
"""Whoever may change something may look at it."""
CanReview = Annotated[Caller, Depends(Needs("review"))]
CanWithdraw = Annotated[Caller, Depends(Needs("erase", "review"))]
"""Who may post a request may withdraw it; so may a reviewer."""
CanReplay = Annotated[Caller, Depends(Needs("erase", "review", "admin"))]
"""Who may post a request may have its callbacks sent again; so may who looks after them."""
CanPredict = Annotated[Caller, Depends(Needs("predict"))]
CanAdmin = Annotated[Caller, Depends(Needs("admin"))]
CanManageKeys = Annotated[Caller, Depends(Needs("admin", every_model=True))]
"""A key for one model must not make one for another."""
