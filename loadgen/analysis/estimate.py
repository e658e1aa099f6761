"""How certain a figure is. Successive requests resemble each other, so the naive interval is far too narrow.

Means and rates: batch means. The window is cut into up to 20 batches in order of time; the spread between batches, not
within, gives the interval (t quantile), widened further when neighbouring batches still resemble each other.
Percentiles: order statistics (binomial) of an effective sample size: n shrunk by how much more the share of values
below the percentile varies from batch to batch than independent values would.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, sqrt

import numpy as np

from loadgen.analysis.sample import Floats, Int64s, Sample
from loadgen.analysis.student import order_ranks, t_quantile
from loadgen.analysis.trend import correlation

LEVEL = 0.95
BATCHES = 20
BATCHES_MIN = 5  # with fewer, the t quantile alone is wider than any use of it
SIGNIFICANT = 1.645  # lag-1 correlation between batches counts when beyond this many 1/√batches


@dataclass(frozen=True, slots=True)
class Estimate:
    """`low` and `high` are None when n is too small for both ends of the interval."""

    value: float | None
    low: float | None
    high: float | None
    level: float
    n: int
    method: str

    def interval(self, scale: float = 1.0) -> list[float] | None:
        """[low, high] divided by `scale`."""
        return None if self.low is None or self.high is None else [self.low / scale, self.high / scale]


def batches_of(n: int) -> Int64s:
    """int64[n]: to which of up to 20 batches each of n successive things belongs; the batches are equal but for one."""
    return np.arange(n) * min(BATCHES, max(n, 1)) // max(n, 1)


def ratio(sums: Floats, sizes: Floats, method: str = "batch means", n: int | None = None) -> Estimate:
    """Σ sums / Σ sizes with the interval of a ratio estimator over batches (Cochran 1977, 6.4).

    A mean: sums of the values and their number per batch. A rate: counts and seconds per batch.
    """
    used = sizes > 0
    sums, sizes = sums[used], sizes[used]
    batches, size = len(sizes), float(sizes.sum())
    n = round(size) if n is None else n
    if not batches:
        return Estimate(None, None, None, LEVEL, n, method)
    value = float(sums.sum()) / size
    error = _standard_error(sums, sizes, value)
    if error is None:
        return Estimate(value, None, None, LEVEL, n, method)
    reach = t_quantile((1 + LEVEL) / 2, batches - 1) * error
    low = value - reach if sums.min() < 0 else max(0.0, value - reach)  # what cannot be negative is not called so
    return Estimate(value, low, value + reach, LEVEL, n, method)


def _standard_error(sums: Floats, sizes: Floats, value: float) -> float | None:
    batches = len(sizes)
    if batches < BATCHES_MIN:
        return None
    residuals = sums - value * sizes
    r = correlation(residuals)
    inflation = (1 + r) / (1 - r) if r > SIGNIFICANT / sqrt(batches) else 1.0
    variance = float(residuals @ residuals) / (batches * (batches - 1)) * inflation
    return sqrt(variance) / float(sizes.mean())


def mean(batches: Sequence[Sample]) -> Estimate:
    """The mean of all values of these batches, which follow each other in time."""
    return ratio(np.array([each.total for each in batches]), np.array([each.n for each in batches], np.float64))


def quantile(batches: Sequence[Sample], whole: Sample, share: float) -> Estimate:
    """The quantile of `whole` (all batches merged) with a distribution-free interval."""
    n, value = whole.n, whole.quantile(share)
    effective = effective_n(batches, value, share) if value is not None else 0
    ranks = order_ranks(effective, share, LEVEL)
    method = "order statistics" if effective == n else f"order statistics, effective n {effective}"
    if ranks is None:
        return Estimate(value, None, None, LEVEL, n, method)
    low, high = floor((ranks[0] - 1) * n / effective), ceil(ranks[1] * n / effective) - 1
    ends = whole.at_rank(np.array([low, min(high, n - 1)]))
    return Estimate(value, float(ends[0]), float(ends[1]), LEVEL, n, method)


def effective_n(batches: Sequence[Sample], value: float, share: float) -> int:
    """n / max(1, D), D = Var(share below, between batches) / (p(1 − p)/n) · (t/z)², p the share at or below `value`.

    (t/z)² because twenty batches only estimate that variance. With fewer than five batches n stays as it is.
    """
    sizes = np.array([each.n for each in batches], np.float64)
    below = np.array([each.at_most(value) for each in batches], np.float64)
    n, p = float(sizes.sum()), float(below.sum() / sizes.sum())
    p = min(max(p, share), 1 - 1 / n) if n > 1 else share
    error = _standard_error(below[sizes > 0], sizes[sizes > 0], float(below.sum()) / n)
    if error is None or not 0 < p < 1:
        return int(n)
    caution = (t_quantile((1 + LEVEL) / 2, int((sizes > 0).sum()) - 1) / t_quantile((1 + LEVEL) / 2, 10_000)) ** 2
    inflation = error**2 * caution / (p * (1 - p) / n)
    return max(1, int(n / inflation)) if inflation > caution else int(n)
