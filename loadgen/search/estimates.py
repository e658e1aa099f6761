"""The capacity and the peak throughput, each from all probes at once, with 95 % intervals.

capacity   what the server completes while it is overloaded: the largest arrival rate with a queue that does not grow
           without end (the saturation rule: Baccelli and Foss 1995). A server that completes less when overloaded than
           it sustains breaks that rule, and so does one that does not hold a lower rate: then the boundary between
           stable and unstable probes is the answer, where the isotonic curve of what is left behind begins to rise.
           A speed that wanders is seen between probes rather than in one: the interval spans what each of them saw.
tokens     the highest output throughput seen, pooled with what cannot be told from it
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from loadgen.analysis.isotonic import crossing, isotonic
from loadgen.analysis.sequential import DEFICIT_MAX, LOOK_ERROR, Interval, pooled
from loadgen.search.probe import Judged, Kind, Probe, Purpose

CLEAR = 1.07  # an overload by less may let the server idle now and then
SURE = 0.03  # half an interval, as a share: of what may count against all the overloaded probes
REFUTED = 2  # runs below the capacity that did not hold: one in some hundred fails by chance
DIFFERS = 0.005  # standard deviation of a machine's speed from probe to probe, whatever one of them says
ALIKE = 0.99  # level at which two throughputs are the same

Pairs = list[tuple[Probe, Judged]]


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate with its 95 % interval; an end that nothing bounds is None. `settled` is False when only the interval is
    known: then `value` is where to look next, and nothing to tell anybody.
    """

    value: float
    low: float | None
    high: float | None
    method: str
    settled: bool = True

    @property
    def half(self) -> float:
        """Half the interval; infinite while an end is open."""
        return math.inf if self.low is None or self.high is None else (self.high - self.low) / 2


def open_probes(made: Pairs) -> Pairs:
    """The open loops that count."""
    return [(p, j) for p, j in made if p.kind is Kind.OPEN and j.counts]


def bracket(made: Pairs) -> tuple[float, float]:
    """(highest rate that was certainly stable, lowest above it that certainly was not); 0 and ∞ where there is none."""
    verdicts = [(p.level, j.verdict) for p, j in open_probes(made)]
    low = max((level for level, verdict in verdicts if verdict == "stable"), default=0.0)
    return low, min((level for level, verdict in verdicts if verdict == "unstable" and level > low), default=math.inf)


def most_completed(made: Pairs) -> float:
    """The most that was seen to be completed, requests/s, 0 for nothing; unsteady windows where there is no other."""
    known = [(bool(j.unsteady), j.throughput.value) for _, j in made if j.counts and j.throughput is not None]
    steady = [rate for unsteady, rate in known if not unsteady]
    return max(steady or [rate for _, rate in known], default=0.0)


def saturated(made: Pairs) -> Pairs:
    """The probes during which the server was busy throughout: clear overloads, and the closed loop at the plateau."""
    over = [
        (p, j)
        for p, j in open_probes(made)
        if j.verdict == "unstable" and j.throughput is not None and p.level > CLEAR * j.throughput.value
    ]
    closed = [(p, j) for p, j in made if p.purpose is Purpose.PLATEAU and j.counts and not j.unsteady]
    return over + closed if over else []


def capacity(made: Pairs) -> Rate | None:
    """From overloaded probes; from what was stable when there are none; None when nothing counts."""
    low, high = bracket(made)
    busy = saturated(made)
    if not busy:
        return None if not low else Rate(low, low, None if high == math.inf else high, "highest stable rate tested")
    over = _pool([(p, j) for p, j in busy if p.kind is Kind.OPEN])
    closed = [(p, j) for p, j in busy if p.kind is Kind.CLOSED]
    whole = _pool(busy) if closed and _alike(_pool(closed), over) else over  # where they differ: production is open
    floor = max((_sustained(j.throughput) for _, j in open_probes(made) if j.verdict == "stable"), default=0.0)
    refuted = sum(j.verdict == "unstable" and low < p.level < whole.low for p, j in open_probes(made))
    if floor > whole.high or refuted >= REFUTED:  # it holds more than it completes, or does not hold that
        return _boundary(made, low, high)
    agreed = agree(busy)
    least, most = _span(busy, whole, agreed=agreed)
    failed = [p.level for p, j in open_probes(made) if j.verdict == "unstable" and p.level > whole.high]
    bottom = max(least, min(floor, whole.value)) if agreed else least
    return Rate(whole.value, bottom, min([most, *failed]), f"completions of overloaded probes: {len(busy)}")


def certain(made: Pairs) -> float:
    """Requests/s that the server certainly completed when it was overloaded; 0 where it was not."""
    found = capacity(made) if saturated(made) else None
    return 0.0 if found is None or found.low is None else found.low


def agree(busy: Pairs) -> bool:
    """Whether the probes that kept the server busy completed the same, as far as they know it."""
    known = [j.throughput for _, j in busy if j.throughput is not None]
    return all(_alike(one, other) for one, other in itertools.combinations(known, 2))


def collapses(made: Pairs) -> bool:
    """Whether closed loops completed more than an overloaded open loop did: the server may suffer from its queue."""
    busy = saturated(made)
    closed = [(p, j) for p, j in busy if p.kind is Kind.CLOSED]
    if not closed:
        return False
    whole, over = _pool(closed), _pool([(p, j) for p, j in busy if p.kind is Kind.OPEN])
    return whole.value > over.value and not _alike(whole, over)


def peak_tokens(made: Pairs) -> Rate | None:
    """The highest output throughput. The highest of many is high by luck too: pooled with all that are like it."""
    busy = saturated(made) or [(p, j) for p, j in made if j.counts and not j.unsteady]
    known = [(j.tokens, j.end_ns - j.start_ns) for _, j in busy if j.tokens is not None]
    if not known:
        return None
    best = max((each for each, _ in known), key=lambda each: each.value)
    alike = [(each, span) for each, span in known if _alike(each, best)]
    whole = pooled([each for each, _ in alike], [span for _, span in alike])
    sure = [
        j.tokens for _, j in made if j.counts and not j.unsteady and j.tokens and j.tokens.half() < SURE * whole.value
    ]
    top = max(sure, key=lambda each: each.low, default=whole)
    if top.low > whole.high:  # less in a full batch than in one that is not: seen surely, not for a moment
        whole, alike = top, [(top, 0.0)]
    return Rate(whole.value, whole.low, whole.high, f"probes at the peak: {len(alike)}")


def _pool(probes: Pairs) -> Interval:
    parts = [(j.throughput, j.end_ns - j.start_ns) for _, j in probes if j.throughput is not None]
    known = [Interval(part.value, max(part.error, DIFFERS * part.value), part.freedom) for part, _ in parts]
    return pooled(known, [span for _, span in parts])


def _span(busy: Pairs, whole: Interval, *, agreed: bool) -> tuple[float, float]:
    """The interval of them all, and what each of them saw: its value, and its interval where they do not agree. A speed
    that wanders for longer than a probe lasts is seen in no other way.
    """
    known = [j.throughput for _, j in busy if j.throughput is not None]
    if agreed:
        known = [Interval(each.value, 0.0, 1) for each in known]
    return min(whole.low, *(each.low for each in known)), max(whole.high, *(each.high for each in known))


def _alike(one: Interval, other: Interval) -> bool:
    return abs(one.value - other.value) <= math.hypot(one.half(ALIKE), other.half(ALIKE))


def _sustained(rate: Interval | None) -> float:
    """What a stable probe certainly completed."""
    return 0.0 if rate is None else rate.value - rate.half(1 - 2 * LOOK_ERROR)


def _boundary(made: Pairs, low: float, high: float) -> Rate:
    """Between what was stable and what was not."""
    known = [(p.level, j.deficit) for p, j in open_probes(made) if j.deficit is not None]
    known.sort(key=lambda each: each[0])
    levels = np.array([level for level, _ in known])
    fitted = isotonic(
        np.array([deficit.value for _, deficit in known]),
        np.array([1 / max(deficit.error, 1e-4) ** 2 for _, deficit in known]),
    )
    place = crossing(levels, fitted, DEFICIT_MAX / 2)
    value = min(max(low, low if place is None else place), high)
    return Rate(value, low, None if high == math.inf else high, "between the stable and the unstable probes")
