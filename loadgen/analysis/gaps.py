"""The gaps between token events, reduced as they stream by: exact up to a million, then counted in log buckets.

This is what keeps memory from growing with tokens. Rows are requests; only those that ended well are handed in.
Three significant digits: a bucket is at most 1/1024 of its value wide. Slices of issue time (32 to 64 of them) keep the
counts apart enough to leave the warm-up out later.
"""

import numpy as np
import numpy.typing as npt

from loadgen.analysis.sample import Floats, Int64s, Sample, merged
from loadgen.units import NS_PER_MS

EXACT_MAX = 1_000_000  # 8 MB, and four times that while they are sorted: an hour needs no more than ten minutes
SLICES = 64
_ROWS_AT_ONCE = 64
_DIGIT_BITS = 10  # 2^10 buckets an octave: three significant digits
_BUCKETS = (42 - _DIGIT_BITS) << _DIGIT_BITS  # up to 2^42 ns, more than an hour
_Counted = tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint32]]  # the buckets that are not empty, how often each


def bucket_of(gaps_ns: Int64s) -> Int64s:
    """The bucket of each gap (int64[n], ns ≥ 0): exact below 2,048 ns, then 1,024 buckets an octave."""
    capped = np.minimum(gaps_ns, (1 << 41) - 1)
    shift = np.maximum(np.frexp(capped.astype(np.float64))[1] - 1 - _DIGIT_BITS, 0).astype(np.int64)
    return np.asarray((shift << _DIGIT_BITS) + (capped >> shift), np.int64)


def middle_ns(buckets: Int64s) -> Floats:
    """The middle of each bucket in ns."""
    shift = np.maximum((buckets >> _DIGIT_BITS) - 1, 0)
    low = (buckets - (shift << _DIGIT_BITS)) << shift
    return np.asarray(low + ((np.int64(1) << shift) - 1) / 2, np.float64)


class Gaps:
    """All gaps of all rows so far."""

    def __init__(self, exact_max: int = EXACT_MAX) -> None:
        self._exact_max = exact_max
        self._exact: bytearray | None = bytearray()  # int64; these grow in place
        self._per_row, self._issued_ns = bytearray(), bytearray()  # int64 per row: how many gaps, when it was issued
        self._total = 0
        self._slice_ns = NS_PER_MS
        self._counted: dict[int, _Counted] = {}  # by slice

    @property
    def exact(self) -> bool:
        return self._exact is not None

    def add(self, gaps_ns: Int64s, per_row: Int64s, issued_ns: Int64s) -> None:
        """`gaps_ns` of the next rows, `per_row[i]` of them for row i; a gap below 0 (clock step) counts as 0."""
        gaps_ns, issued_ns = np.maximum(gaps_ns, 0), np.maximum(issued_ns, 0)
        self._total += len(gaps_ns)
        self._per_row += per_row.astype(np.int64).tobytes()
        self._issued_ns += issued_ns.tobytes()
        if self._exact is None:
            self._count(gaps_ns, per_row, issued_ns)
            return
        self._exact += gaps_ns.tobytes()
        if self._total > self._exact_max:
            exact, counts, issued = (_int64s(each) for each in (self._exact, self._per_row, self._issued_ns))
            ends = np.concatenate(([0], np.cumsum(counts)))
            for row in range(0, len(counts), _ROWS_AT_ONCE):  # a million at once would need 60 MB beside themselves
                upto = min(row + _ROWS_AT_ONCE, len(counts))
                self._count(exact[ends[row] : ends[upto]], counts[row:upto], issued[row:upto])
            self._exact = None

    def _count(self, gaps_ns: Int64s, per_row: Int64s, issued_ns: Int64s) -> None:
        if not len(gaps_ns):
            return
        latest_ns = int(issued_ns[per_row > 0].max())  # rows without gaps must not widen the slices
        while latest_ns // self._slice_ns >= SLICES:
            apart, self._counted, self._slice_ns = self._counted, {}, self._slice_ns * 2
            for place, counted in apart.items():
                self._put(place // 2, _spread([counted]))
        buckets, slices = bucket_of(gaps_ns), np.repeat(issued_ns // self._slice_ns, per_row)
        for place in np.unique(slices).tolist():
            self._put(place, np.bincount(buckets[slices == place], minlength=_BUCKETS))

    def _put(self, place: int, counts: Int64s) -> None:
        if place in self._counted:
            counts = counts + _spread([self._counted[place]])
        filled = np.flatnonzero(counts)
        self._counted[place] = filled.astype(np.uint16), counts[filled].astype(np.uint32)

    def samples(self, part: Int64s, parts: int, zeros: Int64s) -> list[Sample]:
        """One sample per part; `part[row]` is the part a row belongs to, -1 for none; parts follow each other in time.

        `zeros[row]` gaps of 0 are added for a row: its tokens that shared an event with the token before. With log
        buckets a slice belongs to the part in whose issue times its middle lies.
        """
        gaps = self._exact_parts(part, parts) if self._exact is not None else self._bucket_parts(part, parts)
        noughts = np.bincount(part[part >= 0], zeros[part >= 0], parts).astype(np.int64)
        return [
            merged([each, Sample(np.zeros(1), np.array([nought]))]) if nought else each
            for each, nought in zip(gaps, noughts.tolist(), strict=True)
        ]

    def _exact_parts(self, part: Int64s, parts: int) -> list[Sample]:
        assert self._exact is not None
        gaps_ns = _int64s(self._exact)
        part_of_gap = np.repeat(part.astype(np.int8 if parts < 128 else np.int64), _int64s(self._per_row))
        return [Sample(np.sort(gaps_ns[part_of_gap == each].astype(np.float64))) for each in range(parts)]

    def _bucket_parts(self, part: Int64s, parts: int) -> list[Sample]:
        issued_ns = _int64s(self._issued_ns)
        filled = [each for each in range(parts) if (part == each).any()]
        starts_ns = [issued_ns[part == each].min() for each in filled]
        slices: list[list[_Counted]] = [[] for _ in range(parts)]
        for place, counted in self._counted.items():
            middle = (place + 0.5) * self._slice_ns
            if filled and starts_ns[0] <= middle and place <= issued_ns[part == filled[-1]].max() // self._slice_ns:
                slices[filled[int(np.searchsorted(starts_ns, middle, side="right")) - 1]].append(counted)
        found = []
        for each in slices:
            counts = _spread(each)
            buckets = np.flatnonzero(counts)
            found.append(Sample(middle_ns(buckets), counts[buckets]))
        return found


def _spread(slices: list[_Counted]) -> Int64s:
    """int64[_BUCKETS]: their counts together, with the buckets that are empty."""
    counts = np.zeros(_BUCKETS, np.int64)
    for buckets, many in slices:
        counts[buckets] += many
    return counts


def _int64s(grown: bytearray) -> Int64s:
    """What has been gathered, seen as numbers; while they are seen, no more can be gathered."""
    return np.frombuffer(grown, np.int64)
