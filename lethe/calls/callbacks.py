"""Callbacks: what was sent, and the secrets that sign it."""

from __future__ import annotations

from lethe.answers import Delivery, WebhookSecret
from lethe.calls.asking import in_path, one, pages
from lethe.flow import Ask, Flow, Stream


def deliveries(*, status: str | None = None) -> Stream[Delivery]:
    """Callbacks of all requests, newest first; "given_up" are those that never arrived."""
    return pages(Delivery, "/deliveries", {"status": status})


def deliveries_of(request_id: str) -> Stream[Delivery]:
    """Callbacks of one request, newest first, with every attempt."""
    return pages(Delivery, f"/erasure-requests/{in_path(request_id)}/deliveries", {})


def replay_delivery(delivery_id: str) -> Flow[Delivery]:
    """Send a callback again at once, with the same id and body."""
    path = f"/deliveries/{in_path(delivery_id)}/replay"
    return one(Delivery, Ask("POST", path, repeatable=False))


def webhook_secret(key_id: str) -> Flow[WebhookSecret]:
    """What signs the callbacks of requests posted with this key (Standard Webhooks)."""
    return one(WebhookSecret, Ask("GET", f"/keys/{in_path(key_id)}/webhook-secret"))


def rotate_webhook_secret(key_id: str) -> Flow[WebhookSecret]:
    """Put a new secret in force. For a day callbacks carry the signatures of both."""
    path = f"/keys/{in_path(key_id)}/webhook-secret/rotate"
    return one(WebhookSecret, Ask("POST", path, repeatable=False))
