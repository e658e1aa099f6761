"""The knee: the rate at which 1 % more load begins to cost more than 1 % more latency, the peak of rate / latency.

That is Kleinrock's power (1979): half the capacity for M/M/1, closer to it the more a server does at once. The peak is
flat, so it is read off a curve that a queue's latency can have, fitted to all stable probes and one request in flight:
w = a + b·ρ + c·ρ^k / (1 − ρ), a, b, c ≥ 0; k = 1 is one server exactly (Pollaczek and Khinchine), higher is more
servers (Sakasegawa 1977). The interval: the same from latencies drawn again within their errors.
"""

import itertools

import numpy as np

from loadgen.analysis.sample import Floats
from loadgen.search.estimates import Pairs, Rate
from loadgen.search.probe import Kind

POWERS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
PROBES_MIN = 3
LOAD_MAX = 0.85  # nearer to the capacity a probe of any length has not seen the latency that it would come to
ERROR_MIN = 0.01  # of a latency: curves of real servers are not that smooth
CAUTION = 2.0  # times the error of a mean latency: excursions of a queue outlast the batches it is taken from
DRAWS = 200
BETTER = 2.0  # a higher power must fit better by this in χ² (Akaike)


def knee(made: Pairs, found: Rate) -> Rate | None:
    """None with fewer than three stable probes, or without a probe of one in flight."""
    known = [
        (p.level, j.latency_s)
        for p, j in made
        if p.kind is Kind.OPEN and j.counts and j.verdict != "unstable" and j.latency_s is not None
    ]
    known = [(level, latency) for level, latency in known if level < LOAD_MAX * found.value]
    single = next((j for p, j in made if p.kind is Kind.CLOSED and p.level == 1 and j.counts), None)
    if len(known) < PROBES_MIN or single is None or single.latency_s is None:
        return None
    load = np.array([0.0, *(rate / found.value for rate, _ in known)])
    latency = np.array([single.latency_s.value, *(each.value for _, each in known)])
    error = np.array([single.latency_s.error, *(each.error for _, each in known)])
    error = np.hypot(CAUTION * error, ERROR_MIN * latency)
    rng = np.random.default_rng(0)
    wide = found.half / found.value / 1.96
    wide = wide if np.isfinite(wide) else 0.1
    peaks = []
    for scale in 1 + wide * rng.standard_normal(DRAWS):
        noisy = latency + error * rng.standard_normal(len(error))
        peaks.append(scale * _peak(np.minimum(load / scale, 0.995), noisy, error))
    low, value, high = (found.value * float(each) for each in np.quantile(peaks, (0.025, 0.5, 0.975)))
    return Rate(value, low, high, "peak of rate / latency on the fitted curve")


_GRID = np.linspace(0.02, 0.995, 196)


def _peak(load: Floats, latency: Floats, error: Floats) -> float:
    """The load at the peak; of the powers, the best fit."""
    best, peak = np.inf, 0.0
    for power in POWERS:
        design = _curve(load, power) / error[:, None]
        solution, residual = _non_negative(design, latency / error)
        if residual < best - BETTER:
            best = residual
            peak = float(_GRID[int(np.argmax(_GRID / np.maximum(_curve(_GRID, power) @ solution, 1e-12)))])
    return peak


def _curve(load: Floats, power: float) -> Floats:
    return np.column_stack((np.ones_like(load), load, load**power / (1 - load)))


def _non_negative(design: Floats, target: Floats) -> tuple[Floats, float]:
    """Non-negative least squares by trying every subset of the few columns: exact, and no dependency."""
    columns = range(design.shape[1])
    best, residual = np.zeros(design.shape[1]), np.inf
    for count in columns:
        for chosen in map(list, itertools.combinations(columns, count + 1)):
            part = design[:, chosen]
            solution = np.linalg.lstsq(part, target, rcond=None)[0]
            left = float(((part @ solution - target) ** 2).sum())
            if (solution >= 0).all() and left < residual:
                residual, best = left, np.zeros(design.shape[1])
                best[chosen] = solution
    return best, residual
