"""Linux timerfd on CLOCK_MONOTONIC, which Python has only from 3.13 on: a descriptor that becomes readable on time."""

import ctypes
import os
import sys

_CLOCK_MONOTONIC = 1
_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_ABSOLUTE = 1
_NS_PER_S = 1_000_000_000


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class TimerFd:
    """`fd` is -1 where the system has no timerfd."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        self.fd: int = -1 if self._libc is None else self._libc.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)

    def at(self, ns: int) -> None:
        """Fire once at `ns` (CLOCK_MONOTONIC); at once when that is past. Replaces what was set before."""
        self._set(_ABSOLUTE, _Itimerspec(0, 0, *divmod(max(ns, 1), _NS_PER_S)))

    def every(self, ns: int) -> None:
        """Fire every `ns`; 0 stops."""
        self._set(0, _Itimerspec(*divmod(ns, _NS_PER_S), *divmod(ns, _NS_PER_S)))

    def _set(self, flags: int, spec: _Itimerspec) -> None:
        assert self._libc is not None
        self._libc.timerfd_settime(self.fd, flags, ctypes.byref(spec), None)

    def expired(self) -> bool:
        """Take the expiry; False when there was none, as after a re-arming."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
