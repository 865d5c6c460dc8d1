"""`make audit`: what bandit says of the code, and what is known to be wrong with its dependencies.

bandit must find nothing: what it may find is in pyproject.toml, with a reason, or is marked where
it stands. pip-audit asks a service on the internet. Where that cannot be reached, nothing is known,
and that is what is said: status 2.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("lethe", "service", "worker", "core", "unlearning", "migrations")


def main() -> int:
    """Both audits; 0 when both are clean, 1 when one is not, 2 when dependencies are unknown."""
    clean = code_is_clean()
    known = dependencies()
    return 1 if not clean or known == 1 else known


def code_is_clean() -> bool:
    """Does bandit find nothing?"""
    command = ["bandit", "--quiet", "--configfile", "pyproject.toml", "--recursive", *PACKAGES]
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False)
    say("bandit: nothing found" if done.returncode == 0 else "bandit: see above")
    return done.returncode == 0


def dependencies() -> int:
    """What is known of the versions in requirements.lock."""
    command = ["pip_audit", "--requirement", "requirements.lock", "--disable-pip", "--no-deps"]
    done = subprocess.run(
        [sys.executable, "-m", *command, "--format", "json", "--progress-spinner", "off"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        say(f"pip-audit: NOT AUDITED, it could not ask: {said[-1]}")
        return 2
    return told(found)


def told(found: list[dict[str, Any]]) -> int:
    """Say what pip-audit found; the status."""
    unknown = [each["name"] for each in found if "skip_reason" in each]
    wrong = [(each, one) for each in found for one in each.get("vulns", [])]
    for each, one in wrong:
        fixed = ", ".join(one["fix_versions"]) or "no version yet"
        say(f"pip-audit: {each['name']} {each['version']}: {one['id']}, mended in {fixed}")
    asked = len(found) - len(unknown)
    if unknown and not asked:
        say(f"pip-audit: NOT AUDITED, the service knew none of the {len(found)} packages; "
            "is that a mirror? Run `make audit` where https://pypi.org can be reached")  # fmt: skip
    elif unknown:
        say(f"pip-audit: {asked} packages looked up; NOT AUDITED: {', '.join(unknown)}")
    else:
        say(f"pip-audit: {asked} packages looked up, {len(wrong)} findings")
    return 1 if wrong else 2 if unknown else 0


def say(text: str) -> None:
    """A line, before whatever a subprocess writes next."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
