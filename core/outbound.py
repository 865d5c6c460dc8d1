"""Calls to addresses that others name: checked, connected to as checked, and cut short.

A name is resolved once a call. Every address that it has must be allowed, and the connection is
made to one of these addresses, not to the name: what resolves differently a moment later (DNS
rebinding) changes nothing. The certificate is still held against the name. Redirects are not
followed, proxies of the environment not used.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import httpcore
import httpx

from core.errors import Invalid, LetheError
from core.settings import Settings

SECONDS = 10.0
"""One call, from its connection to the end of its answer's head."""

MOST_READ = 64 * 1024
"""Bytes of an answer's body: only its status matters here."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Undelivered(LetheError):
    """A call that could not be made, or was not answered."""


@dataclass(frozen=True)
class Target:
    """An address that may be called: its URL, and where to connect."""

    url: httpx.URL
    addresses: tuple[str, ...]


class Outbound:
    """Calls under the rules of the settings; any thread may make them."""

    def __init__(self, settings: Settings) -> None:
        self._allowed = settings.callback_networks
        self._http = settings.callback_http
        self._ssl = httpx.create_ssl_context(trust_env=False)
        if settings.callback_ca is not None:
            self._ssl.load_verify_locations(settings.callback_ca)

    def check(self, url: str) -> Target:
        """Where a call to this URL would go.

        Raises `Invalid` for a URL that is not http(s), has a user or password in it, does not
        resolve, or leads to an address that is not public and not in LETHE_CALLBACK_ALLOW.
        """
        parsed = self._parsed(url)
        addresses = _resolved(parsed)
        for address in addresses:
            self._check_address(address)
        return Target(parsed, tuple(dict.fromkeys(str(address) for address in addresses)))

    def check_named(self, url: str, where: str = "callback_url") -> None:
        """`check` for a field of a request: the error names the field."""
        try:
            self.check(url)
        except Invalid as error:
            message = str(error)
            raise Invalid(f"{where}: {message}", [{"where": where, "message": message}]) from None

    def post(self, url: str, headers: dict[str, str], body: bytes) -> int:
        """POST once, to what the URL leads to now; returns the answer's status.

        Raises `Invalid` as `check` does, `Undelivered` when there is no answer in time.
        """
        target = self.check(url)
        host = target.url.netloc.decode("ascii")
        sent = [("Host", host), ("Connection", "close"), *headers.items()]
        backend = _Pinned(target.addresses, time.monotonic() + SECONDS)
        try:
            with (
                httpcore.ConnectionPool(ssl_context=self._ssl, network_backend=backend) as pool,
                pool.stream("POST", _wire(target.url), headers=sent, content=body) as response,
            ):
                _drain(response)
                return response.status
        except (httpcore.TimeoutException, TimeoutError):
            raise Undelivered(f"no answer within {SECONDS:g} seconds") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise Undelivered(str(error)[:200] or type(error).__name__) from None

    def _parsed(self, url: str) -> httpx.URL:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise Invalid(f"this is not a URL: {error}") from None
        if not 0 < (parsed.port or 443) < 65_536:
            raise Invalid("this is not a URL: a port is a number below 65536")
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise Invalid("a URL to be called begins with https://, then names a host")
        if parsed.scheme == "http" and not self._http:
            raise Invalid(
                "a URL to be called begins with https://; LETHE_CALLBACK_HTTP=true allows http://"
            )
        if parsed.userinfo:
            raise Invalid("leave user and password out of a URL: it is kept as it is")
        return parsed

    def _check_address(self, address: IPv4Address | IPv6Address) -> None:
        if any(address in network for network in self._allowed):
            return
        kind = _kind(address)
        if kind is not None:
            raise Invalid(
                f"the URL leads to {kind} address; to allow it name its network in "
                "LETHE_CALLBACK_ALLOW, such as LETHE_CALLBACK_ALLOW=127.0.0.0/8,::1/128"
            )


def _resolved(url: httpx.URL) -> list[IPv4Address | IPv6Address]:
    """Every address of the URL's host, those inside others taken out; raises `Invalid`.

    The system's resolver reads what it reads for a connection too: 2130706433, 0x7f.1, 127.1.
    """
    host = url.raw_host.decode("ascii")
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError):
        raise Invalid("the URL's host cannot be resolved now") from None
    return [_inner(ipaddress.ip_address(entry[4][0])) for entry in found]


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for (mapped, 6to4, NAT64), or itself."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        return inner or address
    return address


def _kind(address: IPv4Address | IPv6Address) -> str | None:
    """What makes an address no public one; None for a public one."""
    kinds = {
        "an unspecified": address.is_unspecified,
        "a loopback": address.is_loopback,
        "a link-local": address.is_link_local,
        "a multicast": address.is_multicast,
        # IPv4 tunnelled in Teredo, and what site-local was: neither is in "global" terms.
        "a reserved": address.is_reserved
        or (isinstance(address, IPv6Address) and bool(address.teredo or address.is_site_local)),
        "a private": not address.is_global,
    }
    return next((kind for kind, so in kinds.items() if so), None)


def _wire(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )


def _drain(response: httpcore.Response) -> None:
    """Take some of what comes, so that the receiver may end; the status is known already."""
    read = 0
    with suppress(httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        for chunk in response.iter_stream():
            read += len(chunk)
            if read >= MOST_READ:
                return


class _Pinned(httpcore.NetworkBackend):
    """Connects to given addresses whatever host is asked for, and lets nothing outlast a moment."""

    def __init__(self, addresses: Sequence[str], until: float) -> None:
        self._addresses, self._until = addresses, until
        self._real = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002  # it was resolved, and what it resolved to was checked
        port: int,
        timeout: float | None = None,  # noqa: ARG002  # ours is for the whole call
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address that takes one."""
        for address in self._addresses[:-1]:
            with suppress(httpcore.NetworkError, httpcore.TimeoutException):
                return self._connected(address, port, local_address, socket_options)
        return self._connected(self._addresses[-1], port, local_address, socket_options)

    def _connected(
        self, address: str, port: int, local_address: str | None, options: Iterable[Any] | None
    ) -> httpcore.NetworkStream:
        seconds = _left(self._until) / 2  # time is left for another address, or for the answer
        stream = self._real.connect_tcp(address, port, seconds, local_address, options)
        return _Timed(stream, self._until)


class _Timed(httpcore.NetworkStream):
    """A connection whose every step must end by one moment: slow answers cannot be strung along."""

    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self._stream, self._until = stream, until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """Some bytes."""
        return self._stream.read(max_bytes, _left(self._until))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """All of these bytes."""
        self._stream.write(buffer, _left(self._until))

    def close(self) -> None:
        """End the connection."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """The same connection, encrypted; the certificate must be the URL's host's."""
        stream = self._stream.start_tls(ssl_context, server_hostname, _left(self._until))
        return _Timed(stream, self._until)

    def get_extra_info(self, info: str) -> Any:
        """Facts of the connection."""
        return self._stream.get_extra_info(info)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time of the call is over")
    return left
