"""`python -m lethe` is `lethe`: how a command may be stopped is settled before anything loads."""

from __future__ import annotations

from typing import NoReturn

from lethe import stopping


def main() -> NoReturn:
    """Entry point of `lethe`: runs the command of sys.argv."""
    stopping.install()
    from lethe import cli

    cli.main()


if __name__ == "__main__":
    main()
