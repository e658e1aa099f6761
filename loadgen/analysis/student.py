"""Student's t and the binomial, without scipy: the two distributions that intervals are read from."""

from functools import lru_cache
from math import atan, cos, log, pi, sin, sqrt
from statistics import NormalDist

import numpy as np

NORMAL_FROM = 400  # degrees of freedom at which t and the normal differ by less than 0.2 %
EXACT_BINOMIAL_MAX = 20_000


def t_cdf(t: float, freedom: int) -> float:
    """P(T ≤ t) for whole degrees of freedom: the finite sums of Abramowitz & Stegun 26.7.3 and 26.7.4."""
    angle = atan(t / sqrt(freedom))
    squared = cos(angle) ** 2
    if freedom % 2:
        term, total = cos(angle), 0.0
        for k in range(3, freedom + 1, 2):
            total += term
            term *= squared * (k - 1) / k
        return 0.5 + (angle + sin(angle) * total) / pi
    term, total = 1.0, 0.0
    for k in range(2, freedom + 1, 2):
        total += term
        term *= squared * (k - 1) / k
    return 0.5 + sin(angle) * total / 2


@lru_cache(maxsize=256)
def t_quantile(share: float, freedom: int) -> float:
    """The t with P(T ≤ t) = share, by bisection to 1e-10; the normal quantile beyond 400 degrees of freedom."""
    if not 0 < share < 1 or freedom < 1:
        raise ValueError("share must lie between 0 and 1, degrees of freedom must be at least 1")
    if freedom > NORMAL_FROM:
        return NormalDist().inv_cdf(share)
    if share < 0.5:
        return -t_quantile(1 - share, freedom)
    low, high = 0.0, 1.0
    while t_cdf(high, freedom) < share:
        high *= 2
    while high - low > 1e-10 * max(high, 1.0):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, freedom) < share else (low, middle)
    return (low + high) / 2


@lru_cache(maxsize=1024)
def order_ranks(n: int, share: float, level: float) -> tuple[int, int] | None:
    """Ranks (1 the smallest) of the order statistics that enclose the `share` quantile of n values with `level`.

    The largest l with P(Bin(n, share) < l) ≤ (1 − level)/2 and the smallest u with P(Bin(n, share) ≥ u) ≤ the same;
    None when n is too small for both to exist. Beyond 20,000 values by the normal approximation.
    """
    tail = (1 - level) / 2
    if n < 1 or share**n > tail or (1 - share) ** n > tail:
        return None
    if n > EXACT_BINOMIAL_MAX:
        reach = NormalDist().inv_cdf(1 - tail) * sqrt(n * share * (1 - share))
        return int(n * share - reach), int(np.ceil(n * share + reach)) + 1
    logs = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    k = np.arange(n + 1)
    upto = np.cumsum(np.exp(logs[n] - logs - logs[::-1] + k * log(share) + (n - k) * log(1 - share)))
    low = int(np.searchsorted(upto, tail, side="right"))  # P(Bin ≤ low − 1) ≤ tail < P(Bin ≤ low)
    high = int(np.searchsorted(upto, 1 - tail, side="left")) + 1
    return (low, high) if low >= 1 and high <= n else None
