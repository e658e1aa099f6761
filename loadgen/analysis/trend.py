"""Is there a trend, is there a jump? Rank tests that outliers do not move, corrected for autocorrelation.

A bare slope test flags healthy queues: neighbouring values resemble each other, and twenty of them carry the
information of five. Every test here therefore deflates its statistic by the lag-1 autocorrelation of what is left when
the trend or the jump is taken away. Series in, numbers out; what counts as material is decided elsewhere.
"""

from dataclasses import dataclass
from math import erfc, exp, sqrt

import numpy as np

from loadgen.analysis.sample import Floats

CORRELATION_MAX = 0.9  # beyond it a series says nothing about itself


def correlation(series: Floats) -> float:
    """Lag-1 autocorrelation, 0 to CORRELATION_MAX, with the first-order correction (1 + 4r)/n for its bias downward."""
    n, centred = len(series), series - series.mean() if len(series) else series
    power = float(centred @ centred)
    if n < 4 or power == 0:
        return 0.0
    r = float(centred[1:] @ centred[:-1]) / power
    return min(max(r + (1 + 4 * r) / n, 0.0), CORRELATION_MAX)


def inflation(series: Floats) -> float:
    """How many times larger the variance of a mean is than if the values were independent: (1 + r)/(1 − r)."""
    r = correlation(series)
    return (1 + r) / (1 - r)


@dataclass(frozen=True, slots=True)
class Change:
    """`before` and `after`: the level at both ends (trend) or on both sides (jump); `p`: two-sided; `at`: index."""

    before: float
    after: float
    p: float
    at: int = 0

    @property
    def ratio(self) -> float:
        """after / before; infinite when it began at nothing."""
        return self.after / self.before if self.before > 0 else np.inf if self.after > 0 else 1.0


def trend(series: Floats) -> Change:
    """Theil and Sen's line with Mann and Kendall's test, its variance inflated by the correlation around the line."""
    n = len(series)
    if n < 4:
        return Change(0.0, 0.0, 1.0)
    first, second = np.triu_indices(n, 1)
    slopes = (series[second] - series[first]) / (second - first)
    slope = float(np.median(slopes))
    residuals = series - slope * np.arange(n)
    base = float(np.median(residuals))
    variance = n * (n - 1) * (2 * n + 5) / 18 * inflation(residuals)
    score = abs(float(np.sign(slopes).sum()))
    return Change(base, base + slope * (n - 1), erfc(max(score - 1, 0) / sqrt(variance) / sqrt(2)))


def jump(series: Floats) -> Change:
    """Pettitt's test: K = max |U(t)|, p ≈ 2·exp(−6K²/(n³ + n²)); K² deflated by the correlation around both levels."""
    n = len(series)
    if n < 6:
        return Change(0.0, 0.0, 1.0)
    signs = np.sign(series[None, :] - series[:, None])
    reach = np.array([signs[:t, t:].sum() for t in range(1, n)])
    at = int(np.abs(reach).argmax()) + 1
    before, after = float(np.median(series[:at])), float(np.median(series[at:]))
    residuals = np.concatenate((series[:at] - before, series[at:] - after))
    score = float(reach[at - 1]) ** 2 / inflation(residuals)
    return Change(before, after, min(1.0, 2 * exp(-6 * score / (n**3 + n**2))), at)
