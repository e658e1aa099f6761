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

from loadgen.client.flight import Flight
from loadgen.exchange import Outcome

READ_BYTES = 65536
ANCILLARY_BYTES = 64  # CMSG_SPACE of struct scm_timestamping: three struct timespec and a header
# Linux: asm-generic/socket.h and linux/net_tstamp.h; Python's socket module has no names for these.
SO_TIMESTAMPING = 37
RX_SOFTWARE_AND_REPORT = 1 << 3 | 1 << 4

Ancillary = tuple[int, int, bytes]

_realtime_ns = time.time_ns
_now_ns = time.monotonic_ns


class Owner(Protocol):
    """The transport, as a connection sees it."""

    def want_write(self, connection: "Connection", wanted: bool) -> None: ...
    def finished(self, connection: "Connection", flight: Flight) -> None: ...
    def broken(self, connection: "Connection", flight: Flight | None, outcome: Outcome, detail: str) -> None: ...


class Connection:
    """States: connecting → (TLS handshake) → idle ⇄ busy → closed. Level-triggered: called when the socket is ready."""

    __slots__ = (
        "_complete",
        "_feed",
        "_outgoing",
        "_owner",
        "_parser",
        "_recvmsg",
        "closed",
        "connected",
        "flight",
        "number",
        "on_body",
        "on_readable",
        "reads",
        "sock",
        "used",
    )

    def __init__(self, sock: socket.socket, number: int, owner: Owner) -> None:
        self.sock = sock
        self.number = number
        self.connected = False
        self.closed = False
        self.used = False  # has carried a whole exchange before
        self.flight: Flight | None = None
        self.reads = 0  # of the current exchange
        self.on_readable: Callable[[], None] = self._on_plain
        self.on_body: Callable[[bytes], None] = _ignore
        self._owner = owner
        self._recvmsg = sock.recvmsg
        self._outgoing: memoryview | None = None
        self._complete = False

    def carry(self, flight: Flight) -> None:
        """Take an exchange. It is sent at once, or as soon as the connection stands."""
        self.flight = flight
        self.reads = 0
        self._complete = False
        self.on_body = flight.bodies.append
        # A parser per exchange: httptools looks up the callbacks once, when it is made (1 µs), and never again.
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data
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
            flight = self.flight
            if flight is not None:
                flight.sent_ns = _now_ns()
            self._owner.want_write(self, False)
        else:
            self._outgoing = outgoing[sent:]
            self._owner.want_write(self, True)

    def _send(self, outgoing: memoryview) -> int:
        return self.sock.send(outgoing)

    def _on_plain(self) -> None:
        try:
            data, ancillary, _, _ = self._recvmsg(READ_BYTES, ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error)
            return
        callback_ns = _realtime_ns()
        flight = self.flight
        if data and flight is not None:
            self._take(flight, data, ancillary, callback_ns)
        else:
            self._end_of_stream(data)

    def _take(self, flight: Flight, data: bytes, ancillary: list[Ancillary], callback_ns: int) -> None:
        """Stamp and append: all that happens to bytes during a run."""
        self.reads += 1
        flight.callbacks_ns.append(callback_ns)
        if ancillary:
            flight.kernel_stamps.append(ancillary[0][2])
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            flight.marks.append(len(flight.bodies))
            start = data[:60].decode("utf-8", "replace")
            self._owner.broken(self, flight, Outcome.PROTOCOL_ERROR, f"not an HTTP answer ({error}): {start!r}")
            return
        flight.marks.append(len(flight.bodies))
        if self._complete:
            self._finish(flight, Outcome.OK)

    def on_message_complete(self) -> None:
        """Called by the parser. An interim answer (100 Continue) is not the answer."""
        if self._parser.get_status_code() >= 200:
            self._complete = True

    def _finish(self, flight: Flight, outcome: Outcome) -> None:
        flight.status = self._parser.get_status_code()
        flight.outcome = outcome
        self.flight = None
        self.used = True
        self._owner.finished(self, flight)

    @property
    def reusable(self) -> bool:
        """After an exchange: may the next one use this connection?"""
        return self._outgoing is None and bool(self._parser.should_keep_alive())

    def _end_of_stream(self, data: bytes) -> None:
        """The server closed, or sent bytes that nobody asked for."""
        flight = self.flight
        if flight is None:
            reason = "bytes without a request" if data else "closed while idle"
            self._owner.broken(self, None, Outcome.CONNECT_ERROR, reason)
        elif self.reads == 0:
            self._owner.broken(
                self, flight, Outcome.CONNECT_ERROR, "the server closed the connection without an answer"
            )
        else:
            # Whether this is the end of the answer (HTTP/1.0 style) or a cut one, only its content can tell.
            flight.status = self._parser.get_status_code()
            self._owner.broken(self, flight, Outcome.TRUNCATED, "the connection ended before the answer did")

    def _lost(self, error: OSError) -> None:
        if self.flight is not None and self.reads:
            self.flight.status = self._parser.get_status_code()
        outcome = Outcome.TRUNCATED if self.reads and self.flight is not None else Outcome.CONNECT_ERROR
        self._owner.broken(self, self.flight, outcome, f"{error.strerror or error}")

    def close(self) -> None:
        self.closed = True
        self.flight = None
        self._outgoing = None
        self.sock.close()


def _ignore(_: bytes) -> None:
    """Where a body goes when nobody waits for one."""
