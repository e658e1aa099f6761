"""A stream of known timing among the connections of a run: how wrong our own stamps are, measured by the same reads.

Somebody on this machine writes the time of each write, CLOCK_MONOTONIC, into one end of a loopback connection
(`workers/canary.py`); the other end is read here as every answer is, from the same epoll set with the same kernel
stamps and the same mapping of clocks. What the stamp is off by is our error, whatever its cause. Ten writes a second:
it must cost nothing.
"""

import socket
import struct
import time

from loadgen.client.connection import ANCILLARY_BYTES, RX_SOFTWARE_AND_REPORT, SO_TIMESTAMPING
from loadgen.units import NS_PER_S

WRITTEN = struct.Struct("<q")  # CLOCK_MONOTONIC ns, taken just before the write
_STAMP = struct.Struct("=qq")  # seconds and ns of the first of the kernel's three


class Canary:
    """The reading end; looks to the transport like a connection that stands."""

    connected, closed = True, False

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, RX_SOFTWARE_AND_REPORT)
        self.fd = sock.fileno()
        self._sock = sock
        self._seen: list[tuple[int, int]] = []  # (arrival, CLOCK_REALTIME; written, CLOCK_MONOTONIC)

    def forget(self) -> None:
        """What was written while nobody looked says nothing."""
        self._seen.clear()
        try:
            while self._sock.recv(65536):
                pass
        except OSError:
            pass

    def on_readable(self) -> None:
        """A late read finds several writes; as with answers, the stamp is that of the last."""
        try:
            data, ancillary, _, _ = self._sock.recvmsg(65536, ANCILLARY_BYTES)
        except OSError:
            return
        arrived_ns = time.time_ns()
        if ancillary:
            seconds, ns = _STAMP.unpack_from(ancillary[0][2])
            arrived_ns = seconds * NS_PER_S + ns
        if len(data) >= WRITTEN.size and len(data) % WRITTEN.size == 0:
            self._seen.append((arrived_ns, WRITTEN.unpack_from(data, len(data) - WRITTEN.size)[0]))

    def readings(self, realtime_offset_ns: int) -> dict[str, float]:
        """Since the last call: the largest |stamp − truth| in ns, on the run's mapping of clocks; empty for none."""
        errors_ns = [abs(arrived_ns - realtime_offset_ns - written_ns) for arrived_ns, written_ns in self._seen]
        self._seen.clear()
        return {"canary_error_ns": max(errors_ns)} if errors_ns else {}
