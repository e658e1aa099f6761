"""A load process on this machine: started once, given one run after another, stopped for good.

The parent's main thread receives; a second thread feeds request bodies ahead of the clock and is held back by the
socket's buffer, so that a run of any length needs a few hundred bodies in memory.
"""

import contextlib
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator

from loadgen.errors import EngineError
from loadgen.exchange import Body, Ended, FrameReader, FromWorker, Job, Look, Started, Stop, frame
from loadgen.workers.canary import CanaryWriter, connected_pair

_BATCH_BYTES = 1 << 16
POLL_S = 0.05


class LocalWorker:
    """Use as a context manager; `run` once per plan."""

    def __init__(self) -> None:
        self._channel, data = socket.socketpair()
        self._control, control = socket.socketpair()
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            self._channel.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        loopback = connected_pair()
        self._canary = None if loopback is None else loopback[0]
        passed = [data, control] if loopback is None else [data, control, loopback[1]]
        fds = [sock.fileno() for sock in passed]
        command = [sys.executable, "-m", "loadgen.workers.worker", *map(str, fds)]
        self._process = subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL, stderr=self._log)
        for sock in passed:
            sock.close()

    def __enter__(self) -> "LocalWorker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        job: Job,
        bodies: Iterator[Body],
        take: Callable[[object], None],
        between: Callable[[], None],
    ) -> Ended:
        """Run one job to its end.

        take      called with every Part, Done, Tick and Looked, in order
        between   called at least every 50 ms: the live view's and the scraper's turn

        Raises EngineError when the process dies; when building a body raised something, that, after what runs is ended:
        the worker can be used again.
        """
        reader, room = FrameReader(FromWorker), memoryview(bytearray(1 << 18))  # a new one each time scatters the heap
        with contextlib.suppress(OSError):  # a dead process is found out where its answer is missing
            self._channel.sendall(frame(job))
        feeder = _Feeder(self._channel, bodies)
        feeder.start()
        canary = None if self._canary is None else CanaryWriter(self._canary)
        if canary is not None:
            canary.start()
        started = stopped = False
        try:
            while True:
                between()
                if feeder.failure is not None and started and not stopped:  # before its job it would not hear
                    self.stop(now=True)
                    stopped = True
                if not select.select([self._channel], [], [], POLL_S)[0]:
                    continue
                try:
                    size = self._channel.recv_into(room)
                except ConnectionResetError:  # it was killed with bodies unread
                    size = 0
                if not size:
                    raise EngineError(f"The load process died: {self._last_words()}.", "Please report this as a bug.")
                for message in reader.feed(room[:size]):
                    if isinstance(message, Ended):
                        if feeder.failure is not None:
                            raise feeder.failure
                        return message
                    started = started or isinstance(message, Started)
                    take(message)
        finally:
            if canary is not None:
                canary.stop()
            feeder.cancelled = True
            feeder.join(timeout=5)  # the load process reads on after a run, so it cannot wait for room

    def stop(self, *, now: bool = False) -> None:
        """Send no more requests; `now` also ends what is running."""
        with contextlib.suppress(OSError):
            self._control.sendall(frame(Stop(now)))

    def look(self) -> None:
        """Ask for what has come of the running answers; a Looked says that it is all there."""
        with contextlib.suppress(OSError):
            self._control.sendall(frame(Look()))

    def _last_words(self) -> str:
        code = self._process.wait(timeout=5)
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {code}"

    def close(self) -> None:
        """End the process; it goes by itself when its sockets close."""
        self._control.close()
        self._channel.close()
        if self._canary is not None:
            self._canary.close()
        try:
            self._process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


class _Feeder(threading.Thread):
    """Encodes bodies in batches and writes them into the socket; blocks while the load process has enough."""

    def __init__(self, channel: socket.socket, bodies: Iterator[Body]) -> None:
        super().__init__(daemon=True, name="loadgen-bodies")
        self._channel = channel
        self._bodies = bodies
        self.cancelled = False
        self.failure: BaseException | None = None

    def run(self) -> None:
        batch = bytearray()
        try:
            for body in self._bodies:
                if self.cancelled:
                    return
                batch += frame(body)
                # The first request must not wait for a batch to fill.
                if len(batch) >= _BATCH_BYTES or body.index < 16:
                    self._channel.sendall(batch)
                    batch.clear()
            self._channel.sendall(batch)
        except OSError:
            return  # the load process went; the receiving side says so
        except Exception as error:  # noqa: BLE001 (raised again in the main thread)
            self.failure = error
