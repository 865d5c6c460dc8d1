"""Every call of the service's API, once: what to ask, and what the answer means.

A noun is a module; each of its functions is a flow or a stream (lethe.flow), of which
`lethe.client` makes a method for both clients. The function's docstring is the method's.
"""

from __future__ import annotations

from lethe.calls import (
    callbacks,
    erasure_requests,
    jobs,
    keys,
    legal_holds,
    models,
    system,
)

__all__ = ["callbacks", "erasure_requests", "jobs", "keys", "legal_holds", "models", "system"]
