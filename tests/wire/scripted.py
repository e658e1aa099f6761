"""A server in a thread that speaks exactly the bytes it is told to: for the quirks of protocols, not for timing.

A script is a coroutine that gets a Visit per connection. Everything else is TCP; there is no HTTP library in between.
"""

import asyncio
import contextlib
import itertools
import socket
import ssl
import struct
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Request:
    """What a client sent."""

    head: str
    body: bytes
    connection: int  # of the server, from 1

    @property
    def line(self) -> str:
        return self.head.partition("\r\n")[0]

    @property
    def path(self) -> str:
        return self.line.split()[1]


@dataclass
class Visit:
    """One connection, as its script sees it."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: "Server"
    writes: list[tuple[int, int]] = field(default_factory=list)  # CLOCK_MONOTONIC ns before each write, bytes so far

    async def request(self) -> Request | None:
        """The next request, whole; None when the client has gone."""
        try:
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
            body = await self.reader.readexactly(int(fields.get("content-length", 0)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        request = Request(head, body, self.number)
        self.server.requests.append(request)
        return request

    async def write(self, data: bytes) -> None:
        self.writes.append((time.monotonic_ns(), len(data)))
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    def reset(self) -> None:
        """End with a RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Visit], Awaitable[None]]


class Server:
    """Use as a context manager. The connection ends when the script returns."""

    def __init__(self, script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.visits: list[Visit] = []
        self.host = host
        self._script = script
        self._tls = tls
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._listening = threading.Event()
        self._over = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}"

    @property
    def connections(self) -> int:
        return len(self.visits)

    def __enter__(self) -> "Server":
        self._thread.start()
        assert self._listening.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(5)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        self._loop.set_exception_handler(lambda *_: None)  # a client that goes in mid-handshake is not our affair
        server = await asyncio.start_server(self._visit, self.host, 0, ssl=self._tls, backlog=1024, limit=1 << 24)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._over.wait()
        for _ in range(5):  # who was just let in gets a visit; asyncio loses its socket otherwise
            await asyncio.sleep(0)
        server.close()
        for visit in self.visits:
            visit.writer.transport.abort()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = Visit(next(self._numbers), reader, writer, self)
        self.visits.append(visit)
        try:
            await self._script(visit)
        except asyncio.CancelledError:
            visit.writer.transport.abort()
            return
        with contextlib.suppress(ConnectionError):
            writer.close()


def answering(*answers: bytes) -> Script:
    """Every connection: each answer in turn, one per request, over and over while the client stays."""

    async def script(visit: Visit) -> None:
        for answer in itertools.cycle(answers):
            if await visit.request() is None:
                return
            await visit.write(answer)

    return script


def by_path(answers: dict[str, Callable[[Request], bytes]]) -> Script:
    """Routes; 404 in FastAPI's words for the rest."""

    async def script(visit: Visit) -> None:
        while (request := await visit.request()) is not None:
            answer = answers.get(request.path)
            await visit.write(answer(request) if answer else http(b'{"detail":"Not Found"}', "404 Not Found"))

    return script


def http(body: bytes, status: str = "200 OK", content_type: str = "application/json") -> bytes:
    """An answer with a Content-Length."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def chunked(*pieces: bytes, head: str = "") -> bytes:
    """An event stream in chunks of HTTP, one for each piece."""
    lines = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{head}Transfer-Encoding: chunked\r\n\r\n"
    return lines.encode() + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
