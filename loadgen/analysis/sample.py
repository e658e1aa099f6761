"""A sorted sample, exact or counted: the one type that every mean, spread and percentile is read from.

Percentiles are never averaged: samples are merged as counts and asked anew. It knows no metric and no unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sample:
    """`values` float64[k] ascending; `counts` int64[k], how often each occurs (None: once each)."""

    values: Floats
    counts: Int64s | None = None

    @property
    def n(self) -> int:
        return len(self.values) if self.counts is None else int(self.counts.sum())

    @property
    def total(self) -> float:
        return float(self.values.sum() if self.counts is None else self.values @ self.counts)

    def mean(self) -> float | None:
        n = self.n
        return self.total / n if n else None

    def std(self) -> float | None:
        """The population's (divided by n), as `numpy.std` and vLLM have it."""
        n = self.n
        if not n:
            return None
        squares = (self.values - self.total / n) ** 2
        return float(np.sqrt((squares.sum() if self.counts is None else squares @ self.counts) / n))

    def quantile(self, share: float) -> float | None:
        """Linear between the two nearest ranks, as `numpy.percentile` and vLLM have it; None for an empty sample."""
        n = self.n
        return float(self.quantiles(np.array([share]))[0]) if n else None

    def quantiles(self, shares: Floats) -> Floats:
        """float64[len(shares)]; the sample must not be empty."""
        rank = (self.n - 1) * shares
        below = np.floor(rank)
        low, high = self.at_rank(below.astype(np.int64)), self.at_rank(np.ceil(rank).astype(np.int64))
        with np.errstate(invalid="ignore"):  # inf − inf: both ends are failures, and so is what lies between
            between = low + (high - low) * (rank - below)
        return np.where(low == high, low, between)

    def at_rank(self, rank: Int64s) -> Floats:
        """The values at these ranks, 0 the smallest."""
        if self.counts is None:
            return self.values[rank]
        return self.values[np.searchsorted(np.cumsum(self.counts), rank, side="right")]

    def at_most(self, limit: float) -> int:
        """How many values are `limit` or less."""
        k = int(np.searchsorted(self.values, limit, side="right"))
        return k if self.counts is None else int(self.counts[:k].sum())


def sample(values: Floats) -> Sample:
    """Sorts; NaN (a stage never reached) is left out."""
    return Sample(np.sort(values[~np.isnan(values)]))


def merged(samples: Sequence[Sample]) -> Sample:
    """One sample out of several."""
    if not samples:
        return Sample(np.empty(0))
    if len(samples) > 2 and any(each.counts is not None for each in samples):  # all at once need seven times their room
        half = len(samples) // 2
        return merged([merged(samples[:half]), merged(samples[half:])])
    values = np.concatenate([each.values for each in samples])
    if all(each.counts is None for each in samples):
        values.sort()  # where it is: there may be a million
        return Sample(values)
    counts = [np.ones(len(each.values), np.int64) if each.counts is None else each.counts for each in samples]
    distinct, place = np.unique(values, return_inverse=True)
    return Sample(distinct, np.bincount(place, np.concatenate(counts), len(distinct)).astype(np.int64))
