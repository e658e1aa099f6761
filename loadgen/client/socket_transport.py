"""The transport that measures: raw sockets, kernel receive stamps, a connection pool that is a stack.

All sockets live in one epoll set of their own and uvloop watches that set's descriptor: one callback of the loop serves
every socket that is ready, which costs a tenth less CPU per event than a reader per socket (docs/design/002).

The set is edge-triggered, since a level-triggered one asks every socket twice: what one read leaves is asked for again.

Since the kernel stamps what arrives, reading later costs no accuracy: at high event rates the set is served on a beat
instead of at every arrival, which saves most of the wake-ups. Not for closed loops, whose next send waits for a read.
"""

import asyncio
import errno
import os
import select
import socket
from typing import cast

from loadgen.client.canary import Canary
from loadgen.client.connection import RX_SOFTWARE_AND_REPORT, SO_TIMESTAMPING, Connection
from loadgen.client.flight import Flight
from loadgen.client.timerfd import TimerFd
from loadgen.client.tls import TlsConnection, tls_context
from loadgen.client.transport import REQUEST_ID, REQUEST_ID_OF, Counters, Landed, Wiring
from loadgen.exchange import Outcome

_READ = select.EPOLLIN
_WRITE = select.EPOLLOUT
_EDGE = select.EPOLLET | select.EPOLLRDHUP  # a stream's end must differ from its data: it has an edge of its own
_READ_OR_END = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
# What a read may come late, only at high rates; the stamps do not move. Of two events between two beats only the later
# has a stamp of its own, so a beat is a quarter of the mean gap between a stream's events, within these limits.
_BEAT_NS_MIN, _BEAT_NS_MAX, _BEATS_PER_GAP = 1_000_000, 2_000_000, 4
_BEAT_ABOVE_PER_S = 4_000  # four events a beat: below, waking for each costs less than it is worth
_OUR_LIMITS = {
    errno.EMFILE: "no file descriptor left in this process (raise it with: ulimit -n 65536)",
    errno.ENFILE: "no file descriptor left on this machine",
    errno.EADDRNOTAVAIL: "no local port left (the server closes connections faster than the kernel frees their ports)",
    errno.ENOBUFS: "no network buffers left on this machine",
}


class SocketTransport:
    """Sends prepared bytes, hands back flights. O(1) per request: idle connections are a stack, newest first."""

    def __init__(self, wiring: Wiring, landed: Landed) -> None:
        self.counters = Counters()
        self._landed = landed
        self._wiring = wiring
        self._head = _head(wiring)
        self._tls = tls_context(wiring.verify_tls) if wiring.url.scheme == "https" else None
        self._idle: list[Connection] = []
        self._by_fd: dict[int, Connection] = {}
        self._numbers = 0
        self._ready = select.epoll()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._ready.fileno(), self._serve)
        self._beat = TimerFd()
        self._beat_ns = 0  # 0 when served at every arrival
        self._events = 0  # since the last tick
        # Linux begins to stamp a moment after the first socket has asked and ends with the last one: while this one is
        # open, no answer comes on a machine that does not stamp yet.
        self._stamping = socket.socket(wiring.address[0], socket.SOCK_STREAM)
        _ask_for_stamps(self._stamping)

    def prepare(self, index: int, body: bytes) -> bytes:
        return b"".join((self._head % (index, len(body)), body))

    def start(self, flight: Flight) -> None:
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.closed:
                connection.carry(flight)
                return
        self._open_for(flight)

    def _open_for(self, flight: Flight) -> None:
        family, host, port = self._wiring.address
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self._land(flight, *_blame(error))
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _ask_for_stamps(sock)
        problem = sock.connect_ex((host, port))
        if problem not in (0, errno.EINPROGRESS):
            sock.close()
            self._land(flight, *_blame(OSError(problem, os.strerror(problem))))
            return
        self._numbers += 1
        if self._tls is None:
            connection = Connection(sock, self._numbers, self)
        else:
            connection = TlsConnection(sock, self._numbers, self, self._tls, self._wiring.url.hostname or host)
        self._by_fd[sock.fileno()] = connection
        self._ready.register(sock.fileno(), _READ | _WRITE | _EDGE)
        self.counters.connections_opened += 1
        self.counters.connections_open += 1
        connection.carry(flight)

    def watch(self, canary: Canary) -> None:
        """Read a stream of known timing among the others, until `unwatch`."""
        canary.forget()
        self._by_fd[canary.fd] = cast("Connection", canary)  # as far as `_serve` looks at one
        self._ready.register(canary.fd, _READ)

    def unwatch(self, canary: Canary) -> None:
        del self._by_fd[canary.fd]
        self._ready.unregister(canary.fd)

    def _serve(self) -> None:
        by_fd = self._by_fd
        batch = self._ready.poll(0, 512)
        self._events += len(batch)
        for fd, events in batch:
            connection = by_fd.get(fd)
            if connection is None:
                continue  # closed by an earlier event of this batch
            if events == _READ:  # all but a few
                connection.on_readable()
                continue
            if events & _WRITE or not connection.connected:
                connection.on_writable()
            if events & _READ_OR_END and connection.connected and not connection.closed:
                connection.on_readable()
                if isinstance(connection, Connection) and not connection.closed:
                    self.read_again(connection)  # an end came with the data, and is read after it

    def tick(self, elapsed_ns: int) -> None:
        """Ten times a second: serve at every arrival, or on the beat when there are many."""
        rate = self._events * 1e9 / max(elapsed_ns, 1)
        self._events = 0
        wanted_ns = 0
        if self._wiring.may_read_late and self._beat.fd >= 0 and rate > _BEAT_ABOVE_PER_S / (1 + (self._beat_ns > 0)):
            gap_ns = (self.counters.connections_open - len(self._idle)) / rate * 1e9
            wanted_ns = min(max(int(gap_ns / _BEATS_PER_GAP), _BEAT_NS_MIN), _BEAT_NS_MAX)
        if wanted_ns and not self._beat_ns:
            self._loop.remove_reader(self._ready.fileno())
            self._loop.add_reader(self._beat.fd, self._on_the_beat)
        elif self._beat_ns and not wanted_ns:
            self._loop.remove_reader(self._beat.fd)
            self._loop.add_reader(self._ready.fileno(), self._serve)
        if wanted_ns != self._beat_ns:
            self._beat.every(wanted_ns)
        self._beat_ns = wanted_ns

    def _on_the_beat(self) -> None:
        if self._beat.expired():
            self._serve()

    def want_write(self, connection: Connection, wanted: bool) -> None:
        connection.wants_write = wanted
        self.read_again(connection)

    def read_again(self, connection: Connection) -> None:
        """What is asked for anew is told anew, when it is there already."""
        wanted = _READ | _WRITE if connection.wants_write else _READ
        self._ready.modify(connection.sock.fileno(), wanted | _EDGE)

    def finished(self, connection: Connection, flight: Flight) -> None:
        """A whole answer came: the connection goes back on the stack, if its server promised to keep it."""
        self._landed(flight)  # empties the tape, which the next exchange will use
        if connection.reusable:
            self._idle.append(connection)
        else:
            self._drop(connection)

    def broken(self, connection: Connection, flight: Flight | None, outcome: Outcome, detail: str) -> None:
        """The connection ended. An exchange that had not got one byte on a *reused* one is sent again on a fresh one:
        the server closed it while our request was on its way, as every keep-alive server may."""
        self._drop(connection)
        if flight is None:
            return
        if outcome is Outcome.CONNECT_ERROR and flight.reused and flight.retries == 0:
            flight.retries += 1
            self.counters.retries += 1
            self._open_for(flight)
            return
        self._land(flight, outcome, detail)

    def _land(self, flight: Flight, outcome: Outcome, detail: str) -> None:
        flight.outcome = outcome
        flight.detail = detail
        self._landed(flight)

    def _drop(self, connection: Connection) -> None:
        if connection.closed:
            return
        fd = connection.sock.fileno()
        del self._by_fd[fd]
        self._ready.unregister(fd)
        self.counters.connections_open -= 1
        connection.close()

    def cancel(self, flight: Flight) -> None:
        if isinstance(flight.carrier, Connection):
            self._drop(flight.carrier)

    async def close(self) -> None:
        self._loop.remove_reader(self._beat.fd if self._beat_ns else self._ready.fileno())
        for connection in list(self._by_fd.values()):
            self._drop(connection)
        self._ready.close()
        self._beat.close()
        self._stamping.close()


def _ask_for_stamps(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, RX_SOFTWARE_AND_REPORT)


def _head(wiring: Wiring) -> bytes:
    """The request's head with two blanks: request index and body length."""
    port = wiring.url.port
    host = wiring.url.hostname or ""
    host = f"[{host}]" if ":" in host else host
    lines = [f"POST {wiring.url.path} HTTP/1.1", f"Host: {host}{'' if port is None else f':{port}'}"]
    lines += [f"{name}: {value}" for name, value in wiring.headers.items()]
    head = "\r\n".join(lines).replace("%", "%%")
    return f"{head}\r\n{REQUEST_ID}: {REQUEST_ID_OF}\r\nContent-Length: %d\r\n\r\n".encode("latin-1")


def _blame(error: OSError) -> tuple[Outcome, str]:
    """Our own limits are not the server's fault."""
    ours = _OUR_LIMITS.get(error.errno or 0)
    return (Outcome.CLIENT_ERROR, ours) if ours else (Outcome.CONNECT_ERROR, error.strerror or str(error))
