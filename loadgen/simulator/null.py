"""`python -m loadgen.simulator.null`: a server that does nothing but answer, to measure what a client can take.

It reads one field of a request by pattern, computes nothing, and writes its events as fast as asked: `max_tokens` of
them, `itl_ms` apart. Each event carries the time of its own write (CLOCK_MONOTONIC, 20 digits), so that a client can be
told how wrong its stamps are. `GET /stats` says how late the writes were and what CPU they cost since the last
question: a server that is the limit must say so itself. No model, no queue, no batching: those are the simulator's.
"""

import asyncio
import heapq
import json
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import cast

from loadgen.simulator.alarm import new_alarm
from loadgen.simulator.answer import Outlet
from loadgen.simulator.lateness import Lateness
from loadgen.units import NS_PER_MS

MODEL = "null"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_TOKENS = re.compile(rb'"max_tokens": *(\d+)')
_GAP = re.compile(rb'"itl_ms": *(\d+(?:\.\d+)?)')
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_TEXT = b'data: {"choices":[{"index":0,"text":"%020d","finish_reason":%b}]}\n\n'
_BODY_BYTES = len(_TEXT % (0, b"null"))
EVENT = b"%x\r\n" % _BODY_BYTES + _TEXT.replace(b"%b", b"null") + b"\r\n"
_END_BYTES = len(_TEXT % (0, b'"length"'))
END = b"%x\r\n" % _END_BYTES + _TEXT.replace(b"%b", b'"length"') + b"\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Clockwork:
    """All streams by the time of their next event; one alarm for the earliest."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due: list[tuple[int, int, Stream]] = []
        self._alarm = new_alarm(loop, self._ring)
        self._lateness = Lateness()
        self._cpu_ns, self._asked_ns = time.process_time_ns(), time.monotonic_ns()
        self._streams = 0

    def add(self, due_ns: int, stream: "Stream") -> None:
        self._streams += 1
        heapq.heappush(self._due, (due_ns, self._streams, stream))
        if self._due[0][0] == due_ns:
            self._alarm.set(due_ns)

    def _ring(self) -> None:
        due, now_ns = self._due, time.monotonic_ns
        until_ns = now_ns()
        while due and due[0][0] <= until_ns:
            due_ns, order, stream = due[0]
            written_ns = now_ns()
            self._lateness.add(written_ns - due_ns)
            if stream.write(written_ns):
                heapq.heapreplace(due, (due_ns + stream.gap_ns, order, stream))
            else:
                heapq.heappop(due)
        self._alarm.set(due[0][0] if due else None)

    def close(self) -> None:
        self._due.clear()
        self._alarm.close()

    def stats(self) -> dict[str, float]:
        """Since the last call: the median of how late events were written, CPU time over time."""
        cpu_ns, now_ns = time.process_time_ns(), time.monotonic_ns()
        found = {
            "late_p50_ns": float(self._lateness.overall()["0.5"]),
            "cpu_fraction": (cpu_ns - self._cpu_ns) / max(1, now_ns - self._asked_ns),
        }
        self._lateness, self._cpu_ns, self._asked_ns = Lateness(), cpu_ns, now_ns
        return found


class Stream:
    """One answer that is on its way."""

    __slots__ = ("_left", "_outlet", "gap_ns")

    def __init__(self, outlet: Outlet, tokens: int, gap_ns: int) -> None:
        self._outlet = outlet
        self._left = tokens
        self.gap_ns = gap_ns

    def write(self, now_ns: int) -> bool:
        """The next event; whether there is another after it."""
        self._left -= 1
        self._outlet.write((EVENT if self._left else END) % now_ns)
        return self._left > 0


class NullConnection(asyncio.Protocol):
    """One request at a time, as HTTP/1.1 clients without pipelining send them."""

    def __init__(self, clockwork: Clockwork) -> None:
        self._clockwork = clockwork
        self._pending = b""
        self._transport: asyncio.Transport
        self._outlet: Outlet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._outlet = Outlet(self._transport)

    def data_received(self, data: bytes) -> None:
        self._pending += data
        head, found, rest = self._pending.partition(b"\r\n\r\n")
        if not found:
            return
        length = _LENGTH.search(head)
        if length is not None and len(rest) < int(length[1]):
            return
        self._pending = b""
        if head.startswith(b"POST "):
            self._stream(rest)
        else:
            self._page(head.split(b" ", 2)[1].decode("latin-1"))

    def _stream(self, body: bytes) -> None:
        tokens, gap = _TOKENS.search(body), _GAP.search(body)
        count, gap_ns = int(tokens[1]) if tokens else 1, round(float(gap[1]) * NS_PER_MS) if gap else 0
        now_ns = time.monotonic_ns()
        if count <= 1 or not gap_ns:
            events = b"".join([EVENT % now_ns] * (count - 1))
            self._outlet.write(_HEAD + events + END % now_ns)
            return
        self._outlet.write(_HEAD + EVENT % now_ns)
        self._clockwork.add(now_ns + gap_ns, Stream(self._outlet, count - 1, gap_ns))

    def _page(self, path: str) -> None:
        page = {"/stats": self._clockwork.stats, "/v1/models": _models}.get(path)
        text = json.dumps(page() if page is not None else {"detail": "Not Found"}).encode()
        status = "200 OK" if page is not None else "404 Not Found"
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        self._transport.write(head.encode() + text)


def _models() -> dict[str, object]:
    return {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "loadgen"}]}


async def serve(ready: Callable[[str], None], stopped: asyncio.Event) -> None:
    """Listen on a free port of the loopback, say where, and serve until told to stop."""
    loop = asyncio.get_running_loop()
    clockwork = Clockwork(loop)
    server = await loop.create_server(lambda: NullConnection(clockwork), "127.0.0.1", 0, backlog=4096)
    ready(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await stopped.wait()
    server.close()
    clockwork.close()


async def _serve_until_told() -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 4096) else stopped.set())
    await serve(lambda url: print(json.dumps({"ready": url, "model": MODEL}), flush=True), stopped)


def main() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve_until_told())
    else:
        uvloop.run(_serve_until_told())
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # open connections are nobody's loss
