"""The proxy's process: one event loop, one listening socket, an orderly end."""

import asyncio
import signal
from collections.abc import Callable

import uvloop
from aiohttp import web

from loadgen.capture.proxy import Proxy
from loadgen.errors import BadInputError

SHUTDOWN_S = 10.0  # running answers may go on for that long after the first Ctrl-C


def serve(proxy: Proxy, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is told the URL. Raises BadInputError when the address cannot be had."""
    uvloop.run(_serve(proxy, host, port, ready))


async def _serve(proxy: Proxy, host: str, port: int, ready: Callable[[str], None]) -> None:
    runner = web.AppRunner(proxy.application(), access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise BadInputError(
                f"Cannot listen on {host}:{port}: {error.strerror}.", "Choose another address with --listen."
            ) from None
        stop = asyncio.Event()
        for each in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(each, stop.set)
        address, bound = runner.addresses[0][:2]
        ready(f"http://[{address}]:{bound}" if ":" in address else f"http://{address}:{bound}")
        await stop.wait()
    finally:
        await runner.cleanup()
