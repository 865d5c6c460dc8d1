"""What may be called, and what a call puts up with. The receivers are real servers."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpcore
import pytest

from core import outbound
from core.errors import Invalid, SettingsError
from core.outbound import Outbound, Undelivered
from core.settings import Settings, read_settings
from tests.receiving import ALLOW, Receiver, authority, receiver, reply

PUBLIC = "93.184.215.14"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """What each name resolves to, one list of addresses a look-up, the last one ever after."""
    known: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def resolve(host: str, port: Any, *args: Any, **options: Any) -> Any:
        if host in known:
            addresses = known[host].pop(0) if len(known[host]) > 1 else known[host][0]
            return [real(address, port, *args, **options)[0] for address in addresses]
        try:
            ipaddress.ip_address(host)
        except ValueError:
            if not host[:1].isdigit():
                raise socket.gaierror("nobody") from None
        return real(host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return known


@pytest.fixture
def strict() -> Outbound:
    return Outbound(Settings())


@pytest.fixture
def local() -> Outbound:
    return Outbound(Settings(callback_allow=ALLOW, callback_http=True))


@pytest.fixture
def taker() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.1", "loopback"),
        ("2130706433", "loopback"),
        ("0x7f000001", "loopback"),
        ("0x7f.1", "loopback"),
        ("017700000001", "loopback"),
        ("[::1]", "loopback"),
        ("[0:0:0:0:0:0:0:1]", "loopback"),
        ("[::ffff:127.0.0.1]", "loopback"),
        ("[::ffff:7f00:1]", "loopback"),
        ("[2002:7f00:1::]", "loopback"),  # 6to4
        ("[64:ff9b::7f00:1]", "loopback"),  # NAT64
        ("[64:ff9b::a00:1]", "private"),
        ("0.0.0.0", "unspecified"),
        ("0", "unspecified"),
        ("[::]", "unspecified"),
        ("10.0.0.1", "private"),
        ("172.16.5.4", "private"),
        ("192.168.1.1", "private"),
        ("[::ffff:192.168.1.1]", "private"),
        ("100.64.0.1", "private"),  # shared by carriers
        ("169.254.169.254", "link-local"),  # metadata of clouds
        ("[fe80::1]", "link-local"),
        ("[fd00:ec2::254]", "private"),
        ("[fec0::1]", "reserved"),
        ("[2001:0:7f00:1::]", "reserved"),  # Teredo
        ("224.0.0.1", "multicast"),
        ("[ff02::1]", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("192.0.2.1", "private"),  # documentation
        ("inside.example", "private"),
    ],
)
def test_addresses_that_are_not_public_are_refused_however_written(
    strict: Outbound, names: dict[str, list[list[str]]], host: str, kind: str
) -> None:
    names["inside.example"] = [["10.1.2.3"]]
    with pytest.raises(Invalid, match=f"leads to an? {kind} address.*LETHE_CALLBACK_ALLOW"):
        strict.check(f"https://{host}/hook")


@pytest.mark.parametrize("host", [PUBLIC, "[2606:2800:21f:cb07:6820:80da:af6b:8b2c]"])
def test_public_addresses_are_allowed(strict: Outbound, host: str) -> None:
    assert strict.check(f"https://{host}:8443/hook?a=b").addresses == (host.strip("[]"),)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("ftp://example.org/", "begins with https://"),
        ("file:///etc/passwd", "begins with https://"),
        ("https://", "names a host"),
        ("//example.org", "begins with https://"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "begins with https://"),
        (f"http://{PUBLIC}/", "LETHE_CALLBACK_HTTP=true"),
        (f"https://me:secret@{PUBLIC}/", "leave user and password out"),
        (f"https://{PUBLIC}@inside.example/", "leave user and password out"),
        ("https://nobody.example/", "cannot be resolved"),
        (f"https://{'a' * 70}.example/", "cannot be resolved|not a URL"),
        ("https://[::1/", "not a URL"),
        ("https://a:99999999/", "not a URL"),
        ("https://127.000.000.001/", "not a URL"),
        ("https://0177.0.0.1/", "not a URL"),
        ("https://①②⑦.0.0.1/", "not a URL|cannot be resolved|loopback"),
    ],
)
def test_urls_that_are_not_called(
    strict: Outbound, names: dict[str, list[list[str]]], url: str, what: str
) -> None:
    with pytest.raises(Invalid, match=what):
        strict.check(url)


def test_one_private_address_among_public_ones_is_one_too_many(
    strict: Outbound, names: dict[str, list[list[str]]]
) -> None:
    names["both.example"] = [[PUBLIC, "10.0.0.1"]]
    with pytest.raises(Invalid, match="private"):
        strict.check("https://both.example/")


def test_networks_can_be_allowed(names: dict[str, list[list[str]]]) -> None:
    some = Outbound(Settings(callback_allow="10.1.0.0/16, fd00::/8"))
    assert some.check("https://10.1.2.3/").addresses == ("10.1.2.3",)
    assert some.check("https://[::ffff:10.1.2.3]/").addresses == ("10.1.2.3",)
    assert some.check("https://[fd00::1]/").addresses == ("fd00::1",)
    for other in ("10.2.0.1", "127.0.0.1", "[fe80::1]"):
        with pytest.raises(Invalid):
            some.check(f"https://{other}/")


@pytest.mark.parametrize("text", ["10.1.0.1/16", "everything", "10.0.0.0/40"])
def test_what_is_no_network_is_said_at_the_start(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="LETHE_CALLBACK_ALLOW"):
        read_settings(home=tmp_path, callback_allow=text)


def test_authorities_that_are_not_there_are_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="LETHE_CALLBACK_CA"):
        read_settings(home=tmp_path, callback_ca=tmp_path / "none.pem")


def test_a_call(local: Outbound, taker: Receiver) -> None:
    assert local.post(f"{taker.url}/hook?a=b", {"X-Mine": "1"}, b"body") == 204
    [got] = taker.got
    assert (got.path, got.body) == ("/hook?a=b", b"body")
    assert got.headers["host"] == taker.url.removeprefix("http://")
    assert got.headers["x-mine"] == "1"


def test_the_connection_goes_to_what_was_checked(
    local: Outbound, taker: Receiver, names: dict[str, list[list[str]]]
) -> None:
    names["receiver.example"] = [["127.0.0.1"], [PUBLIC]]
    assert local.post(f"http://receiver.example:{taker.port}/", {}, b"") == 204
    assert taker.got[0].headers["host"] == f"receiver.example:{taker.port}"
    assert names["receiver.example"] == [[PUBLIC]], "it was resolved once"


def test_a_name_that_now_leads_inside_is_refused_at_the_call(
    taker: Receiver, names: dict[str, list[list[str]]]
) -> None:
    careful = Outbound(Settings(callback_http=True))
    names["rebound.example"] = [[PUBLIC], ["127.0.0.1"]]
    careful.check(f"http://rebound.example:{taker.port}/")
    with pytest.raises(Invalid, match="loopback"):
        careful.post(f"http://rebound.example:{taker.port}/", {}, b"")
    assert taker.got == []


def test_another_address_is_tried(
    local: Outbound, taker: Receiver, names: dict[str, list[list[str]]]
) -> None:
    names["two.example"] = [["127.0.0.2", "127.0.0.1"]]
    assert local.post(f"http://two.example:{taker.port}/", {}, b"") == 204


def test_redirects_are_not_followed(local: Outbound, taker: Receiver) -> None:
    with receiver() as inner:
        taker.answer = lambda handler, _: reply(handler, 307, Location=f"{inner.url}/secrets")
        assert local.post(taker.url, {}, b"") == 307
        assert inner.got == []


def test_proxies_of_the_environment_are_not_used(
    local: Outbound, taker: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert local.post(taker.url, {}, b"") == 204
        assert proxy.got == []


def test_huge_answers_are_not_read(local: Outbound, taker: Receiver) -> None:
    written = 0

    def flood(handler: Any, _: Any) -> None:
        nonlocal written
        handler.send_response(200)
        handler.end_headers()
        for _ in range(4096):
            handler.wfile.write(bytes(64 * 1024))
            written += 64 * 1024

    taker.answer = flood
    assert local.post(taker.url, {}, b"") == 200
    assert written < 64 * 1024 * 1024, "the kernel's buffers, not 256 MiB"


def test_huge_heads_are_not_read(local: Outbound, taker: Receiver) -> None:
    taker.answer = lambda handler, _: reply(handler, 200, **{"X-Long": "a" * 200_000})
    with pytest.raises(Undelivered):
        local.post(taker.url, {}, b"")


@pytest.mark.parametrize("drip", [False, True])
def test_slow_answers_are_given_up(
    local: Outbound, taker: Receiver, monkeypatch: pytest.MonkeyPatch, drip: bool
) -> None:
    monkeypatch.setattr(outbound, "SECONDS", 0.4)

    def answer(handler: Any, _: Any) -> None:
        for _ in range(30):
            time.sleep(0.1)
            if drip:  # each byte is in time, the answer never is
                handler.wfile.write(b"H")

    taker.answer = answer
    began = time.monotonic()
    with pytest.raises(Undelivered, match=r"no answer within 0\.4 seconds"):
        local.post(taker.url, {}, b"")
    assert time.monotonic() - began < 2.5


def test_a_slow_body_after_a_status_does_no_harm(
    local: Outbound, taker: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "SECONDS", 0.4)

    def answer(handler: Any, _: Any) -> None:
        handler.send_response(202)
        handler.send_header("Content-Length", "9")
        handler.end_headers()
        time.sleep(1)

    taker.answer = answer
    assert local.post(taker.url, {}, b"") == 202


@pytest.mark.parametrize("answered", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 20"])
def test_what_is_no_answer(local: Outbound, taker: Receiver, answered: bytes) -> None:
    taker.answer = lambda handler, _: handler.wfile.write(answered)
    with pytest.raises(Undelivered):
        local.post(taker.url, {}, b"")


def test_nobody_there(local: Outbound) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # it does not listen
        with pytest.raises(Undelivered, match="refused"):
            local.post(f"http://127.0.0.1:{taken.getsockname()[1]}/", {}, b"")


def test_the_certificate_must_be_the_hosts(
    tmp_path: Path, names: dict[str, list[list[str]]]
) -> None:
    ca, host = authority(tmp_path, "receiver.example")
    names["receiver.example"] = names["other.example"] = [["127.0.0.1"]]
    knows = Outbound(Settings(callback_allow=ALLOW, callback_ca=ca))
    with receiver(host) as taker:
        assert knows.post(f"https://receiver.example:{taker.port}/", {}, b"") == 204
        with pytest.raises(Undelivered, match=r"(?i)hostname mismatch"):
            knows.post(f"https://other.example:{taker.port}/", {}, b"")
        with pytest.raises(Undelivered, match=r"(?i)certificate verify failed"):
            Outbound(Settings(callback_allow=ALLOW)).post(
                f"https://receiver.example:{taker.port}/", {}, b""
            )
    assert len(taker.got) == 1


def test_a_call_whose_time_is_over_reads_no_further() -> None:
    assert outbound._left(time.monotonic() + 5) > 0
    with pytest.raises(httpcore.ReadTimeout):
        outbound._left(time.monotonic() - 1)
