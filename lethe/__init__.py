"""The command line and the Python clients: `lethe ...`, `from lethe import Client, AsyncClient`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lethe.client import ApiError, AsyncClient, Client

__all__ = ["ApiError", "AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: the command line must not wait for an HTTP library to show help.
    if name in __all__:
        from lethe import client

        return getattr(client, name)
    raise AttributeError(f"module 'lethe' has no attribute {name!r}")
