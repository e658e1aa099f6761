"""Has the server come to rest? Asked of itself, by tiny requests: one that is answered as fast as on the idle server
waited behind nobody.

Between two probes of a search whatever the first one left behind must be gone, also on a server that goes on with
requests whose client has left.
"""

import time
from collections.abc import Callable

from loadgen.engines.asking import Asker
from loadgen.errors import TargetError
from loadgen.units import NS_PER_MS, NS_PER_S, format_duration

_IDLE_TRIES = 3
_SLOWER, _SLACK_NS = (
    3,
    50 * NS_PER_MS,
)  # of a rested server: as many times as before, or so much more
_PAUSE_S = 0.05


class Rest:
    """Made while the server is idle; `body` is one tiny request. Say `disturb` when something was left behind in it."""

    def __init__(self, asker: Asker, path: str, body: bytes) -> None:
        self._asker, self._path, self._body = asker, path, body
        times_ns = [each for _ in range(_IDLE_TRIES) if (each := self._answer_ns()) is not None]
        self._idle_ns = min(times_ns, default=NS_PER_S)
        self._disturbed = False

    def disturb(self) -> None:
        """Requests were dropped that the server may still be at."""
        self._disturbed = True

    def wait(self, limit_ns: int, is_over: Callable[[], bool] = lambda: False) -> None:
        """Until the server has nothing to do, or `is_over`. Raises TargetError when it still has after `limit_ns`."""
        began_ns = time.monotonic_ns()
        while self._disturbed and not is_over():
            took_ns = self._answer_ns()
            if took_ns is not None and took_ns <= max(_SLOWER * self._idle_ns, self._idle_ns + _SLACK_NS):
                self._disturbed = False
                return
            if time.monotonic_ns() - began_ns >= limit_ns:
                now = "is not answered" if took_ns is None else f"takes {format_duration(took_ns)}"
                raise TargetError(
                    f"The server does not come to rest: {format_duration(limit_ns)} after the load has gone, a tiny "
                    f"request {now}; at first it took {format_duration(self._idle_ns)}.",
                    "Look at its log. When it is well again, the search can go on: loadgen saturate --resume FOLDER.",
                )
            time.sleep(_PAUSE_S)

    def _answer_ns(self) -> int | None:
        """How long one took; None when it was not answered."""
        began_ns = time.monotonic_ns()
        try:
            status, _ = self._asker.ask(self._path, self._body, timeout_s=30.0)
        except TargetError:
            return None
        return time.monotonic_ns() - began_ns if status < 400 else None
