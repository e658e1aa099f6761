"""Isotonic regression: the best curve that only rises, through all probes at once, and where it crosses a level.

More load never makes a queue shorter; a fit that knows it lets neighbours correct each other's noise.
"""

import math

import numpy as np

from loadgen.analysis.sample import Floats


def isotonic(values: Floats, weights: Floats) -> Floats:
    """The non-decreasing float64[n] of least Σ weight·(fit − value)²: pool adjacent violators (Ayer et al. 1955)."""
    blocks: list[list[float]] = []  # mean, weight, how many
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            mean, heft, count = blocks.pop()
            last = blocks[-1]
            total = last[1] + heft
            last[0] = (last[0] * last[1] + mean * heft) / total if total > 0 else last[0]
            last[1], last[2] = total, last[2] + count
    return np.repeat([each[0] for each in blocks], [int(each[2]) for each in blocks]).astype(np.float64)


def crossing(at: Floats, fitted: Floats, level: float) -> float | None:
    """Where a non-decreasing curve through (at, fitted) first exceeds `level`: linear in log(at) between two points.

    −∞ when it is above from the first point on, None when it never is.
    """
    above = np.flatnonzero(fitted > level)
    if not len(above):
        return None
    right = int(above[0])
    if right == 0:
        return -math.inf
    low, high = math.log(at[right - 1]), math.log(at[right])
    rise = float(fitted[right] - fitted[right - 1])
    return math.exp(low + (high - low) * (level - float(fitted[right - 1])) / rise)
