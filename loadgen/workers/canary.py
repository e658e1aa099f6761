"""The writing end of the canary: ten times a second, the time of the write into a loopback connection.

Apart from the load process, so that a load process that hangs is not also the one who should have noticed. A machine
without loopback has no canary, and nothing is said of it.
"""

import contextlib
import socket
import threading
import time

from loadgen.client.canary import WRITTEN

PERIOD_S = 0.1


def connected_pair() -> tuple[socket.socket, socket.socket] | None:
    """(writing end, reading end) of a loopback TCP connection; TCP, since the kernel stamps no other local stream."""
    try:
        with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
            writing = socket.create_connection(listener.getsockname(), 1.0)
            reading, _ = listener.accept()
    except OSError:
        return None
    writing.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    writing.setblocking(False)
    return writing, reading


class CanaryWriter(threading.Thread):
    """Writes until stopped; what the reading end does not take is left out."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(daemon=True, name="loadgen-canary")
        self._sock = sock
        self._over = threading.Event()

    def run(self) -> None:
        send, pack, now_ns = self._sock.send, WRITTEN.pack, time.monotonic_ns
        while not self._over.wait(PERIOD_S):
            with contextlib.suppress(OSError):
                send(pack(now_ns()))

    def stop(self) -> None:
        self._over.set()
        self.join()
