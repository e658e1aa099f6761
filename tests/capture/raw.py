"""Both ends of the proxy as plain streams of bytes: a scripted server behind it, a client in front that writes what it
likes."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from middle import proxied

from loadgen.capture.proxy import Proxy
from loadgen.capture.writer import Writer


@dataclass
class Visit:
    """One connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int

    async def request(self) -> tuple[bytes, bytes]:
        """(head, body) of the next one, whose body has a Content-Length or is none."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return head, await self.reader.readexactly(int(length[0].split(b":")[1]) if length else 0)

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    def reset(self) -> None:
        """An end that is no orderly one."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Visit], Awaitable[Any]]


@dataclass
class Raw:
    """What a test holds."""

    port: int
    proxy: Proxy
    writer: Writer
    visits: list[Visit]
    clients: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.clients.append(writer)
        return reader, writer

    async def ask(self, words: bytes) -> bytes:
        """All that comes until the proxy closes; a request that keeps the connection would wait for ever."""
        reader, writer = await self.connect()
        writer.write(words)
        return await reader.read()


@asynccontextmanager
async def raw(script: Script, folder: Path, tls: ssl.SSLContext | None = None) -> AsyncIterator[Raw]:
    """Each connection to the server is served by `script`, and closed when that returns."""
    visits: list[Visit] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(Visit(reader, writer, len(visits)))
        try:
            await script(visits[-1])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the proxy went
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    async with proxied(url, folder) as (address, proxy, writer):
        held = Raw(int(address.rpartition(":")[2]), proxy, writer, visits)
        try:
            yield held
        finally:
            for client in held.clients:
                client.close()
            server.close()
