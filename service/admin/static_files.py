"""The dashboard's own files, held in memory, each under an address that names its content."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.responses import Response

from core.errors import NotFound

FOLDER = Path(__file__).parent / "static"
TYPES = {".js": "text/javascript", ".woff2": "font/woff2"}
SHOWN = {".css", ".js", ".woff2", ".svg", ".png"}


@dataclass(frozen=True)
class StaticFile:
    """Its bytes, their hash, and the media type."""

    content: bytes
    version: str
    media_type: str


@cache
def files() -> dict[str, StaticFile]:
    """Every file below static/ by its path. The style sheet names the font's address."""
    found: dict[str, StaticFile] = {}
    for path in sorted(FOLDER.rglob("*"), key=lambda path: path.suffix == ".css"):
        if path.suffix in SHOWN:
            content = path.read_bytes()
            for name, file in found.items() if path.suffix == ".css" else ():
                content = content.replace(
                    f"url({name})".encode(), f"url({at(name, file)})".encode()
                )
            kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
            assert kind is not None, f"{path.name} has no media type"
            version = hashlib.sha256(content).hexdigest()[:12]
            found[path.relative_to(FOLDER).as_posix()] = StaticFile(content, version, kind)
    return found


def address(name: str) -> str:
    """Where a page finds the file; another content has another address."""
    return at(name, files()[name])


def at(name: str, file: StaticFile) -> str:
    """The address of this content of the file."""
    return f"/admin/static/{file.version}/{name}"


def answer(version: str, name: str) -> Response:
    """The file, to be kept for ever; raises `NotFound` for another version too."""
    file = files().get(name)
    if file is None or file.version != version:
        raise NotFound(f"there is no file {name} of this version")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(file.content, headers=headers, media_type=file.media_type)
