"""A proxy between a scripted upstream and a raw client, all in one event loop."""

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from loadgen.capture.proxy import Proxy
from loadgen.capture.writer import TRACE, Writer
from loadgen.target import parse_target

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Between:
    """What a test holds: the proxy's URL, a client that changes nothing, the writer, and afterwards the rows."""

    url: str
    client: aiohttp.ClientSession
    proxy: Proxy
    writer: Writer
    folder: Path

    def rows(self) -> list[dict[str, Any]]:
        """Without the head line; to be called after `between` has ended."""
        return [json.loads(line) for line in (self.folder / TRACE).read_text().splitlines()][1:]


async def listening(app: web.Application) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


@asynccontextmanager
async def proxied(upstream: str, folder: Path, keep_text: bool = False) -> AsyncIterator[tuple[str, Proxy, Writer]]:
    """The proxy's URL, itself and its writer; closed as at Ctrl-C."""
    folder.mkdir()  # noqa: ASYNC240 (once, before anything runs)
    writer = Writer(folder, upstream, 4, keep_text)
    proxy = Proxy(parse_target(upstream), writer)
    listener = socket.create_server(("127.0.0.1", 0))
    await proxy.open(listener)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", proxy, writer
    finally:
        await proxy.close(1)
        writer.close()


@asynccontextmanager
async def between(serve: Serve, folder: Path, upstream: str = "", keep_text: bool = False) -> AsyncIterator[Between]:
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", serve)
    server, url = await listening(app)
    try:
        async with (
            proxied(upstream or url, folder, keep_text) as (address, proxy, writer),
            aiohttp.ClientSession(auto_decompress=False) as client,
        ):
            yield Between(address, client, proxy, writer, folder)
    finally:
        await server.cleanup()
