"""Public identifiers: sortable by time, unguessable, safe in a URL."""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_LETTER_OF = bytes(ord(_ALPHABET[byte % 32]) for byte in range(256))  # 32 divides 256: no bias


def new_id(prefix: str) -> str:
    """`prefix_` and 26 characters: 48 bits of milliseconds, then 80 random bits (a ULID).

    Later ids sort after earlier ones (to the millisecond), so an id serves as a page cursor.
    """
    ms = time.time_ns() // 1_000_000
    drawn = os.urandom(16).translate(_LETTER_OF).decode()  # each letter is five bits
    pairs = _PAIRS
    return (
        f"{prefix}_{pairs[ms >> 40]}{pairs[ms >> 30 & 1023]}{pairs[ms >> 20 & 1023]}"
        f"{pairs[ms >> 10 & 1023]}{pairs[ms & 1023]}{drawn}"
    )
