"""Has the server come to rest? Asked of itself, by tiny requests: one that is answered as fast as on the idle server
waited behind nobody.

Between two probes of a search whatever the first one left behind must be gone, also on a server that goes on with
requests whose client has left.
"""

import time
from collections.abc import Callable

from loadgen.engines.asking import Asker
from loadgen.errors import TargetError
from loadgen.units import NS_PER_MS, NS_PER_S

_IDLE_TRIES = 3
_SLOWER, _SLACK_NS = (
    3,
    50 * NS_PER_MS,
)  # of a rested server: as many times as before, or so much more
_PAUSE_S = 0.05


class Rest:
    """Made while the server is idle; `body` is one tiny request."""

    def __init__(self, asker: Asker, path: str, body: bytes) -> None:
        self._asker, self._path, self._body = asker, path, body
        times_ns = [each for _ in range(_IDLE_TRIES) if (each := self._answer_ns()) is not None]
        self._idle_ns = min(times_ns, default=NS_PER_S)

    def wait(self, limit_ns: int, is_over: Callable[[], bool] = lambda: False) -> bool:
        """Until the server has nothing to do; False when it still has after `limit_ns`, or `is_over` says so."""
        deadline_ns = time.monotonic_ns() + limit_ns
        while not is_over():
            took_ns = self._answer_ns()
            if took_ns is not None and took_ns <= max(_SLOWER * self._idle_ns, self._idle_ns + _SLACK_NS):
                return True
            if time.monotonic_ns() >= deadline_ns:
                return False
            time.sleep(_PAUSE_S)
        return False

    def _answer_ns(self) -> int | None:
        """How long one took; None when it was not answered."""
        began_ns = time.monotonic_ns()
        try:
            status, _ = self._asker.ask(self._path, self._body, timeout_s=30.0)
        except TargetError:
            return None
        return time.monotonic_ns() - began_ns if status < 400 else None
