"""Has the server come to rest? Asked of itself, by tiny requests: one that is answered as fast as on the idle server
waited behind nobody.

Between two loads whatever the first one left behind must be gone, also on a server that goes on with requests whose
client has left. One that has become slower for good, a GPU that is warm now say, must not be waited for in vain: after
half of the time less is asked of it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from loadgen.engines.asking import Asker
from loadgen.errors import TargetError
from loadgen.units import NS_PER_MS, NS_PER_S, format_duration

LIMIT_NS = 120 * NS_PER_S
_IDLE_TRIES = 3
# Of a rested server: so many times as long as when it was idle, or so much more; at first, and after half of the limit.
_SLOWER, _SLACK_NS = (1.5, 3.0), (5 * NS_PER_MS, 50 * NS_PER_MS)
_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Unrest:
    """The server was still busy: what a tiny request took (None: it was not answered), and took while it was idle."""

    took_ns: int | None
    idle_ns: int
    waited_ns: int

    @property
    def seen(self) -> str:
        """A clause: what shows it."""
        now = "is not answered" if self.took_ns is None else f"takes {format_duration(self.took_ns)}"
        return f"a tiny request {now}, and took {format_duration(self.idle_ns)} at first"


class Rest:
    """Made while the server is idle; `body` is one tiny request. Say `disturb` when something was left behind in it."""

    def __init__(self, asker: Asker, path: str, body: bytes) -> None:
        self._asker, self._path, self._body = asker, path, body
        times_ns = [each for _ in range(_IDLE_TRIES) if (each := self._answer_ns()) is not None]
        self._idle_ns = min(times_ns, default=NS_PER_S)
        self.is_disturbed = False

    def disturb(self) -> None:
        """Requests were dropped that the server may still be at."""
        self.is_disturbed = True

    def wait(self, limit_ns: int, is_over: Callable[[], bool] = lambda: False) -> Unrest | None:
        """Until the server has nothing to do, or `is_over`. What shows it when it still has after `limit_ns`; with 0
        the server is asked once.
        """
        began_ns = time.monotonic_ns()
        while self.is_disturbed and not is_over():
            took_ns = self._answer_ns()
            waited_ns = time.monotonic_ns() - began_ns
            late = waited_ns > limit_ns / 2 > 0
            most_ns = max(_SLOWER[late] * self._idle_ns, self._idle_ns + _SLACK_NS[late])
            if took_ns is not None and took_ns <= most_ns:
                self.is_disturbed = False
            elif waited_ns >= limit_ns:
                return Unrest(took_ns, self._idle_ns, waited_ns)
            else:
                time.sleep(_PAUSE_S)
        return None

    def _answer_ns(self) -> int | None:
        """How long one took; None when it was not answered."""
        began_ns = time.monotonic_ns()
        try:
            status, _ = self._asker.ask(self._path, self._body, timeout_s=30.0)
        except TargetError:
            return None
        return time.monotonic_ns() - began_ns if status < 400 else None
