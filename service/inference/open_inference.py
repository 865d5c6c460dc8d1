"""The KServe Open Inference Protocol, version 2, over REST: every call below /v2.

One route of its own kind: which call it is follows from the path alone, and no parameter is
injected, so that little stands between the socket and the tensor. What is refused anywhere
is written by `service.errors`, which knows this protocol's form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import URLPath
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from core.errors import Invalid
from service.deps import Needs
from service.errors import is_opendsr
from service.inference.open_inference_body import digits
from service.inference.open_inference_calls import CALLS, OPEN, Call
from service.inference.open_inference_facts import Tally
from service.keyring import Keyring, bearer
from service.limiting import address_of

_NEEDS = Needs("predict")


@dataclass(frozen=True)
class _Template:
    """The route as metrics and the log name it: without names of models."""

    path: str


class OpenInference(BaseRoute):
    """Everything below /v2. Counts what it answered, by model and version."""

    path = "/v2/{call}"

    def __init__(self) -> None:
        self.tallies: dict[tuple[str, int], Tally] = {}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the path is one of the protocol's."""
        ours = scope["type"] == "http" and self.takes(scope)
        return (Match.FULL if ours else Match.NONE), {}

    @staticmethod
    def takes(scope: Scope) -> bool:
        """Is this HTTP call one of the protocol's?"""
        path: str = scope["path"]
        return (path.startswith("/v2/") or path == "/v2") and not is_opendsr(path)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """These calls have no names."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call; raises what `service.errors` has a row for."""
        template, model, version = _parsed(scope["path"])
        scope["route"] = _Template(template if template in CALLS else self.path)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        app: FastAPI = scope["app"]
        only = None
        if template not in OPEN:
            keyring: Keyring = app.state.keyring
            key = bearer(headers.get(b"authorization", b""))
            known = keyring.known(key) or await keyring.caller(key, address_of(scope))
            caller = _NEEDS.check(known)
            only = caller.model
            if model:
                caller.permit(model)
        handlers = CALLS.get(template)
        if handlers is None:
            raise HTTPException(404, f"the Open Inference Protocol has no call {scope['path']!r}")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in handlers:
            allowed = ", ".join(handlers)
            raise HTTPException(
                405, f"expected {allowed}, got {scope['method']}", headers={"Allow": allowed}
            )
        number = None if version is None else digits(version)
        if version is not None and number is None:
            raise Invalid(f"path: expected a version's number, such as 1, got {version[:40]!r}")
        call = Call(app, headers, receive, model, number, self.tallies, only)
        answer = await handlers[method](call)
        await answer(scope, receive, send)


def _parsed(path: str) -> tuple[str, str, str | None]:
    """The call's template, and the model and version in the path."""
    parts = path.rstrip("/").split("/")[2:]
    model, version = "", None
    if parts[:1] == ["models"] and len(parts) > 1 and parts != ["models", "stats"]:
        model, parts[1] = parts[1], "{model}"
        if parts[2:3] == ["versions"] and len(parts) > 3:
            version, parts[3] = parts[3], "{version}"
    elif parts[:2] == ["repository", "models"] and len(parts) > 2:
        model, parts[2] = parts[2], "{model}"
    elif parts[1:2] == ["region"] and len(parts) > 2:
        parts[2] = "{region}"
    return "/".join(["/v2", *parts]), model, version
