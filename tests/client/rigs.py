"""A transport on a real loop, driven by a test; what landed is kept as it would travel to the recorder."""

import asyncio
import itertools
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import uvloop

from loadgen.client.aiohttp_transport import AiohttpTransport
from loadgen.client.flight import Flight
from loadgen.client.socket_transport import SocketTransport
from loadgen.client.transport import Transport, Wiring
from loadgen.clock import realtime_offset_ns
from loadgen.exchange import Done, Part
from loadgen.records.reads import times_of

DEADLINE_S = 10.0


@dataclass
class Landing:
    """One exchange that has ended."""

    done: Done
    part: Part

    @property
    def body(self) -> bytes:
        return self.part.body

    @property
    def stamps_ns(self) -> list[int]:
        return times_of(self.part)[0].tolist()

    @property
    def delays_ns(self) -> list[int]:
        return times_of(self.part)[1].tolist()

    @property
    def reads(self) -> list[bytes]:
        """The body, read by read."""
        ends = [0, *np.frombuffer(self.part.ends, np.int32).tolist()]
        return [self.body[a:b] for a, b in itertools.pairwise(ends)]


@dataclass
class Rig:
    """A transport and what it has landed. Times are CLOCK_MONOTONIC."""

    transport: Transport
    landed: dict[int, Landing] = field(default_factory=dict)
    flights: dict[int, Flight] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def land(self, flight: Flight) -> None:
        assert flight.index not in self.landed, "landed twice"
        assert self.flights.pop(flight.index) is flight
        flight.done_ns = time.monotonic_ns()
        part = flight.take_part(0, realtime_offset_ns())
        self.landed[flight.index] = Landing(flight.take_done(0), part)
        self.news.set()

    def start(self, index: int = 0, body: bytes = b"{}") -> Flight:
        flight = Flight(index, 0, self.transport.prepare(index, body))
        flight.issued_ns = time.monotonic_ns()
        self.flights[index] = flight
        self.transport.start(flight)
        return flight

    async def until(self, holds: Callable[[], Any]) -> None:
        """Let the loop turn until `holds()`."""
        deadline = time.monotonic() + DEADLINE_S
        while not holds():
            assert time.monotonic() < deadline, "it never came to that"
            await asyncio.sleep(0)

    async def landing(self, index: int = 0) -> Landing:
        while index not in self.landed:
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), DEADLINE_S)
        return self.landed[index]

    async def exchange(self, index: int = 0, body: bytes = b"{}") -> Landing:
        self.start(index, body)
        return await self.landing(index)


def address(url: str) -> tuple[int, str, int]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return int(family), "127.0.0.1" if host == "localhost" else host, parts.port or 0


TRANSPORTS: dict[str, Callable[..., Transport]] = {"socket": SocketTransport, "aiohttp": AiohttpTransport}
Test = Callable[[Rig], Awaitable[None]]


def run_rig(url: str, test: Test, *, transport: str = "socket", path: str = "/v1/x", **wiring: Any) -> Rig:
    """Run a coroutine function with a Rig that talks to `url`, under uvloop; everything is closed afterwards."""

    async def main() -> Rig:
        wired = Wiring(urlsplit(url + path), address(url), {"Content-Type": "application/json"}, **wiring)
        rig: Rig
        made = TRANSPORTS[transport](wired, lambda flight: rig.land(flight))
        rig = Rig(made)
        try:
            await test(rig)
        finally:
            for flight in rig.flights.values():
                made.cancel(flight)
            await made.close()
        return rig

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(main(), 30))


class Peer:
    """A listening socket in the test's own hands: what it sends, and when, is up to the test."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.settimeout(5)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = [self._listener]

    def accept(self) -> socket.socket:
        """The next connection; the kernel had made it before."""
        sock, _ = self._listener.accept()
        sock.settimeout(5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.append(sock)
        return sock

    def close(self) -> None:
        for sock in self._open:
            sock.close()
