"""Our own lateness, and whether it is one pause of the machine or a client that cannot keep up.

A shared machine takes the CPU away for some ms now and then. One such pause is told and forgiven; a client that is late
again and again is not. Only what we are to blame for counts: the wait for a slot under a cap is not lag.
"""

from dataclasses import dataclass

import numpy as np

from loadgen.analysis.flow import Flow
from loadgen.analysis.sample import Bools, Floats
from loadgen.units import NS_PER_MS, NS_PER_S

LATE_NS = 5 * NS_PER_MS  # p99 above this: the client is late
LATE_SHARE_OF_TTFT = 0.01  # … if it is also more than this share of the median TTFT
VERY_LATE_NS = 50 * NS_PER_MS
VERY_LATE_SHARE = 0.001  # of the requests may be later than that
PAUSE_NS_MAX = 100 * NS_PER_MS  # a longer stop is no scheduler's hiccup
FORGIVEN_PER_NS = 30 * NS_PER_S  # one pause for every 30 s of the window, and one to begin with


@dataclass(frozen=True, slots=True)
class Lag:
    """float64[k], lags in ns of the requests issued in the window; the same without forgiven pauses; their number."""

    all_ns: Floats
    judged_ns: Floats
    pauses: int

    @property
    def p99_ns(self) -> float:
        return float(np.quantile(self.judged_ns, 0.99)) if len(self.judged_ns) else 0.0

    def too_late(self, ttft_ns: float | None) -> bool:
        """`ttft_ns`: the median TTFT, None when nothing was answered."""
        p99_ns = self.p99_ns
        typical = p99_ns > LATE_NS and (ttft_ns is None or p99_ns > LATE_SHARE_OF_TTFT * ttft_ns)
        very_late = int((self.judged_ns > VERY_LATE_NS).sum())
        return typical or very_late > max(1.0, VERY_LATE_SHARE * len(self.judged_ns))


def lag_of(flow: Flow, issued_ns: Floats, inside: Bools, duration_ns: float) -> Lag:
    """`inside`: bool[n], the records of the window."""
    rows = np.flatnonzero(inside & ~np.isnan(issued_ns))
    could_go_ns = flow.could_go_ns[rows]
    lag_ns = issued_ns[rows] - could_go_ns
    kept = np.ones(len(rows), np.bool_)
    pauses = 0
    for _ in range(1 + int(duration_ns // FORGIVEN_PER_NS)):
        worst = int(np.where(kept, lag_ns, -np.inf).argmax()) if kept.any() else -1
        if worst < 0 or not LATE_NS < lag_ns[worst] <= PAUSE_NS_MAX:
            break
        start_ns = could_go_ns[worst]
        kept &= (could_go_ns < start_ns) | (could_go_ns >= start_ns + lag_ns[worst])
        pauses += 1
    return Lag(lag_ns, lag_ns[kept], pauses)
