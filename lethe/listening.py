"""A port to listen on, and how to leave it without cutting anybody off."""

from __future__ import annotations

import ctypes
import socket
import struct
from contextlib import suppress

from core.errors import LetheError

_SO_ATTACH_FILTER = 26
# One instruction of Linux's classic packet filter, "return 0": of every packet keep nothing.
_DROP = struct.pack("HBBI", 0x06, 0, 0, 0)


def listen(host: str, port: int) -> socket.socket:
    """Listen on the address; raises `LetheError` when it is not there or is taken."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise LetheError(f"--host {host}: {error.strerror}") from None
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(2048)
    except OSError as error:
        listening.close()
        reason = error.strerror or str(error)
        raise LetheError(
            f"cannot listen on {host}:{port}: {reason}; choose another --port"
        ) from None
    listening.set_inheritable(True)
    return listening


def turn_away(listening: socket.socket) -> None:
    """Have the kernel drop whoever newly knocks, in every process that shares the socket.

    Closing a listening socket resets the connections that nobody has accepted yet; some are always
    there while clients come. After this no more come, so that those can be accepted and answered,
    and the socket closed. A client that knocks meanwhile does so again after a second (RFC 6298's
    first retransmission) and is refused, as by any port where nobody listens.
    """
    program = ctypes.create_string_buffer(_DROP)
    described = struct.pack("HP", 1, ctypes.addressof(program))
    with suppress(OSError):  # where the kernel forbids it, some may be reset
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
