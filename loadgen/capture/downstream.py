"""A client's connection: its requests go to the server in order, each answer comes back as it comes.

Nothing is changed but what belongs to a single connection (head.py). What is held is bounded: who sends faster than the
other side takes is not read from. Recording is a look over the shoulder, after the bytes have gone.
"""

import asyncio
import socket
import struct
import time
from collections import deque
from typing import Protocol, cast

import httptools

from loadgen.capture.exchange import ABORTED, Exchange
from loadgen.capture.head import HEAD_BYTES_MAX, AnswerHead, Framing, Request, framed, own_answer
from loadgen.capture.recording import BODY_BYTES_MAX, Recording, is_recorded
from loadgen.capture.upstream import Pool, Upstream, in_words

BAD_GATEWAY, REQUEST_TIMEOUT = 502, 408
# How long a client may be silent when it is its turn. Idle, longer than clients keep their own connections (Go 90 s,
# Python 5 to 15 s), so that they close first and no request meets a connection that goes.
IDLE_S, REQUEST_S = 120.0, 60.0
_RESET = struct.pack("ii", 1, 0)  # struct linger: no time for what is not sent, and no orderly end
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Owner(Protocol):
    """The proxy, as a connection sees it."""

    pool: Pool
    recording: Recording
    authority: bytes
    prefix: bytes
    leaving: bool
    clients: "set[Downstream]"


class Downstream(asyncio.Protocol):
    """`_queue[0]` is the request that is served; those behind it were sent without waiting for its answer."""

    def __init__(self, owner: Owner) -> None:
        self.gone = asyncio.Event()
        self._owner = owner
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Request] = deque()
        self._coming: Request | None = None  # the one whose bytes come
        self._head_bytes = 0  # of its head, not counting the first read
        self._upstream: Upstream | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._status = 0  # of the answer that is under way; 0 before its head
        self._head = b""  # of the answer, until it goes with the first bytes of the body
        self._framing = Framing.NONE
        self._full = False  # the client does not take what it is sent
        self._upload_waits = False  # the server does not
        self._paused = False  # so the client is not read from
        self._last = False  # nothing that comes is looked at any more
        self._refusal = b""  # to be sent when what is in the queue has been served
        self._quiet_since_s = time.monotonic()  # the client's turn began, or its head, or a piece of its body came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no children of asyncio's
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # whoever vanished is noticed
        self._owner.clients.add(self)

    def data_received(self, data: bytes) -> None:
        before, size = self._coming, len(data)
        while data and not self._last:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:  # it was not passed on: what follows is HTTP still
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserCallbackError:
                raise  # ours, not the client's
            except httptools.HttpParserError as error:
                self._refuse(400, f"this is no HTTP request: {error}")
        if self._coming is None or self._coming.method or self._coming is not before:
            self._head_bytes = 0
            if self._coming is not None:
                self._quiet_since_s = time.monotonic()
        else:
            self._head_bytes += size
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(431, "the head of the request is too large")
        self._pace()

    # What the parser finds.

    def on_message_begin(self) -> None:
        self._coming = Request()

    def on_url(self, piece: bytes) -> None:
        assert self._coming is not None
        self._coming.target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._coming is not None
        if not self._coming.method:  # later ones are trailers
            self._coming.headers.append((name, value))

    def on_headers_complete(self) -> None:
        request, parser = self._coming, self._parser
        assert request is not None
        length = request.begin(
            parser.get_method(), parser.get_http_version(), parser.should_keep_alive(), time.monotonic_ns()
        )
        if request.method == b"CONNECT":
            self._refuse(501, "it opens no tunnels")
            return
        request.gathered = length <= BODY_BYTES_MAX and (request.framing is not Framing.CHUNKED or is_recorded(request))
        self._queue.append(request)
        if self._queue[0] is request:
            self._turn()

    def on_body(self, piece: bytes) -> None:
        request = self._coming
        if self._last or request is None or request.answered:
            return
        if request.sent:
            if self._upstream is not None:
                self._upstream.send(framed([piece], request.framing, ended=False))
            return
        request.pieces.append(piece)
        request.size += len(piece)
        if request.gathered and request.size > BODY_BYTES_MAX:
            request.gathered = False
            if self._queue[0] is request:
                self._ask(request)

    def on_message_complete(self) -> None:
        request, self._coming = self._coming, None
        if self._last or request is None:
            return
        request.complete = True
        if self._queue[0] is not request:
            return
        if request.answered:
            self._next()
        elif request.sent and self._upstream is not None:
            self._upstream.send(framed([], request.framing, ended=True))
        elif request.gathered:
            self._ask(request)

    # The way to the server.

    def _turn(self) -> None:
        """The first of the queue is to be served."""
        request = self._queue[0]
        if request.expects and not request.complete:
            self._write(_CONTINUE)
        if request.complete or not request.gathered:
            self._ask(request)

    def _ask(self, request: Request) -> None:
        upstream = self._owner.pool.take()
        if upstream is not None:
            self._carry(upstream)
        else:
            self._connecting = asyncio.create_task(self._connect())
        self._exchange = self._owner.recording.begin(request)

    async def _connect(self) -> None:
        try:
            upstream = await self._owner.pool.connect()
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            self._fail(in_words(error) or "no connection in time")
        else:
            if upstream.transport.is_closing():  # before anybody waited for it
                self._fail("it closed the connection")
            else:
                self._carry(upstream)
            self._pace()

    def _carry(self, upstream: Upstream) -> None:
        request = self._queue[0]
        self._connecting, self._upstream, request.sent = None, upstream, True
        head = request.head(self._owner.authority, self._owner.prefix)
        upstream.carry(
            self, head + framed(request.pieces, request.framing, request.complete), request.method == b"HEAD"
        )
        if not request.gathered:
            request.pieces = []
        if self._full:
            upstream.read(wanted=False)

    # The way back: what an upstream tells its taker.

    def begin(self, answer: AnswerHead) -> None:
        request = self._queue[0]
        request.pieces = []
        request.keeps = request.keeps and not self._owner.leaving
        self._status = answer.status
        self._head, self._framing = answer.head(request, request.keeps)
        request.keeps = request.keeps and self._framing is not Framing.CLOSE

    def more(self, pieces: list[bytes], ended: bool, came_ns: int) -> None:
        wire = self._head + framed(pieces, self._framing, ended)
        self._head = b""
        if wire:
            self._write(wire)
        if self._exchange is not None:
            self._owner.recording.hold(self._exchange, pieces, came_ns)
        if ended:
            assert self._upstream is not None
            self._upstream.release(whole=self._queue[0].complete)
            self._upstream = None
            self._answered(self._status)

    def broken(self, reason: str) -> None:
        upstream, request = self._upstream, self._queue[0]
        assert upstream is not None
        self._upstream = None
        upstream.release(whole=False)
        if upstream.used and upstream.silent and request.gathered and not request.retried:
            # The server closed it while our request was on its way, as every keep-alive server may.
            request.retried = True
            self._connecting = asyncio.create_task(self._connect())
        else:
            self._fail(reason)

    def hold_back(self, full: bool) -> None:
        self._upload_waits = full
        self._pace()

    def _fail(self, reason: str) -> None:
        """There is no answer, or not all of it."""
        self._connecting = None
        request = self._queue[0]
        if not self._status:
            self._write(own_answer(BAD_GATEWAY, f"the upstream server does not answer: {reason}", request))
        else:
            request.keeps, request.complete = False, True
            if self._framing is Framing.CLOSE:  # an orderly end would look like a whole answer
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self._transport.abort()
        self._answered(BAD_GATEWAY)

    def _answered(self, status: int) -> None:
        """Nothing more will go to the client for this request."""
        request = self._queue[0]
        self._let_go(status)
        request.answered, request.pieces = True, []
        if request.complete:
            self._next()
        elif not request.keeps:
            self._half_close()  # what still comes is read, lest the kernel takes the answer back
        self._pace()

    def _let_go(self, status: int) -> None:
        """Leave the upstream, and end the record."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._upstream is not None:
            self._upstream.release(whole=False)
        if self._exchange is not None:
            self._owner.recording.end(self._exchange, status)
        self._connecting = self._upstream = self._exchange = None
        self._upload_waits = False

    def _next(self) -> None:
        keeps = self._queue.popleft().keeps
        self._status, self._head = 0, b""
        self._quiet_since_s = time.monotonic()
        if keeps and self._queue:
            self._turn()
        elif keeps and self._refusal:
            self._write(self._refusal)
            self._close()
        elif not keeps or self._owner.leaving:
            self._close()

    def _refuse(self, status: int, message: str) -> None:
        """What comes cannot be passed on. What came before it is served first."""
        self._last = True
        broken, self._coming = self._coming, None
        refusal = own_answer(status, message, None)
        if self._queue and self._queue[-1] is broken:
            self._queue.pop()
            if not self._queue:
                self._let_go(ABORTED)
                if self._status:  # half an answer has gone: no other can follow
                    self._close()
                    return
        if self._queue:
            self._refusal = refusal
        else:
            self._write(refusal)
            self._close()

    def _write(self, data: bytes) -> None:
        """A client that has just gone is sent nothing: its end will be told."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def _half_close(self) -> None:
        if not self._transport.is_closing():
            self._transport.write_eof()

    def _close(self) -> None:
        self._last = True
        self._queue.clear()
        self._transport.close()

    def look(self, now_s: float) -> None:
        """Let the client go if it is its turn and it has been silent for too long; never while an answer is under way,
        or the server has the whole request and thinks."""
        if self._transport.is_closing() or self._paused:
            return
        silent_s, request = now_s - self._quiet_since_s, self._queue[0] if self._queue else self._coming
        if request is None:
            if silent_s > IDLE_S:
                self._close()
        elif request is self._coming and silent_s > REQUEST_S:
            if request.answered:
                self._close()
            elif not self._status:
                self._refuse(REQUEST_TIMEOUT, f"the request did not go on for {REQUEST_S:g} s")

    def leave(self) -> None:
        """The proxy ends: now, or after the running answers."""
        if not self._queue:
            self._close()

    def abort(self) -> None:
        self._transport.abort()

    # Who is faster waits for the other.

    def pause_writing(self) -> None:
        self._full = True
        if self._upstream is not None:
            self._upstream.read(wanted=False)

    def resume_writing(self) -> None:
        self._full = False
        if self._upstream is not None:
            self._upstream.read(wanted=True)

    def _pace(self) -> None:
        """Read from the client, or not: a request behind the one that is served waits in the kernel, and so does a
        body that the server does not take."""
        waits = len(self._queue) > 1
        if self._queue and not waits:
            request = self._queue[0]
            unheld = not (request.complete or request.gathered or request.answered)
            waits = unheld and (self._upload_waits or self._upstream is None)
        if waits != self._paused and not self._transport.is_closing():
            self._paused, self._quiet_since_s = waits, time.monotonic()
            (self._transport.pause_reading if waits else self._transport.resume_reading)()

    def eof_received(self) -> None:
        """A client that has ended its side is gone, as far as can be told."""
        if self._upstream is not None or self._connecting is not None:
            self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        self._owner.clients.discard(self)
        self.gone.set()
        self._last = True
        self._let_go(ABORTED)
        self._queue.clear()
