"""Counts over time in bins that double their width when time outgrows them: bounded memory, order does not matter.

A bin of width w·2 is two bins of width w, so the counts are the same in whatever order the stamps came.
"""

import numpy as np

from loadgen.analysis.sample import Floats, Int64s
from loadgen.units import NS_PER_MS

BINS_MAX = 1 << 16
WIDTH_NS_MIN = NS_PER_MS // 4


class TimeBins:
    """How many things happened when, to about 1/65,536 of the run."""

    def __init__(self) -> None:
        self.width_ns = WIDTH_NS_MIN
        self._counts = np.zeros(BINS_MAX, np.int64)

    def add(self, stamps_ns: Int64s, counts: Int64s) -> None:
        """`counts[i]` things at `stamps_ns[i]`; what is before the run's start counts at its start."""
        if not len(stamps_ns):
            return
        stamps_ns = np.maximum(stamps_ns, 0)
        latest_ns = int(stamps_ns.max())
        while latest_ns // self.width_ns >= BINS_MAX:
            folded = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts = np.concatenate((folded, np.zeros(BINS_MAX // 2, np.int64)))
            self.width_ns *= 2
        np.add.at(self._counts, stamps_ns // self.width_ns, counts)

    @property
    def total(self) -> int:
        return int(self._counts.sum())

    def between(self, edges_ns: Floats) -> Floats:
        """float64[len(edges_ns) − 1]: how many fell between successive edges; a bin that an edge cuts is shared out."""
        grid_ns = np.arange(BINS_MAX + 1) * float(self.width_ns)
        running = np.concatenate(([0], np.cumsum(self._counts)))
        return np.diff(np.interp(edges_ns, grid_ns, running))
