"""The installed Chromium: found by name or by LETHE_CHROMIUM, installed where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",  # containers seldom allow one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MISSING = (
    "the browser tests need Chromium, and none was found as "
    f"{', '.join(NAMES)}: install it (on Debian and Ubuntu `apt-get install chromium`), "
    "or set LETHE_CHROMIUM to its path"
)


def find() -> str | None:
    """The path of an installed Chromium."""
    named = os.environ.get("LETHE_CHROMIUM")
    return next((path for name in (named, *NAMES) if name and (path := shutil.which(name))), None)


def find_or_install() -> str | None:
    """The same; where there is none, root installs it by apt-get if that is there."""
    if find() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "chromium"]):
            subprocess.run(
                [*command, "-qq"],
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                check=False,
            )
    return find()
