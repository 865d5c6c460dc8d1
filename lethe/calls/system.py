"""The service itself: does it answer, and what is known of it."""

from __future__ import annotations

from lethe.answers import Readiness
from lethe.calls.asking import one, text, well
from lethe.flow import ApiError, Ask, Flow


def alive() -> Flow[bool]:
    """Does the process answer?"""
    return well("/livez")


def ready() -> Flow[bool]:
    """Does the service say that it can answer?"""
    return well("/readyz")


def readiness() -> Flow[Readiness]:
    """What is there, what is not, and what somebody must see to; `ApiError` while not ready."""
    return one(Readiness, Ask("GET", "/readyz"))


def warnings() -> Flow[list[str]]:
    """What somebody must see to: no worker runs, requests are overdue."""
    try:
        found = yield from readiness()
    except ApiError:  # not ready: nothing is known of the rest
        return []
    return found.warnings


def metrics() -> Flow[str]:
    """The metrics, in Prometheus' text format."""
    return text("/metrics")
