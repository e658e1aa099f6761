"""One TCP connection of the socket transport: HTTP bytes in, kernel stamps kept.

Rules: the read callback stamps and appends, nothing else; no JSON, no text, no metric. One exchange at a time. A
connection never decides about retries or pooling; it tells its owner how an exchange ended.
"""

import os
import socket
import time
from collections.abc import Callable
from typing import Protocol

import httptools

from loadgen.client.flight import Flight, Tape
from loadgen.exchange import Outcome

READ_BYTES = 65536
ANCILLARY_BYTES = 64  # CMSG_SPACE of struct scm_timestamping: three struct timespec and a header
# Linux: asm-generic/socket.h and linux/net_tstamp.h; Python's socket module has no names for these.
SO_TIMESTAMPING = 37
RX_SOFTWARE_AND_REPORT = 1 << 3 | 1 << 4

Ancillary = tuple[int, int, bytes]
_now_ns = time.monotonic_ns


class Owner(Protocol):
    """The transport, as a connection sees it."""

    def want_write(self, connection: "Connection", wanted: bool) -> None: ...
    def read_again(self, connection: "Connection") -> None: ...
    def finished(self, connection: "Connection", flight: Flight) -> None: ...
    def broken(self, connection: "Connection", flight: Flight | None, outcome: Outcome, detail: str) -> None: ...


class Connection:
    """States: connecting → (TLS handshake) → idle ⇄ busy → closed. Edge-triggered: called once when the socket becomes
    ready; a read that its buffer was too small for asks to be called again.

    `on_readable` is a closure over everything that it touches per event, which costs less than a method.
    """

    __slots__ = (
        "_keep",
        "_outgoing",
        "_owner",
        "_parser",
        "_recvmsg",
        "closed",
        "complete",
        "connected",
        "flight",
        "number",
        "on_body",
        "on_readable",
        "sock",
        "tape",
        "used",
        "wants_write",
    )

    def __init__(self, sock: socket.socket, number: int, owner: Owner) -> None:
        self.sock = sock
        self.number = number
        self.connected = False
        self.closed = False
        self.wants_write = True  # for the connect to be told
        self.used = False  # has carried a whole exchange before
        self.complete = False  # the parser has seen the end of the answer
        self.flight: Flight | None = None
        self.tape = Tape()
        self.on_body = self.tape.body.extend  # looked up by httptools when the parser is made
        self._parser = httptools.HttpResponseParser(self)
        self._owner = owner
        self._recvmsg = sock.recvmsg
        self._outgoing: memoryview | None = None
        self._keep = False
        self.on_readable = self._plain_reader()

    def carry(self, flight: Flight) -> None:
        """Take an exchange. It is sent at once, or as soon as the connection stands."""
        self.flight = flight
        self.complete = self._keep = False
        flight.carrier = self
        flight.tape = self.tape
        flight.connection = self.number
        flight.reused = self.used
        self._outgoing = memoryview(flight.wire)
        if self.connected:
            self.flush()

    def on_writable(self) -> None:
        """The connect has ended, or there is room again for the rest of a long request."""
        if not self.connected:
            problem = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if problem:
                self._owner.broken(self, self.flight, Outcome.CONNECT_ERROR, os.strerror(problem))
                return
            self.connected = True
            self._owner.want_write(self, False)
        self.flush()

    def flush(self) -> None:
        """Hand the request to the kernel; `sent_ns` is when its last byte was taken."""
        outgoing = self._outgoing
        if outgoing is None:
            return
        try:
            sent = self._send(outgoing)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._lost(error)
            return
        if sent == len(outgoing):
            self._outgoing = None
            if self.flight is not None:
                self.flight.sent_ns = _now_ns()
                if sent < len(self.flight.wire):  # this was the rest of a long one
                    self._owner.want_write(self, False)
        else:
            self._outgoing = outgoing[sent:]
            self._owner.want_write(self, True)

    def _send(self, outgoing: memoryview) -> int:
        return self.sock.send(outgoing)

    def _plain_reader(self) -> Callable[[], None]:
        """THE hot path."""
        tape = self.tape
        recvmsg, realtime_ns, feed = self._recvmsg, time.time_ns, self._parser.feed_data
        body, stamp = tape.body, tape.callbacks_ns.append
        stamp_by_kernel, mark = tape.kernel_stamps.extend, tape.ends.append

        def on_readable() -> None:
            try:
                data, ancillary, _, _ = recvmsg(READ_BYTES, ANCILLARY_BYTES)
            except OSError as error:
                self._lost(error)
                return
            if not data or self.flight is None:
                self._end_of_stream(data)
                return
            stamp(realtime_ns())
            if ancillary:
                stamp_by_kernel(ancillary[0][2])
            try:
                feed(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
                mark(len(body))
                self._nonsense(data, error)
                return
            mark(len(body))
            if len(data) == READ_BYTES:
                self._owner.read_again(self)
            if self.complete:
                self._finish()

        return on_readable

    def on_message_complete(self) -> None:
        """Called by the parser. An interim answer (100 Continue) is not the answer."""
        if self._parser.get_status_code() >= 200:
            self.complete = True
            self._keep = self._parser.should_keep_alive()  # the parser forgets the headers right after this call

    def _finish(self) -> None:
        flight = self.flight
        assert flight is not None
        flight.status = self._parser.get_status_code()
        flight.outcome = Outcome.OK
        self.flight = None
        self.used = True
        self._owner.finished(self, flight)

    @property
    def reusable(self) -> bool:
        """After an exchange: may the next one use this connection?"""
        return self._outgoing is None and self._keep

    def _nonsense(self, data: bytes, error: Exception) -> None:
        start = data[:60].decode("utf-8", "replace")
        detail = f"not an HTTP answer ({error}): {start!r}"
        self._owner.broken(self, self.flight, Outcome.PROTOCOL_ERROR, detail)

    def _answered(self) -> bool:
        """Has a byte of the answer come?"""
        return bool(self.tape.ends) or (self.flight is not None and self.flight.parted)

    def _end_of_stream(self, data: bytes) -> None:
        """The server closed, or sent bytes that nobody asked for."""
        flight = self.flight
        if flight is None:
            reason = "bytes without a request" if data else "closed while idle"
            self._owner.broken(self, None, Outcome.CONNECT_ERROR, reason)
        elif not self._answered():
            self._owner.broken(
                self, flight, Outcome.CONNECT_ERROR, "the server closed the connection without an answer"
            )
        else:
            # Whether this is the end of the answer (HTTP/1.0 style) or a cut one, only its content can tell.
            flight.status = self._parser.get_status_code()
            self._owner.broken(self, flight, Outcome.TRUNCATED, "the connection ended before the answer did")

    def _lost(self, error: OSError) -> None:
        if isinstance(error, (BlockingIOError, InterruptedError)):
            return
        outcome = Outcome.CONNECT_ERROR
        if self.flight is not None and self._answered():
            outcome = Outcome.TRUNCATED
            self.flight.status = self._parser.get_status_code()
        self._owner.broken(self, self.flight, outcome, f"{error.strerror or error}")

    def close(self) -> None:
        self.closed = True
        self.flight = None
        self._outgoing = None
        self.on_readable = _nothing  # the closure and the parser refer to this connection: no work for the collector
        del self._parser
        self.sock.close()


def _nothing() -> None:
    """What a closed connection has to read."""
