"""The load process: issuer, transport and nothing else. Started by `workers.local` with two sockets to its parent.

Jobs and bodies come over the first one, in order, and are left in it while enough are here: that is the back pressure.
`Stop` comes over the second, so that it never waits behind them.

It decodes no answer, writes no file and draws no screen, so that nothing competes with the sockets. It lives for many
runs (a sweep keeps its connections' process warm) and ends when its socket does: a killed parent leaves no orphan.
"""

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
import time
from array import array
from typing import Any
from urllib.parse import urlsplit

from loadgen.client.canary import Canary
from loadgen.client.flight import PARTIAL_READS, Flight
from loadgen.client.issuer import Issuer
from loadgen.client.pacer import Pacer
from loadgen.client.socket_transport import SocketTransport
from loadgen.client.transport import Landed, Transport, Wiring
from loadgen.clock import MonotonicClock, realtime_offset_ns
from loadgen.exchange import Body, Ended, FrameReader, Job, Look, Looked, Started, Stop, Tick, frame

TICK_NS = 100_000_000
FIRST_TICK_NS = 47_000_000  # traces are full of round times, and what is due then should not meet a tick
HEAD_START_NS = 50_000_000  # between the job's arrival and its time zero, so that the first bodies are there
BODIES_AHEAD = 512  # prepared requests that wait here; the rest waits in the parent, behind the socket's own buffer
BYTES_AHEAD = 64 << 20  # of them: prompts of 100,000 tokens are most of a megabyte each
PARTS_AT_ONCE = 32  # taken in one go when the parent looks: half a millisecond
OUTBOX_BYTES_MAX = 64 << 20  # beyond this the recorder is far behind: block, be late, and let the lag say so


def _transport(name: str, wiring: Wiring, landed: Landed) -> Transport:
    """aiohttp costs 0.2 s to import: only who asks for it pays."""
    if name == "socket":
        return SocketTransport(wiring, landed)
    from loadgen.client.aiohttp_transport import AiohttpTransport

    return AiohttpTransport(wiring, landed)


class Worker:
    """One parent, one run at a time."""

    def __init__(self, channel: socket.socket, control: socket.socket, canary: Canary | None = None) -> None:
        self.canary = canary
        self._channel = channel
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader(Job | Body)
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._run: Run | None = None
        self._listening = False
        self._control_reader = FrameReader(Stop | Look)
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.listen(True)
        self._loop.add_reader(control.fileno(), self._receive_control)

    def listen(self, wanted: bool) -> None:
        """Read from the parent, or leave its bytes in the socket: that is the back pressure on bodies."""
        if wanted != self._listening:
            self._listening = wanted
            if wanted:
                self._loop.add_reader(self._channel.fileno(), self._receive)
            else:
                self._loop.remove_reader(self._channel.fileno())

    def _receive(self) -> None:
        try:
            data = self._channel.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.listen(False)
            self._hang_up()
            return
        for message in self._reader.feed(data):
            if isinstance(message, Job):
                self._run = Run(message, self)
                self._loop.create_task(self._run.until_over())
            elif self._run is not None and isinstance(message, Body):
                self._run.supply(message)
        if self._run is not None:
            self._run.supplied()

    def _receive_control(self) -> None:
        data = self._control.recv(4096)
        if not data:
            self._loop.remove_reader(self._control.fileno())
            self._hang_up()
        for message in self._control_reader.feed(data):
            if self._run is not None and isinstance(message, Stop):
                self._run.stop(message.now)
            elif self._run is not None:
                self._loop.create_task(self._run.tell())

    def _hang_up(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def send(self, message: bytes) -> None:
        self._outbox.append(message)
        self._outbox_bytes += len(message)
        if self._outbox_bytes > 1 << 18:
            self.flush()

    def flush(self) -> None:
        """Give the parent what has gathered, without waiting for it unless far too much has."""
        while self._outbox:
            joined = b"".join(self._outbox)
            self._channel.setblocking(len(joined) > OUTBOX_BYTES_MAX)
            try:
                taken = self._channel.send(joined)
            except BlockingIOError:
                taken = 0
            except OSError:
                self._outbox.clear()  # the parent is gone; `_receive` will notice
                self._outbox_bytes = 0
                return
            self._outbox = [joined[taken:]] if taken < len(joined) else []
            self._outbox_bytes = len(joined) - taken
            if taken < len(joined):
                return

    async def end_run(self) -> None:
        """Hand over the rest before the next job."""
        self._run = None
        self.listen(True)
        while self._outbox and not self.closed.done():
            self.flush()
            await asyncio.sleep(0.005)


class Run:
    """One job: from its plan to its `Ended`."""

    def __init__(self, job: Job, worker: Worker) -> None:
        self._worker = worker
        self._due = array("q", job.due_ns)
        self._stop_ns, self._drain_ns, self._has_sessions = job.stop_ns, job.drain_ns, bool(job.after)
        self._clock_step_ns = self._gc_started_ns = self._gc_pause_ns_max = 0
        self._over = False
        self._pacer = Pacer(self._issue)
        family, host, port = job.address
        url, late = urlsplit(job.url), not job.in_flight_max
        wiring = Wiring(url, (family, host, port), job.headers, job.verify_tls, job.proxy, may_read_late=late)
        self._transport = _transport(job.transport, wiring, lambda flight: self._issuer.landed(flight))
        if worker.canary is not None and isinstance(self._transport, SocketTransport):
            self._transport.watch(worker.canary)
        gc.collect()
        gc.freeze()
        gc.disable()  # a run leaves no cycles: closed connections take theirs apart (tests/client/test_cycles.py)
        # Time zero comes last: what was imported and made until here takes nothing from the first request.
        self._start_ns = self._ticked_ns = time.monotonic_ns() + HEAD_START_NS
        self._offset_ns = realtime_offset_ns()
        self._cpu_ns = time.process_time_ns()
        self._issuer = self._make_issuer(job)
        self._issuer.transport = self._transport
        worker.send(frame(Started(self._start_ns)))

    def _make_issuer(self, job: Job) -> Issuer:
        arguments = (self._due, self._start_ns, job.timeout_ns, MonotonicClock(), self._pacer.wake_at, self._landed)
        limits: dict[str, Any] = {"in_flight_max": job.in_flight_max, "stop_ns": job.stop_ns}
        if not job.after:
            return Issuer(*arguments, **limits, barriers=job.barriers)
        from loadgen.client.sessions import SessionIssuer

        after, think_ns = array("q", job.after), array("q", job.think_ns)
        return SessionIssuer(*arguments, **limits, after=after, think_ns=think_ns, joins=job.joins)

    def supply(self, body: Body) -> None:
        self._issuer.supply(body.index, self._transport.prepare(body.index, body.body))

    def supplied(self) -> None:
        """Bodies came: a request that was due and starved can go; stop reading when enough are here."""
        self._worker.listen(self._issuer.ready < BODIES_AHEAD and self._issuer.ready_bytes < BYTES_AHEAD)
        self._pacer.wake_at(self._start_ns)

    def stop(self, now: bool) -> None:
        self._issuer.stop()
        if now:
            self._issuer.cancel_all()

    async def tell(self) -> None:
        """What has come of the running answers up to now, a few at a time: what falls due meanwhile must not wait."""
        now_ns = time.monotonic_ns()
        running = self._issuer.running()
        for place, flight in enumerate(running, 1):
            if flight.done_ns < 0 and flight.reads:  # else it has landed since, and its tape is another's
                self._worker.send(frame(flight.take_part(self._start_ns, self._offset_ns)))
            if place % PARTS_AT_ONCE == 0:
                await asyncio.sleep(0)
        if self._over:
            return  # after Ended nothing of this run may come: it would be taken for the next one's
        indices = array("q", [flight.index for flight in running])
        issued_ns = array("q", [flight.issued_ns - self._start_ns for flight in running])
        self._worker.send(frame(Looked(now_ns - self._start_ns, indices.tobytes(), issued_ns.tobytes())))
        self._worker.flush()

    def _issue(self) -> None:
        self._issuer.issue()
        if self._issuer.ready < BODIES_AHEAD // 2 and self._issuer.ready_bytes < BYTES_AHEAD // 2:
            self._worker.listen(True)

    def _landed(self, flight: Flight) -> None:
        self._worker.send(frame(flight.take_part(self._start_ns, self._offset_ns)))
        self._worker.send(frame(flight.take_done(self._start_ns)))

    async def until_over(self) -> None:
        """Tick until everything has been sent and has ended, or the drain is over."""
        gc.callbacks.append(self._on_gc)
        next_tick_ns = self._start_ns + FIRST_TICK_NS
        last_due_ns = self._start_ns + (self._due[-1] if self._due else 0)
        drain_from_ns = 0
        while not (self._issuer.through and self._issuer.in_flight == 0):
            await asyncio.sleep(max(0, next_tick_ns - time.monotonic_ns()) / 1e9)
            self._tick(next_tick_ns)
            next_tick_ns = max(next_tick_ns + TICK_NS, time.monotonic_ns())
            if self._worker.closed.done():
                self.stop(now=True)
            if self._stop_ns and time.monotonic_ns() - self._start_ns >= self._stop_ns:
                self._issuer.stop()
            # The drain begins when nothing more will be sent; an open loop under a cap that cannot send in time
            # gets no longer than one that can. Sessions go on for as long as their answers take.
            late = (
                not (self._stop_ns or self._has_sessions)
                and 0 < last_due_ns - self._start_ns < time.monotonic_ns() - self._start_ns
            )
            if drain_from_ns == 0 and (self._issuer.through or late):
                drain_from_ns = time.monotonic_ns()
            if drain_from_ns and time.monotonic_ns() - drain_from_ns >= self._drain_ns:
                self.stop(now=True)
        self._tick(time.monotonic_ns())
        if self._worker.canary is not None and isinstance(self._transport, SocketTransport):
            self._transport.unwatch(self._worker.canary)
        await self._transport.close()
        self._pacer.close()
        gc.callbacks.remove(self._on_gc)
        gc.enable()
        self._over = True
        self._worker.send(frame(Ended(time.monotonic_ns() - self._start_ns)))
        await self._worker.end_run()

    def _tick(self, due_ns: int) -> None:
        now_ns = time.monotonic_ns()
        issuer = self._issuer
        issuer.expire()
        offset_ns = realtime_offset_ns()
        self._clock_step_ns = max(self._clock_step_ns, abs(offset_ns - self._offset_ns))
        self._offset_ns = offset_ns
        for flight in issuer.running():
            if flight.reads >= PARTIAL_READS:
                self._worker.send(frame(flight.take_part(self._start_ns, offset_ns)))
        cpu_ns = time.process_time_ns()
        readings = {
            "issued": issuer.issued,
            "completed": issuer.completed,
            "in_flight": issuer.in_flight,
            "lag_max_ns": issuer.lag_max_ns,
            "starved": issuer.starved,
            "loop_lag_max_ns": max(0, now_ns - due_ns),
            "cpu_fraction": (cpu_ns - self._cpu_ns) / max(1, now_ns - self._ticked_ns),
            "cpu_ns": cpu_ns,
            "gc_pause_max_ns": self._gc_pause_ns_max,
            "clock_step_ns": self._clock_step_ns,
            "retries": self._transport.counters.retries,
            "open_connections": self._transport.counters.connections_open,
            "connections": self._transport.counters.connections_opened,
            "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        if self._worker.canary is not None:
            readings |= self._worker.canary.readings(offset_ns)
        self._transport.tick(now_ns - self._ticked_ns)
        self._cpu_ns, self._ticked_ns = cpu_ns, now_ns
        issuer.lag_max_ns = self._gc_pause_ns_max = self._clock_step_ns = 0
        self._worker.send(frame(Tick(now_ns - self._start_ns, readings)))
        self._worker.flush()

    def _on_gc(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._gc_started_ns = time.monotonic_ns()
        else:
            self._gc_pause_ns_max = max(self._gc_pause_ns_max, time.monotonic_ns() - self._gc_started_ns)


async def serve(channel: socket.socket, control: socket.socket, canary: Canary | None = None) -> None:
    """Take jobs until the parent goes."""
    channel.setblocking(False)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        channel.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
    worker = Worker(channel, control, canary)
    await worker.closed


def main(arguments: list[str]) -> int:
    """Entry of the process. Ctrl-C and SIGTERM are the parent's to handle: it decides between draining and leaving."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.set_threshold(50_000, 50, 100)  # the hot path makes no cycles; collecting often would only pause it
    channel, control, *loopback = (socket.socket(fileno=int(argument)) for argument in arguments)
    canary = Canary(loopback[0]) if loopback else None
    try:
        import uvloop
    except ImportError:  # Windows
        asyncio.run(serve(channel, control, canary))
    else:
        uvloop.run(serve(channel, control, canary))
    return 0


if __name__ == "__main__":
    # A parent that was killed must not leave a process behind that waits in a C call.
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
