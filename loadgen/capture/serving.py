"""The proxy's process: one event loop, one listening socket, an orderly end."""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable

import uvloop

from loadgen.capture.proxy import BACKLOG, Proxy
from loadgen.errors import BadInputError

SWITCH_S = 0.0002  # the writer's thread gives way that soon when the loop has something to pass on; Python's own: 5 ms
SHUTDOWN_S = 10.0  # running answers may go on for that long after the first Ctrl-C


def listening(host: str, port: int) -> socket.socket:
    """A socket that clients can connect to. Raises BadInputError when the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except socket.gaierror:
        problem = "no such host"
    except OSError as error:
        problem = os.strerror(error.errno or 0).lower()
    raise BadInputError(f"Cannot listen on {host}:{port}: {problem}.", "Choose another address with --listen.")


def url_of(listener: socket.socket) -> str:
    """Where clients find it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(proxy: Proxy, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called when these are heeded."""
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()  # what is here by now stays: no collection need look at it again
    uvloop.run(_serve(proxy, listener, ready))


async def _serve(proxy: Proxy, listener: socket.socket, ready: Callable[[], None]) -> None:
    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    await proxy.open(listener)
    ready()
    await stop.wait()
    await proxy.close(SHUTDOWN_S)
