"""What is in a trace, as figures: a document of plain JSON types that screen and page show and tests compare.

Percentiles are linear between order statistics; a rate is rows over the span; a peak is the most arrivals in any window
of that length, wherever it begins; the dispersion is variance over mean of counts in bins from the first arrival; the
CV is the standard deviation of the gaps between arrivals over their mean.
"""

from typing import Any

import numpy as np

from loadgen.rng import generator
from loadgen.trace import chains
from loadgen.trace.formats.lengths import NO_TIMES
from loadgen.trace.table import Edge, Int64s, Trace
from loadgen.units import NS_PER_S, format_duration, format_number, ns_to_s

PERCENTILES = (50, 90, 99)
BINS = 120  # of the course over time
_WINDOWS_S = (1, 60)
_TIES_MIN = 0.05  # share of arrivals that fall on another's stamp before a clock is called coarse
_COARSE = 0.1  # of the mean gap: a finer tick changes nothing
_GRID = 0.01  # how far from a multiple of the tick a gap may lie
_ROWS_MIN = 10  # before anything is called a pattern


def inspect(trace: Trace, context: int | None = None) -> dict[str, Any]:
    """Every figure of a trace; `context` is the most tokens that prompt and answer may have together."""
    survey, n = trace.survey, len(trace)
    timed = NO_TIMES not in survey.oddities
    span_ns = int(trace.arrival_ns[-1])
    gaps = np.diff(trace.arrival_ns)
    tick_ns = find_tick_ns(trace.arrival_ns) if timed else None
    document: dict[str, Any] = {
        "kind": "trace",
        "format": survey.format,
        "path": survey.path,
        "sha256": survey.sha256,
        "zero": trace.zero or None,
        "rows_read": survey.rows_read,
        "rows_kept": n,
        "dropped": survey.dropped,
        "span_s": ns_to_s(span_ns) if timed else None,
        "mean_rate": n / ns_to_s(span_ns) if timed and span_ns else None,
        "peaks": {f"{width}s": _peak(trace.arrival_ns, width) for width in _WINDOWS_S} if timed else {},
        "iat_cv": _cv(gaps) if timed else None,
        "dispersion": {f"{width}s": _dispersion(trace.arrival_ns, width) for width in _WINDOWS_S} if timed else {},
        "resolution_ns": int(np.gcd.reduce(gaps)) if timed and span_ns else None,
        "distinct_stamps": int(np.count_nonzero(gaps)) + 1 if timed else None,
        "longest_gap_s": ns_to_s(int(gaps.max())) if timed and n > 1 else None,
        "tick_s": ns_to_s(tick_ns) if tick_ns else None,
        "iat_cv_dequantized": _cv(np.diff(_jittered(trace.arrival_ns, tick_ns))) if tick_ns else None,
        "input_tokens": lengths_of(trace.input_tokens),
        "output_tokens": lengths_of(trace.output_tokens),
        "sessions": _sessions(trace),
        "prefix": _prefix(trace),
        "models": _models(trace),
        "texts": trace.texts is not None,
        "over_time": _over_time(trace) if timed and span_ns else None,
    }
    document["oddities"] = [*survey.oddities, *_oddities(trace, document, tick_ns, context)]
    return document


def find_tick_ns(arrival_ns: Int64s) -> int | None:
    """The grid on which arrivals were stamped, where many share a stamp; None for a clock that is fine enough.

    Nearly all gaps between distinct stamps must be multiples of it, within one percent of it."""
    gaps = np.diff(arrival_ns)
    coarse_ns = gaps.mean() * _COARSE if len(gaps) else 0.0
    gaps = gaps[gaps > 0]
    if len(arrival_ns) < _ROWS_MIN or len(gaps) < 2 or 1 - (len(gaps) + 1) / len(arrival_ns) < _TIES_MIN:
        return None
    guess = float(np.percentile(gaps, 5))
    near = gaps[gaps < 1.5 * guess]
    tick = float(np.median(near)) if len(near) else guess
    off = np.abs(gaps / tick - np.rint(gaps / tick)) * tick
    if np.mean(off <= _GRID * tick * np.maximum(1, np.sqrt(gaps / tick))) >= 0.99:
        found = round(tick)
    else:
        found = int(np.gcd.reduce(gaps))
    return found if found >= coarse_ns else None


def lengths_of(tokens: Int64s) -> dict[str, Any] | None:
    """Sum, mean, percentiles and maximum of what is known; None where nothing is."""
    known = tokens[tokens >= 0]
    if not len(known):
        return None
    values = np.percentile(known, PERCENTILES)
    return {
        "known": len(known),
        "sum": int(known.sum()),
        "mean": float(known.mean()),
        **{f"p{p}": float(value) for p, value in zip(PERCENTILES, values, strict=True)},
        "max": int(known.max()),
    }


def _peak(arrival_ns: Int64s, width_s: int) -> int:
    ends = np.searchsorted(arrival_ns, arrival_ns + width_s * NS_PER_S, "left")
    return int((ends - np.arange(len(arrival_ns))).max())


def _cv(gaps: Int64s) -> float | None:
    mean = float(gaps.mean()) if len(gaps) > 1 else 0.0
    return float(gaps.std() / mean) if mean else None


def _dispersion(arrival_ns: Int64s, width_s: int) -> float | None:
    """Of the counts in whole bins; an unfinished last bin counts only where it is the only one."""
    width_ns, span_ns = width_s * NS_PER_S, int(arrival_ns[-1])
    bins = span_ns // width_ns
    if not 2 <= bins <= 50_000_000:
        return None
    counts = np.bincount(arrival_ns[arrival_ns < bins * width_ns] // width_ns, minlength=bins)
    return float(counts.var() / counts.mean())


def _jittered(arrival_ns: Int64s, tick_ns: int) -> Int64s:
    jitter_ns = generator(0, "trace.inspect").integers(0, tick_ns, len(arrival_ns))
    return np.sort(arrival_ns + jitter_ns)


def _sessions(trace: Trace) -> dict[str, Any] | None:
    known = trace.session[trace.session >= 0]
    if not len(known):
        return None
    turns = np.bincount(known)
    turns = turns[turns > 0]
    think = trace.think_ns[trace.think_ns >= 0]
    return {
        "number": len(turns),
        "requests": len(known),
        "turns_mean": float(turns.mean()),
        "turns_max": int(turns.max()),
        "think_p50_s": ns_to_s(float(np.median(think))) if len(think) else None,
        "overlapping": int(np.count_nonzero(trace.edge == Edge.AFTER_START)),
        "joins": len(trace.joins),
    }


def _prefix(trace: Trace) -> dict[str, Any] | None:
    """What an infinite prefix cache would give: the share of all prompt tokens that an earlier prompt began with."""
    if trace.blocks is None:
        return None
    total = int(np.maximum(trace.input_tokens, 0).sum())
    hits = chains.hit_tokens(trace.blocks, trace.input_tokens)
    return {
        "block_tokens": trace.blocks.size,
        "blocks": len(trace.blocks.ids),
        "distinct_blocks": int(trace.blocks.ids.max(initial=-1)) + 1,
        "hit_tokens": int(hits.sum()),
        "hit_rate": float(hits.sum() / total) if total else None,
        "rows_with_hits": int(np.count_nonzero(hits)),
    }


def _models(trace: Trace) -> dict[str, int]:
    counts = np.bincount(trace.model, minlength=len(trace.models))
    return {name: int(count) for name, count in zip(trace.models, counts, strict=True) if name and count}


def _over_time(trace: Trace) -> dict[str, Any]:
    """The course in equal bins: arrivals a second, and mean lengths, None where nothing arrived."""
    span_ns = int(trace.arrival_ns[-1])
    width_ns = -(-(span_ns + 1) // BINS)
    place = trace.arrival_ns // width_ns
    counts = np.bincount(place, minlength=BINS)
    columns: dict[str, Any] = {"bin_s": ns_to_s(width_ns), "rate": (counts / ns_to_s(width_ns)).tolist()}
    for name, tokens in (("input_tokens", trace.input_tokens), ("output_tokens", trace.output_tokens)):
        known = tokens >= 0
        sums = np.bincount(place[known], tokens[known], BINS)
        numbers = np.bincount(place[known], minlength=BINS)
        columns[name] = [
            total / number if number else None for total, number in zip(sums.tolist(), numbers.tolist(), strict=True)
        ]
    return columns


def _oddities(trace: Trace, document: dict[str, Any], tick_ns: int | None, context: int | None) -> list[str]:
    """Sentences about what a replay shows, and a reader may take for the server's doing."""
    n, told = len(trace), []
    if tick_ns:
        cvs = [document["iat_cv"], document["iat_cv_dequantized"]]
        words = " to ".join(format_number(each) for each in cvs if each is not None)
        told.append(
            f"The clock ticks every {format_duration(tick_ns)}: {document['distinct_stamps']:,} distinct stamps for "
            f"{n:,} requests. --dequantize {_as_option(tick_ns)} spreads them, which takes the gaps' CV from {words}."
        )
    if rows := _repeated(trace):
        told.append(f"Rows that repeat another one in time, lengths, session and model: {rows:,}.")
    if prompts := _repeated_prompts(trace):
        told.append(f"Prompts that are exact duplicates of an earlier one, in length and blocks: {prompts:,}.")
    for name, tokens in (("prompts", trace.input_tokens), ("answers", trace.output_tokens)):
        told += _clipped(name, tokens)
        if silent := int(np.count_nonzero(tokens < 0)):
            told.append(f"{name.capitalize()} of unknown length: {silent:,}.")
        if empty := int(np.count_nonzero(tokens == 0)):
            why = "; failures, or nothing was generated" if name == "answers" else ""
            told.append(f"{name.capitalize()} of 0 tokens: {empty:,} ({empty / n:.2%}){why}.")
    if failed := int(np.count_nonzero(trace.status != 200)):
        told.append(f"Requests with a status other than 200: {failed:,} ({failed / n:.2%}).")
    if context is not None:
        total = np.maximum(trace.input_tokens, 0) + np.maximum(trace.output_tokens, 0)
        over = int(np.count_nonzero(total > context))
        told.append(f"Requests longer than a context of {context:,} tokens: {over:,} ({over / n:.2%}).")
    return told


def _as_option(ns: int) -> str:
    """A duration as an option takes it, to the ms where it has that many."""
    for unit, size in (("s", NS_PER_S), ("ms", 1_000_000), ("us", 1_000)):
        if ns >= size:
            return f"{round(ns / size, 3):g}{unit}"
    return f"{ns}ns"


def _repeated(trace: Trace) -> int:
    """Rows that are equal to another in every column that tells requests apart; found by a 64-bit mixture of them."""
    if not trace.arrival_ns.any():
        return 0
    mixed = np.zeros(len(trace), np.uint64)
    ends = _ends(trace)
    for values in (trace.arrival_ns, trace.input_tokens, trace.output_tokens, trace.session, trace.model, ends):
        mixed = (mixed ^ values.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return len(mixed) - len(np.unique(mixed))


def _repeated_prompts(trace: Trace) -> int:
    """Prompts of known blocks that came before; where the last block is left out, the tail is not known."""
    if trace.blocks is None or not trace.blocks.partial_last:
        return 0
    ends = _ends(trace)
    pairs = np.stack([ends, trace.input_tokens])[:, ends >= 0]
    return int(pairs.shape[1] - np.unique(pairs, axis=1).shape[1])


def _ends(trace: Trace) -> Int64s:
    """The last block of each row, which stands for all before it; −1 for none."""
    if trace.blocks is None:
        return np.full(len(trace), -1, np.int64)
    offsets = trace.blocks.offsets
    filled = offsets[1:] > offsets[:-1]
    return np.where(filled, trace.blocks.ids[np.where(filled, offsets[1:] - 1, 0)], -1) if filled.any() else filled - 1


def _clipped(name: str, tokens: Int64s) -> list[str]:
    """Lengths that pile up at the maximum, or at one value."""
    known = tokens[tokens > 0]
    if len(known) < 10 * _ROWS_MIN:
        return []
    told, top = [], int(known.max())
    piled = known >= top - top // 1000
    below = int(np.count_nonzero(known >= top - top // 20)) - int(piled.sum())
    if (count := int(piled.sum())) >= _ROWS_MIN and count > 5 * below / 49:
        low = int(known[piled].min())
        where = f"of {top:,}" if low == top else f"from {low:,} to {top:,}"
        told.append(f"{count:,} {name} have the most tokens there are ({where}): cut by a limit, it seems.")
    counts = np.bincount(known) if top < 10_000_000 else np.zeros(1, np.int64)
    often = int(counts.argmax())
    if counts[often] >= max(_ROWS_MIN, 0.015 * len(known)) and often < top - top // 1000:
        told.append(f"{counts[often]:,} {name} have exactly {often:,} tokens ({counts[often] / len(known):.1%}).")
    return told
