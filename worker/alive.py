"""`python -m worker.alive`: does this container's worker live? Status 0 when it does.

What containers ask instead of a port: a worker listens nowhere. Each of its processes renews a
row in the database under the host's name, which is the container's. A database that does not
answer is status 1 as well; give it minutes before a worker is ended for that.
"""

from __future__ import annotations

import socket
import sys

from sqlalchemy.exc import SQLAlchemyError

from core import audit, workers
from core.db import Database
from core.errors import LetheError
from core.settings import read_settings


def main() -> int:
    """Ask the database once; says on stdout what it found."""
    try:
        db = Database(read_settings().database, chain=audit.chain)
        try:
            with db.reading() as session:
                count = workers.alive(session, host=socket.gethostname())
        finally:
            db.close()
    except (LetheError, SQLAlchemyError) as error:
        sys.stdout.write(f"cannot tell: {str(error).splitlines()[0]}\n")
        return 1
    sys.stdout.write(f"{count} worker processes of this host live\n")
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(main())
