"""Waking at a due time: the only place that waits for one.

uvloop's timers tick in milliseconds and may fire early, so this is a Linux timerfd: never early, some tens of
microseconds late on an idle core. Elsewhere the loop's timer is used, and waits on when it was early.
"""

import asyncio
import time
from collections.abc import Callable

from loadgen.client.timerfd import TimerFd


class Pacer:
    """Calls `wake` at, never before, the time last given to `wake_at`."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._fallback: asyncio.TimerHandle | None = None
        self._timer = TimerFd()
        if self._timer.fd >= 0:
            self._loop.add_reader(self._timer.fd, self._expired)

    def wake_at(self, due_ns: int) -> None:
        """Arm for `due_ns` (CLOCK_MONOTONIC); replaces what was armed before. A time in the past wakes at once."""
        if self._timer.fd >= 0:
            self._timer.at(due_ns)
            return
        if self._fallback is not None:
            self._fallback.cancel()
        self._fallback = self._loop.call_later(max(0, due_ns - time.monotonic_ns()) / 1e9, self._not_early, due_ns)

    def _not_early(self, due_ns: int) -> None:
        if time.monotonic_ns() < due_ns:
            self._loop.call_soon(self._not_early, due_ns)
        else:
            self._wake()

    def _expired(self) -> None:
        if self._timer.expired():
            self._wake()

    def close(self) -> None:
        if self._timer.fd >= 0:
            self._loop.remove_reader(self._timer.fd)
            self._timer.close()
        if self._fallback is not None:
            self._fallback.cancel()
