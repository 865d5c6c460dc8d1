"""A closed loop of HTTP calls, in a process of its own, as cheap as Python allows.

Each of `concurrency` connections sends the same call again as soon as it is answered, until told
to stop, or until the server has gone. One thread over blocking sockets and epoll: what the load
costs is reported beside what it measured, since both share the machine's cores.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

PATIENCE = 60.0
"""Seconds without any answer after which a load gives up: a server that hangs is an error."""

BROKEN, REFUSED = 0, -1
"""In place of a status: the connection broke off; nobody listened, which ends the connection."""


ANSWERED = "answered\n"
"""What a load writes first, once it has an answer."""


@dataclass
class Answers:
    """What one load saw: parallel columns, one row an answer. Times are CLOCK_MONOTONIC seconds.

    status: of HTTP, or BROKEN, or REFUSED. body: an index into `bodies`.
    """

    sent: array[float] = field(default_factory=lambda: array("d"))
    got: array[float] = field(default_factory=lambda: array("d"))
    status: array[int] = field(default_factory=lambda: array("i"))
    body: array[int] = field(default_factory=lambda: array("i"))
    bodies: list[str] = field(default_factory=list)
    cpu_seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.sent)

    def to_json(self) -> str:
        """As a load writes it."""
        columns = {name: list(getattr(self, name)) for name in ("sent", "got", "status", "body")}
        return json.dumps(columns | {"bodies": self.bodies, "cpu_seconds": self.cpu_seconds})

    @classmethod
    def from_json(cls, text: str | bytes) -> Answers:
        """As a load wrote it."""
        d = json.loads(text)
        return cls(
            array("d", d["sent"]),
            array("d", d["got"]),
            array("i", d["status"]),
            array("i", d["body"]),
            d["bodies"],
            d["cpu_seconds"],
        )


@dataclass
class Load:
    """A load that runs: `stop` ends it and gives what it saw."""

    popen: subprocess.Popen[bytes]

    def wait(self) -> None:
        """Until the first answer has come, or every connection was refused."""
        assert self.popen.stdout is not None
        self.popen.stdout.readline()

    def stop(self) -> Answers:
        """End it, after the calls that are under way."""
        assert self.popen.stdin is not None
        self.popen.stdin.close()
        return self.ended()

    def ended(self) -> Answers:
        """Wait until it ends, as it does by itself when all its connections were refused.

        Read while it writes: it writes more than a pipe holds.
        """
        assert self.popen.stdout is not None
        written = self.popen.stdout.read()
        self.popen.wait()
        return self._seen(written)

    def _seen(self, written: bytes) -> Answers:
        if self.popen.returncode:
            raise RuntimeError("the load ended with a fault; the lines above say which")
        return Answers.from_json(written.removeprefix(ANSWERED.encode()))


@contextmanager
def load(port: int, call: bytes, concurrency: int) -> Iterator[Load]:
    """Start a load on 127.0.0.1; `call` is a whole HTTP/1.1 request."""
    command = [sys.executable, "-m", "bench._serving.load", str(port), str(concurrency)]
    popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert popen.stdin is not None
        popen.stdin.write(len(call).to_bytes(8, "big") + call)
        popen.stdin.flush()
        yield Load(popen)
    finally:
        if popen.poll() is None:
            popen.kill()
            popen.wait()
        for pipe in (popen.stdin, popen.stdout):
            if pipe is not None:
                pipe.close()


def request(path: str, body: bytes, key: str = "") -> bytes:
    """A POST of JSON."""
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


class _Connection:
    """One keep-alive connection with one call under way."""

    def __init__(self, port: int, call: bytes) -> None:
        self._port, self._call = port, call
        self._socket: socket.socket | None = None
        self._read, self._expected = b"", -1
        self.sent = 0.0
        self.last = False
        """The server said that it closes after this answer."""

    def open(self) -> int:
        """Connect anew; the file descriptor."""
        self.close()
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket.fileno()

    def send(self) -> None:
        assert self._socket is not None
        self._read, self._expected, self.last = b"", -1, False
        self.sent = time.monotonic()
        self._socket.sendall(self._call)

    def receive(self) -> tuple[int, str] | None:
        """Status and body once the answer is whole; raises OSError when it breaks off."""
        assert self._socket is not None
        part = self._socket.recv(262_144)
        if not part:
            raise ConnectionResetError("closed before it answered")
        self._read += part
        end = self._read.find(b"\r\n\r\n")
        if end < 0:
            return None
        if self._expected < 0:
            head = self._read[:end].lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._expected = end + 4 + int(length)
            self.last = b"connection: close" in head
        if len(self._read) < self._expected:
            return None
        return int(self._read[9:12]), self._read[end + 4 :].decode()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Loop:
    """Connections that call until a file descriptor, `control`, says end of file."""

    def __init__(self, port: int, call: bytes, concurrency: int, control: int) -> None:
        self._control, self._going = control, True
        self._poll = select.epoll()
        self._poll.register(control, select.EPOLLIN | select.EPOLLHUP)
        self._waiting: dict[int, _Connection] = {}
        self._bodies: dict[str, int] = {}
        self.seen = Answers()
        began = time.process_time()
        for _ in range(concurrency):
            self._open(_Connection(port, call))
        while self._waiting and not self.seen:
            self._turn()
        sys.stdout.write(ANSWERED)
        sys.stdout.flush()
        while self._waiting:
            self._turn()
        self.seen.bodies = list(self._bodies)
        self.seen.cpu_seconds = time.process_time() - began

    def _turn(self) -> None:
        events = self._poll.poll(PATIENCE)
        if not events:
            raise TimeoutError(f"no answer within {PATIENCE:g} s")
        for number, _ in events:
            if number == self._control:
                self._going = False
                self._poll.unregister(number)
            else:
                self._hear(number, self._waiting[number])

    def _hear(self, number: int, connection: _Connection) -> None:
        try:
            found = connection.receive()
            if found is None:
                return
        except OSError:
            found, connection.last = (BROKEN, ""), True
        self._note(connection, *found)
        if self._going and not connection.last:
            self._send(connection)
            return
        connection.close()  # which takes it out of the poll as well
        del self._waiting[number]
        if self._going:
            self._open(connection)

    def _open(self, connection: _Connection) -> None:
        connection.sent = time.monotonic()
        try:
            number = connection.open()
        except OSError:
            self._note(connection, REFUSED, "")
            return
        self._waiting[number] = connection
        self._poll.register(number, select.EPOLLIN)
        self._send(connection)

    @staticmethod
    def _send(connection: _Connection) -> None:
        with suppress(OSError):  # what broke is noticed where its answer is waited for
            connection.send()

    def _note(self, connection: _Connection, status: int, body: str) -> None:
        seen = self.seen
        seen.sent.append(connection.sent)
        seen.got.append(time.monotonic())
        seen.status.append(status)
        seen.body.append(self._bodies.setdefault(body, len(self._bodies)))


def _main(arguments: list[str]) -> None:
    port, concurrency = map(int, arguments)
    control = sys.stdin.buffer.raw  # unbuffered: what follows the call stays for the poll
    length = int.from_bytes(control.read(8), "big")
    call = b""
    while len(call) < length:
        call += control.read(length - len(call))
    seen = _Loop(port, call, concurrency, control.fileno()).seen
    sys.stdout.write(seen.to_json())


if __name__ == "__main__":
    _main(sys.argv[1:])
