"""API keys."""

from __future__ import annotations

from collections.abc import Sequence

from lethe.answers import Key, MadeKey
from lethe.calls.asking import gathered, given, in_path, one, pages
from lethe.flow import Ask, Flow


def api_keys() -> Flow[list[Key]]:
    """Every API key, newest first, the revoked ones too; never a secret."""
    return gathered(pages(Key, "/keys", {}))


def create_key(
    name: str, scopes: Sequence[str], *, days: int | None = None, model: str | None = None
) -> Flow[MadeKey]:
    """Make a key, for one model or for every one; its text is in this answer and nowhere else."""
    body = given(name=name, scopes=list(scopes), days=days, model=model)
    return one(MadeKey, Ask("POST", "/keys", json=body, repeatable=False))


def rotate_key(
    key_id: str, *, overlap_seconds: int = 86_400, days: int | None = None
) -> Flow[MadeKey]:
    """Give a key a new secret; the old one stays good for `overlap_seconds`."""
    body = given(overlap_seconds=overlap_seconds, days=days)
    path = f"/keys/{in_path(key_id)}/rotate"
    return one(MadeKey, Ask("POST", path, json=body, repeatable=False))


def revoke_key(key_id: str) -> Flow[Key]:
    """End a key at once; doing so twice changes nothing."""
    return one(Key, Ask("DELETE", f"/keys/{in_path(key_id)}"))
