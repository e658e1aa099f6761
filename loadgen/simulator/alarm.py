"""Wakes the event loop at a given nanosecond: the loop's own timers are millisecond-grained.

On Linux a timerfd on CLOCK_MONOTONIC with an absolute time, which is neither early nor a tick late. Elsewhere the loop
sleeps to within two milliseconds and then looks again and again. It may call back early; the callee checks its clock.
"""

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Protocol

from loadgen.units import NS_PER_MS, NS_PER_S

_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC if sys.platform == "linux" else 0
_TFD_TIMER_ABSTIME = 1


class Alarm(Protocol):
    """`set(due_ns)` rings at that CLOCK_MONOTONIC time, at once when it is past; `set(None)` disarms.

    Whoever is rung sets the alarm again: until then it may go on ringing.
    """

    def set(self, due_ns: int | None) -> None: ...
    def close(self) -> None: ...


def new_alarm(loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> Alarm:
    """The best alarm that this machine has."""
    return TimerFdAlarm(loop, ring) if sys.platform == "linux" else LoopAlarm(loop, ring)


class TimerFdAlarm:
    """The descriptor is never read: setting the timer again, which the callee does, takes back that it rang.

    Setting it costs up to 18 µs on a virtual machine, more than an event, so it is not set twice to the same time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._fd = libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._spec = (ctypes.c_long * 4)()  # interval s, ns; value s, ns
        self._due_ns: int | None = None
        self._loop = loop
        loop.add_reader(self._fd, ring)

    def set(self, due_ns: int | None) -> None:
        if due_ns == self._due_ns:
            return
        self._due_ns = due_ns
        spec = self._spec
        spec[2], spec[3] = divmod(due_ns or 0, NS_PER_S)
        self._settime(self._fd, _TFD_TIMER_ABSTIME, spec, None)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)


class LoopAlarm:
    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._handle: asyncio.Handle | None = None

    def set(self, due_ns: int | None) -> None:
        self.close()
        if due_ns is not None:
            wait_ns = due_ns - time.monotonic_ns() - 2 * NS_PER_MS
            self._handle = self._loop.call_later(max(0, wait_ns) / NS_PER_S, self._wake, due_ns)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _wake(self, due_ns: int) -> None:
        if time.monotonic_ns() < due_ns:
            self._handle = self._loop.call_soon(self._wake, due_ns)
        else:
            self._ring()
