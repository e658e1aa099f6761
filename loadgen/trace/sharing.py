"""How much of the prompts a server could have had in its cache: the ideal, with a cache that never forgets."""

import numpy as np

from loadgen.trace.table import Int64s, Trace


def hit_tokens(trace: Trace) -> Int64s:
    """int64[n]: tokens of each prompt that lie in blocks which an earlier row had; all 0 for a trace without blocks."""
    if trace.blocks is None or not len(trace.blocks.ids):
        return np.zeros(len(trace), np.int64)
    blocks = trace.blocks
    first = np.full(int(blocks.ids.max()) + 1, -1, np.int64)
    places = np.arange(len(blocks.ids))
    first[blocks.ids[::-1]] = places[::-1]  # the earliest place wins
    row = np.repeat(np.arange(len(trace)), np.diff(blocks.offsets))
    tokens = np.full(len(blocks.ids), blocks.size, np.int64)
    held = np.diff(blocks.offsets)
    last = blocks.offsets[1:][held > 0] - 1
    tokens[last] = np.minimum(blocks.size, trace.input_tokens[held > 0] - blocks.size * (held[held > 0] - 1))
    seen = first[blocks.ids] < places
    return np.bincount(row, np.where(seen, np.maximum(tokens, 0), 0), len(trace)).astype(np.int64)


def ideal_hit_rate(trace: Trace) -> float | None:
    """Share of all prompt tokens; None where the trace says nothing about shared prompts."""
    if trace.blocks is None or not len(trace):
        return None
    return float(hit_tokens(trace).sum() / trace.input_tokens.sum())
