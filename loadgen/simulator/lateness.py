"""Whether the simulator holds its own schedule: the time between when an event was due and when it was written.

A server that measures nobody but itself late would pass its lateness off as a latency of the model. So every event is
counted here, and a late simulator says so. Apart from the other counters because it judges us, not the load.
"""

from collections import Counter, deque

from loadgen.units import NS_PER_MS

_BIN_SHIFT = 13  # bins of 8.2 µs
WINDOW_S = 10
LATE_NS_MAX = 5 * NS_PER_MS
LATE_SHARE_OF_STEP_MAX = 0.2


class Lateness:
    """Counts of lateness, in all and over the last 10 seconds; `turn_second` is called once a second."""

    def __init__(self) -> None:
        self.second: Counter[int] = Counter()  # bin → events, of the running second
        self._closed: deque[Counter[int]] = deque(maxlen=WINDOW_S - 1)
        self._older: Counter[int] = Counter()

    def add(self, late_ns: int) -> None:
        self.second[late_ns >> _BIN_SHIFT] += 1

    def turn_second(self) -> None:
        if len(self._closed) == self._closed.maxlen:
            self._older.update(self._closed[0])
        self._closed.append(self.second)
        self.second = Counter()

    def window(self) -> "Quantiles":
        return quantiles(self._recent())

    def overall(self) -> "Quantiles":
        return quantiles(self._recent() + self._older)

    def is_late(self, step_ns: int) -> bool:
        """Whether p99 over the window exceeds 5 ms or 20 % of the time between two tokens."""
        p99_ns = self.window()["0.99"]
        return p99_ns > min(LATE_NS_MAX, LATE_SHARE_OF_STEP_MAX * step_ns)

    def _recent(self) -> Counter[int]:
        recent = Counter(self.second)
        for second in self._closed:
            recent.update(second)
        return recent


Quantiles = dict[str, int]  # "0.5", "0.99", "max" → ns


def quantiles(bins: Counter[int]) -> Quantiles:
    """The upper edges of the bins that hold p50, p99 and the largest; 0 without events."""
    found = dict.fromkeys(("0.5", "0.99", "max"), 0)
    total, seen = bins.total(), 0
    for index in sorted(bins):
        before, seen = seen, seen + bins[index]
        for name, share in (("0.5", 0.5), ("0.99", 0.99), ("max", 1.0)):
            if before < share * total <= seen:
                found[name] = max(0, index + 1) << _BIN_SHIFT
    return found
