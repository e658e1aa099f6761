"""Prefix blocks: make ids dense, chain them, take rows of them, count what an ideal cache would hit. All in columns.

A chained id stands for a block and everything before it. Nothing here knows a format or makes a prompt.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loadgen.trace.table import Blocks, Int64s

Bools = npt.NDArray[np.bool_]
_AT_ONCE = 1 << 16


def offsets_of(lengths: Int64s) -> Int64s:
    """int64[n + 1]: where each row's blocks begin, and the end of all."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def dense(ids: Int64s) -> Int64s:
    """The same equalities with the numbers 0 … distinct − 1, in the order in which they are first seen."""
    if not len(ids) or firsts(ids) is not None:  # as Mooncake's are; telling it is cheaper than doing it
        return ids
    encoded = pa.array(ids).dictionary_encode()
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)


def firsts(ids: Int64s) -> Bools | None:
    """Where each id is first seen, bool[n]; None where the ids are not dense in that order.

    In parts that fit a processor's cache: of millions of ids, whole columns cost four times as much."""
    found, known = np.zeros(len(ids), np.bool_), -1
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        highest = np.maximum.accumulate(np.concatenate(([known], part)))
        steps = highest[1:] - highest[:-1]
        if steps.max() > 1 or part.min() < 0:
            return None
        found[start : start + _AT_ONCE] = steps > 0
        known = int(highest[-1])
    return found


def first_places(ids: Int64s) -> Int64s:
    """Where each dense id is first seen."""
    found = firsts(ids)
    assert found is not None
    return np.flatnonzero(found)


def broken_chain(offsets: Int64s, ids: Int64s) -> int | None:
    """The place of the first (dense) id whose predecessor is another than it was before; None when all are chained.

    With equal predecessors all the way back, equal ids mean equal prefixes and stand at equal positions."""
    if not len(ids):
        return None
    new = firsts(ids)
    assert new is not None
    again, first = np.flatnonzero(~new), np.flatnonzero(new)
    begins = np.zeros(len(ids), np.bool_)
    begins[offsets[:-1][offsets[:-1] < len(ids)]] = True

    def before(places: Int64s) -> Int64s:
        return np.where(begins[places], -1, ids[places - 1])

    wrong = before(again) != before(first[ids[again]])
    return int(again[np.argmax(wrong)]) if wrong.any() else None


def chain(offsets: Int64s, ids: Int64s, out: Int64s | None = None) -> Int64s:
    """From ids of single blocks' content to chained ids: id' = (id' of the prefix, id), position by position; into
    `out` where that is given, which may be `ids`: of millions, memory that is touched first costs more than all sums.

    A row whose prefix no other row has goes on alone: what follows in it is new without being looked at.
    """
    lengths = np.diff(offsets)
    kinds = int(ids.max(initial=0)) + 1
    if kinds * (len(lengths) + 1) >= 2**63:
        ids = dense(ids)
        kinds = int(ids.max(initial=0)) + 1
    rows = np.flatnonzero(lengths)
    so_far, position = np.zeros(len(lengths), np.int64), 0
    new = np.ones(len(ids), np.bool_)
    again, sources = [], []  # places whose prefix has been there before, and where it was first
    while len(rows):
        places = offsets[rows] + position
        level = dense(so_far[rows] * kinds + ids[places])
        so_far[rows] = level
        first = first_places(level)
        later = np.ones(len(rows), np.bool_)
        later[first] = False
        new[places[later]] = False
        again.append(places[later])
        sources.append(places[first[level[later]]])
        position += 1
        with_others = np.bincount(level)[level] > 1
        rows = rows[with_others & (lengths[rows] > position)]
    chained = np.empty_like(ids) if out is None else out
    chained[:] = new
    chained[:1] -= 1
    np.cumsum(chained, out=chained)
    for places, source in zip(again, sources, strict=True):
        chained[places] = chained[source]
    return chained


def spread(starts: Int64s, lengths: Int64s) -> Int64s:
    """The places starts[k] … starts[k] + lengths[k] − 1 of all k, one after the other."""
    begin = offsets_of(lengths)
    return np.repeat(starts - begin[:-1], lengths) + np.arange(begin[-1])


def take(blocks: Blocks, rows: Int64s) -> Blocks:
    """The blocks of some rows, in that order; ids stay dense in the order of first sight."""
    if np.array_equal(rows, np.arange(len(blocks.offsets) - 1)):
        return blocks
    lengths = np.diff(blocks.offsets)[rows]
    offsets = offsets_of(lengths)
    places = spread(blocks.offsets[rows], lengths)
    return Blocks(blocks.size, offsets, dense(blocks.ids[places]), blocks.partial_last)


def hit_tokens(blocks: Blocks, input_tokens: Int64s) -> Int64s:
    """Tokens of each prompt that an infinite prefix cache would hold by then; rows one after the other.

    A block hits when an earlier row had it; equal rows share their partial last block too. Where the number of blocks
    does not fit the length (blocks of text bytes), each block counts as an equal part of the prompt."""
    n, lengths = len(input_tokens), np.diff(blocks.offsets)
    row_of = np.repeat(np.arange(n), lengths)
    first = row_of[first_places(blocks.ids)] if len(row_of) else row_of
    seen = first[blocks.ids] < row_of
    hits = np.bincount(row_of[seen], minlength=n)
    length = np.maximum(input_tokens, 0)
    fits = _wanted(blocks, length) == lengths
    exact = np.minimum(hits * blocks.size, length)
    share = hits * length // np.maximum(lengths, 1)
    return np.where(fits, exact, share)


def misfits(blocks: Blocks, input_tokens: Int64s) -> Int64s:
    """Rows whose number of blocks is not that of their length."""
    return np.flatnonzero(_wanted(blocks, input_tokens) != np.diff(blocks.offsets))


def _wanted(blocks: Blocks, length: Int64s) -> Int64s:
    wanted: Int64s = -(-length // blocks.size) if blocks.partial_last else length // blocks.size
    return wanted
