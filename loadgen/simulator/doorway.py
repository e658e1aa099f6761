"""A narrow way to the server: one connection is let in every so often, the others wait in the kernel and knock again.

That is what a full connection table on the way looks like, or a proxy that is short of workers: the engine has room, a
small question is answered at once, and getting a connection takes long.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable


def narrow_listener(host: str, port: int) -> socket.socket:
    """A listening socket with room for a single connection that is not yet let in."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=0)
    listener.setblocking(False)
    return listener


async def let_in(listener: socket.socket, protocol: Callable[[], asyncio.BaseProtocol], every_s: float) -> None:
    """Let in one after another, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        connection, _ = await loop.sock_accept(listener)
        with contextlib.suppress(OSError):  # it has gone again
            await loop.connect_accepted_socket(protocol, connection)
        await asyncio.sleep(every_s)
