"""The proxy: every request goes to the upstream server and every byte of its answer comes back as it comes.

Written on the sockets themselves, since two passes through a web framework cost a request half a millisecond
(docs/design/009-capture.md). A connection here: downstream.py; one there: upstream.py; what is recorded: recording.py.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from loadgen.capture.downstream import Downstream
from loadgen.capture.recording import BEAT_S, Recording
from loadgen.capture.upstream import Pool
from loadgen.capture.writer import Writer
from loadgen.target import Target

BACKLOG = 4096  # connections that may come at once
LOOK_S = 1.0  # between two looks at which clients are silent


class Proxy:
    """`open`, and `close` at the end; in between it serves by itself."""

    def __init__(self, upstream: Target, writer: Writer, session_header: str | None = None) -> None:
        self.recording = Recording(writer, session_header)
        self.authority, self.prefix = upstream.authority.encode("idna"), upstream.prefix.encode()
        self.clients: set[Downstream] = set()
        self.leaving = False
        self.pool: Pool
        self._upstream = upstream
        self._server: asyncio.Server
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, listener: socket.socket) -> None:
        """Serve whoever connects to the socket."""
        loop = asyncio.get_running_loop()
        self.pool = Pool(self._upstream)
        self._server = await loop.create_server(lambda: Downstream(self), sock=listener, backlog=BACKLOG)
        self._tasks = [
            loop.create_task(self.recording.watch()),
            loop.create_task(_every(BEAT_S, self.pool.sweep)),
            loop.create_task(_every(LOOK_S, lambda: self.look(time.monotonic()))),
        ]

    def look(self, now_s: float) -> None:
        """Let go of the clients that have been silent for too long at `now_s`, on time.monotonic's clock."""
        for client in list(self.clients):
            client.look(now_s)

    async def _empty(self) -> None:
        for client in list(self.clients):
            await client.gone.wait()

    async def close(self, grace_s: float) -> None:
        """Take no more connections, let running answers end for a while, then break them off."""
        self.leaving = True
        self._server.close()
        for client in list(self.clients):
            client.leave()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty(), grace_s)
        for client in list(self.clients):
            client.abort()
        self.pool.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.sleep(0)  # for the connections to be told


async def _every(seconds: float, does: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        does()
