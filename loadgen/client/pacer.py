"""Waking at a due time: the only place that waits for one.

uvloop's timers tick in milliseconds and may fire early, so this is a Linux timerfd on CLOCK_MONOTONIC: never early,
some tens of microseconds late on an idle core. Elsewhere the loop's timer is used, and waits on when it was early.
"""

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_TFD_TIMER_ABSTIME = 1


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Pacer:
    """Calls `wake` at, never before, the time last given to `wake_at`."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        self._fd = -1
        if self._libc is not None:
            self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._expired)

    def wake_at(self, due_ns: int) -> None:
        """Arm for `due_ns` (CLOCK_MONOTONIC); replaces what was armed before. A time in the past wakes at once."""
        if self._fd >= 0 and self._libc is not None:
            seconds, nanoseconds = divmod(max(due_ns, 1), 1_000_000_000)
            spec = _Itimerspec(0, 0, seconds, nanoseconds)
            self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0, due_ns - time.monotonic_ns()) / 1e9, self._late_enough, due_ns)

    def _late_enough(self, due_ns: int) -> None:
        if time.monotonic_ns() < due_ns:
            self._loop.call_soon(self._late_enough, due_ns)
        else:
            self._wake()

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # re-armed between expiry and callback
        self._wake()

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
        if self._timer is not None:
            self._timer.cancel()
