"""The four rates, each from all probes at once, with 95 % intervals.

capacity   what the server completes while it is overloaded: the largest arrival rate with a queue that does not grow
           without end (the saturation rule: Baccelli and Foss 1995). Stable probes bound it from below.
goodput    where the isotonic curve of the SLO's excess against the rate crosses its limit
knee       where 1 % more load begins to cost more than 1 % more latency: the maximum of rate / mean latency (Kleinrock)
tokens     the highest output throughput seen
"""

import math
from dataclasses import dataclass

import numpy as np

from loadgen.analysis.isotonic import crossing, isotonic
from loadgen.analysis.sample import Floats
from loadgen.analysis.sequential import LOOK_ERROR, Interval, pooled
from loadgen.search.probe import Judged, Kind, Probe, Purpose
from loadgen.units import NS_PER_S

CLEAR = 1.07  # an overload by less may let the server idle now and then
RESAMPLES = 400

Pairs = list[tuple[Probe, Judged]]


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate with its 95 % interval; an end that nothing bounds is None."""

    value: float
    low: float | None
    high: float | None
    method: str

    @property
    def half(self) -> float:
        return math.inf if self.low is None or self.high is None else (self.high - self.low) / 2


def saturated(made: Pairs) -> Pairs:
    """The probes during which the server was busy throughout: clear overloads, and the closed loop at the plateau."""
    over = [
        (p, j)
        for p, j in made
        if p.kind is Kind.OPEN and j.counts and j.verdict == "unstable" and p.level > CLEAR * j.throughput.value  # type: ignore[union-attr]
    ]
    full = [(p, j) for p, j in made if p.purpose is Purpose.PLATEAU and j.counts]
    return over + full if over else []


def capacity(made: Pairs) -> Rate | None:
    """From overloaded probes; from what was stable when there are none."""
    stable = [(p, j) for p, j in made if p.kind is Kind.OPEN and j.counts and j.verdict == "stable"]
    busy = saturated(made)
    highest = max((p.level for p, _ in stable), default=None)
    if not busy:
        return None if highest is None else Rate(highest, highest, None, "highest stable rate tested")
    parts = [j.throughput for _, j in busy if j.throughput is not None]
    spans = [j.end_ns - j.start_ns for _, j in busy]
    closed = parts[-1] if busy[-1][0].kind is Kind.CLOSED else None
    if closed is not None and len(parts) > 1 and not _alike(closed, pooled(parts[:-1], spans[:-1])):
        parts, spans = parts[:-1], spans[:-1]  # an open loop is what production is
    whole = pooled(parts, spans)
    low = whole.low
    for _, j in stable:  # what it has sustained it can do
        assert j.throughput is not None
        low = max(low, min(j.throughput.value - j.throughput.half(1 - 2 * LOOK_ERROR), whole.value))
    return Rate(whole.value, low, whole.high, f"completions of {len(parts)} overloaded probes")


def _alike(one: Interval, other: Interval) -> bool:
    return abs(one.value - other.value) <= one.half(0.99) + other.half(0.99)


def peak_tokens(made: Pairs) -> Rate | None:
    """The highest output throughput, pooled with the probes whose interval overlaps it."""
    known = [(j.tokens, j.end_ns - j.start_ns) for _, j in made if j.counts and j.tokens is not None]
    if not known:
        return None
    best = max((each for each, _ in known), key=lambda each: each.value)
    alike = [(each, span) for each, span in known if each.high >= best.low]
    whole = pooled([each for each, _ in alike], [span for _, span in alike])
    return Rate(whole.value, whole.low, whole.high, f"{len(alike)} probes at the peak")


def goodput(made: Pairs, found: Rate) -> Rate | None:
    """The lowest crossing of any clause; its interval by drawing every probe's excess again from its own error.

    Beyond the capacity every SLO is missed in the end, so the capacity bounds it.
    """
    opened = [(p, j) for p, j in made if p.kind is Kind.OPEN and j.counts and j.slo and p.level < found.value]
    if not opened:
        return None
    opened.sort(key=lambda each: each[0].level)
    at = np.array([p.level for p, _ in opened])
    texts = [each.text for each in opened[0][1].slo]
    rng = np.random.default_rng(0)
    draws = np.full(RESAMPLES, found.value)
    value = found.value
    for text in texts:
        cells = [next((each for each in j.slo if each.text == text), None) for _, j in opened]
        known = [k for k, each in enumerate(cells) if each is not None]
        if not known:
            continue
        excess = np.array([cells[k].excess for k in known])  # type: ignore[union-attr]
        error = np.array([cells[k].error for k in known])  # type: ignore[union-attr]
        value = min(value, _cross(at[known], excess, error, found.value))
        for k in range(RESAMPLES):
            drawn = excess + error * rng.standard_normal(len(error))
            draws[k] = min(draws[k], _cross(at[known], drawn, error, found.value))
    met = max((p.level for p, j in opened if j.slo_verdict == "met"), default=None)
    missed = min((p.level for p, j in opened if j.slo_verdict == "missed"), default=None)
    if value == 0:
        return Rate(0.0, 0.0, missed, "missed at every rate tried")
    low, high = (float(each) for each in np.quantile(draws, (0.025, 0.975)))
    low = max(low, met) if met is not None and met < value else low
    high = min(high, missed) if missed is not None and missed > value else high
    return Rate(value, low, high, "isotonic fit of the SLO's excess")


def _cross(at: Floats, excess: Floats, error: Floats, top: float) -> float:
    """Where the fitted excess crosses 0: 0 when it is above everywhere, `top` when nowhere."""
    fitted = isotonic(excess, 1 / error**2)
    if fitted[-1] <= 0:  # the last one within: it crosses between there and the capacity
        return top if len(at) < 2 or at[-1] >= top else float(min(top, math.sqrt(at[-1] * top)))
    place = crossing(at, fitted, 0.0)
    return top if place is None else 0.0 if place == -math.inf else place


_POWERS = (1.0, 3.0, 8.0, 24.0)  # ρ^k / (1 − ρ): one server to many (Sakasegawa's approximation of M/M/c)


def knee(made: Pairs, found: Rate) -> Rate | None:
    """The maximum of rate / latency on a fitted curve w = a + b·ρ + Σ c·ρ^k/(1 − ρ), all coefficients ≥ 0."""
    known = [
        (p.level, j.latency_s)
        for p, j in made
        if p.kind is Kind.OPEN and j.counts and j.latency_s is not None and p.level < 0.97 * found.value
    ]
    single = next((j for p, j in made if p.kind is Kind.CLOSED and p.level == 1 and j.counts), None)
    if len(known) < 2 or single is None or single.latency_s is None:
        return None
    load = np.array([0.0, *(rate / found.value for rate, _ in known)])
    latency = np.array([single.latency_s.value, *(each.value for _, each in known)])
    error = np.maximum(np.array([single.latency_s.error, *(each.error for _, each in known)]), 0.005 * latency)
    value = _peak_of_power(load, latency, error)
    rng = np.random.default_rng(0)
    half = (found.half / found.value) / 1.96
    draws = []
    for _ in range(100):
        scale = 1 + half * rng.standard_normal()
        noisy = np.maximum(latency + error * rng.standard_normal(len(error)), 1e-12)
        draws.append(scale * _peak_of_power(np.minimum(load / scale, 0.995), noisy, error))
    low, high = np.quantile(draws, (0.025, 0.975))
    return Rate(value * found.value, float(low) * found.value, float(high) * found.value, "peak of rate / latency")


def _peak_of_power(load: Floats, latency: Floats, error: Floats) -> float:
    grid = np.linspace(0.05, 0.995, 190)
    fitted = _basis(grid) @ _non_negative(_basis(load) / error[:, None], latency / error)
    with np.errstate(divide="ignore"):
        return float(grid[int(np.argmax(grid / np.maximum(fitted, 1e-12)))])


def _basis(load: Floats) -> Floats:
    return np.column_stack((np.ones_like(load), load, *(load**k / (1 - load) for k in _POWERS)))


def _non_negative(design: Floats, target: Floats) -> Floats:
    """Non-negative least squares by trying every subset of the few columns: exact, and no dependency."""
    columns = design.shape[1]
    best, found = math.inf, np.zeros(columns)
    for mask in range(1, 1 << columns):
        chosen = [k for k in range(columns) if mask >> k & 1]
        if len(chosen) > len(target):
            continue
        solution = np.linalg.lstsq(design[:, chosen], target, rcond=None)[0]
        if (solution < 0).any():
            continue
        residual = float(((design[:, chosen] @ solution - target) ** 2).sum()) * (1 + 1e-9 * len(chosen))
        if residual < best:
            best, found = residual, np.zeros(columns)
            found[chosen] = solution
    return found


__all__ = ["NS_PER_S", "Rate", "capacity", "goodput", "knee", "peak_tokens", "saturated"]
