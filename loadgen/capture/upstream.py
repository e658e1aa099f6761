"""The connections to the server: one exchange at a time on each, kept for the next one when it ended well.

A read is parsed to know where the answer ends, and handed over at once with the time it came. A connection never sends
anything twice: whoever asked decides, and is told whether a byte of an answer had come.
"""

import asyncio
import socket
import ssl
import time
from typing import Protocol, cast

import httptools

from loadgen.capture.head import HEAD_BYTES_MAX, AnswerHead, Framing, Headers, is_chunked, value
from loadgen.target import Target

CONNECT_S = 30.0
KEEP_S = 4.0  # servers close idle connections after 5 s and more: letting go earlier avoids most races
RESOLVED_S = 10.0  # an address is good for that long
_now_ns = time.monotonic_ns


class Taker(Protocol):
    """Who waits for the answer."""

    def begin(self, answer: AnswerHead) -> None: ...
    def more(self, pieces: list[bytes], ended: bool, came_ns: int) -> None: ...
    def broken(self, reason: str) -> None: ...
    def hold_back(self, full: bool) -> None: ...


class Upstream(asyncio.Protocol):
    """States: idle ⇄ carrying (it has a taker) → closed."""

    transport: asyncio.Transport

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self.taker: Taker | None = None
        self.used = False  # has carried a whole exchange before
        self.silent = True  # no byte of this answer has come
        self.idle_since = 0.0
        self._is_head = self._begun = self._ended = self._keeps = False
        self._bytes_before = 0
        self._reason = b""
        self._headers: Headers = []
        self._pieces: list[bytes] = []
        self._framing = Framing.NONE

    def carry(self, taker: Taker, wire: bytes, is_head: bool) -> None:
        """Send a request, or its beginning; the rest by `send`. The connection must be open."""
        self.taker, self._is_head = taker, is_head
        self.silent, self._begun, self._ended, self._keeps = True, False, False, False
        self._bytes_before = 0
        self.transport.write(wire)

    def send(self, wire: bytes) -> None:
        """More of the request. A connection that has just closed takes nothing: its end will be told."""
        if not self.transport.is_closing():
            self.transport.write(wire)

    def read(self, wanted: bool) -> None:
        """Go on reading, or wait."""
        if not self.transport.is_closing():
            (self.transport.resume_reading if wanted else self.transport.pause_reading)()

    def release(self, whole: bool) -> None:
        """The taker needs it no more; `whole`: all of the request was handed over."""
        self.taker = None
        good = whole and self._ended and self._keeps and not self.transport.is_closing()
        if good and not self.transport.get_write_buffer_size():
            self.used = True
            if self._is_head:  # the parser may wait for the body that a HEAD's answer tells of and has not
                self._parser = httptools.HttpResponseParser(self)
            self.transport.resume_reading()
            self._pool.put(self)
        else:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are no children of asyncio's

    def data_received(self, data: bytes) -> None:
        came_ns = _now_ns()
        if self.taker is None:  # words that nobody asked for: what follows could not be trusted
            self._pool.drop(self)
            self.transport.abort()
            return
        self.silent = False
        problem = ""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._keeps = False
            problem = f"not an HTTP answer ({error})"
        if not self._begun and not problem:
            self._bytes_before += len(data)
            problem = "the head of its answer has no end" if self._bytes_before > HEAD_BYTES_MAX else ""
        if self._begun:
            pieces, self._pieces = self._pieces, []
            self.taker.more(pieces, self._ended, came_ns)
        if problem and self.taker is not None and not self._ended:
            self.taker.broken(problem)

    def on_message_begin(self) -> None:
        if self._ended:
            raise ValueError("more than one answer")
        self._headers, self._reason = [], b""

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))  # trailers too, which come when the head has gone

    def on_headers_complete(self) -> None:
        status, headers = self._parser.get_status_code(), self._headers
        if status < 200 or self.taker is None:
            return
        self._begun = True
        if self._is_head or status in (204, 304):
            self._framing = Framing.NONE
        elif is_chunked(headers):
            self._framing = Framing.CHUNKED
        else:
            self._framing = Framing.LENGTH if value(headers, b"content-length") else Framing.CLOSE
        if self._is_head:
            self._ended, self._keeps = True, self._parser.should_keep_alive()
        self.taker.begin(AnswerHead(status, self._reason, headers, self._framing))

    def on_body(self, piece: bytes) -> None:
        if self._is_head:
            raise ValueError("a body that must not be")
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        if self._begun and not self._is_head:  # not of an interim answer
            self._ended = True
            self._keeps = self._parser.should_keep_alive()  # the parser forgets the headers right after this call

    def pause_writing(self) -> None:
        if self.taker is not None:
            self.taker.hold_back(True)

    def resume_writing(self) -> None:
        if self.taker is not None:
            self.taker.hold_back(False)

    def connection_lost(self, error: Exception | None) -> None:
        self._pool.drop(self)
        if self.taker is None:
            return
        if self._begun and self._framing is Framing.CLOSE and error is None:
            self._ended = True
            self.taker.more([], True, _now_ns())
        else:
            cut = "the connection ended before the answer did" if self._begun else "it closed the connection"
            self.taker.broken(cut if error is None else in_words(error))


class Pool:
    """Idle connections, the one that was used last first."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._tls = ssl.create_default_context() if target.scheme == "https" else None
        self._idle: dict[Upstream, None] = {}  # in the order in which they became idle
        self._open: set[Upstream] = set()
        self._addresses: list[tuple[str, int]] = []
        self._resolved_s = -RESOLVED_S

    def take(self) -> Upstream | None:
        """One that is connected already, if there is one."""
        while self._idle:
            upstream, _ = self._idle.popitem()
            if not upstream.transport.is_closing():
                return upstream
        return None

    async def connect(self) -> Upstream:
        """A fresh one. Raises OSError, TimeoutError."""
        loop, problem = asyncio.get_running_loop(), OSError("it has no address")
        name = self._target.host if self._tls is not None else None
        async with asyncio.timeout(CONNECT_S):
            for host, port in await self._resolved():
                try:
                    _, upstream = await loop.create_connection(
                        lambda: Upstream(self), host, port, ssl=self._tls, server_hostname=name
                    )
                except OSError as error:
                    problem, self._resolved_s = error, -RESOLVED_S
                else:
                    self._open.add(upstream)
                    return upstream
        raise problem

    async def _resolved(self) -> list[tuple[str, int]]:
        """The server's addresses, asked for anew now and then: a burst of connections would be a burst of questions."""
        now_s = time.monotonic()
        if now_s - self._resolved_s > RESOLVED_S:
            found = await asyncio.get_running_loop().getaddrinfo(
                self._target.host, self._target.port, type=socket.SOCK_STREAM
            )
            self._addresses, self._resolved_s = [(str(each[4][0]), int(each[4][1])) for each in found], now_s
        return self._addresses

    def put(self, upstream: Upstream) -> None:
        upstream.idle_since = time.monotonic()
        self._idle[upstream] = None

    def drop(self, upstream: Upstream) -> None:
        """It is closed."""
        self._idle.pop(upstream, None)
        self._open.discard(upstream)

    def sweep(self) -> None:
        """Close what has been idle for long."""
        before = time.monotonic() - KEEP_S
        while self._idle and (oldest := next(iter(self._idle))).idle_since < before:
            del self._idle[oldest]
            oldest.transport.close()

    def close(self) -> None:
        for upstream in list(self._open):
            upstream.transport.abort()


def in_words(error: Exception) -> str:
    """Without the number."""
    return str(getattr(error, "strerror", None) or error)
