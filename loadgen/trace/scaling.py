"""Parts and multiples of a trace that stay true: whole sessions, namespaces of their own, no row thinned out.

Everything here takes a trace and gives a new one; each says in `survey.oddities` what was done, with numbers.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from loadgen.rng import generator
from loadgen.trace.chains import offsets_of
from loadgen.trace.table import Blocks, Edge, Int64s, Survey, Trace

_COLUMNS = (
    "arrival_ns",
    "input_tokens",
    "output_tokens",
    "session",
    "parent",
    "edge",
    "think_ns",
    "duration_ns",
    "status",
    "model",
    "row",
)


def take(trace: Trace, rows: Int64s) -> Trace:
    """The rows (ascending int64[k]) as a trace of their own; a parent or a join that is not among them is let go."""
    if len(rows) == len(trace):
        return trace  # a long trace is not held twice
    place = np.full(len(trace) + 1, -1, np.int64)  # the last one stands for "no parent"
    place[rows] = np.arange(len(rows))
    columns: dict[str, Any] = {name: getattr(trace, name)[rows] for name in _COLUMNS}
    columns["parent"] = place[columns["parent"]]
    orphan = columns["parent"] < 0
    columns["edge"] = np.where(orphan, int(Edge.NONE), columns["edge"])
    columns["think_ns"] = np.where(orphan, -1, columns["think_ns"])
    joins = place[trace.joins] if len(trace.joins) else trace.joins
    return replace(
        trace,
        **columns,
        joins=joins[(joins >= 0).all(axis=1)],
        blocks=_blocks_of(trace.blocks, rows) if trace.blocks else None,
        texts=[trace.texts[row] for row in rows.tolist()] if trace.texts is not None else None,
    )


def _blocks_of(blocks: Blocks, rows: Int64s) -> Blocks:
    """Those of some rows, under the ids they had: a prompt is the same whichever part of a trace is replayed."""
    lengths = np.diff(blocks.offsets)[rows]
    offsets = offsets_of(lengths)
    places = np.repeat(blocks.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
    return replace(blocks, offsets=offsets, ids=blocks.ids[places])


def window(trace: Trace, start_ns: int, end_ns: int) -> Trace:
    """What arrived from `start_ns` until before `end_ns`; time begins anew at the start of the window."""
    first, last = np.searchsorted(trace.arrival_ns, [start_ns, end_ns])
    part = take(trace, np.arange(first, last))
    return replace(part, arrival_ns=part.arrival_ns - start_ns)


def faster(trace: Trace, speed: float) -> Trace:
    """All gaps, those within sessions and the think times too, divided by `speed`."""
    think_ns = np.where(trace.think_ns < 0, -1, (trace.think_ns / speed).astype(np.int64))
    return replace(trace, arrival_ns=(trace.arrival_ns / speed).astype(np.int64), think_ns=think_ns)


def idle_capped(trace: Trace, cap_ns: int) -> Trace:
    """No stretch without arrivals is longer than `cap_ns`; think times are cut likewise."""
    gaps_ns = np.diff(trace.arrival_ns, prepend=0)
    arrival_ns = np.cumsum(np.minimum(gaps_ns, cap_ns))
    cut = int((gaps_ns > cap_ns).sum())
    lost_s = float(gaps_ns.sum() - arrival_ns[-1:].sum()) / 1e9
    survey = _told(trace, f"{cut} idle stretches were cut to {cap_ns / 1e9:g} s, {lost_s:g} s in all")
    return replace(trace, arrival_ns=arrival_ns, think_ns=np.minimum(trace.think_ns, cap_ns), survey=survey)


def dequantized(trace: Trace, tick_ns: int, seed: int = 0) -> Trace:
    """Arrivals spread evenly at random over the tick on which they were recorded; their order stays."""
    jitter_ns = generator(seed, "trace.dequantize").integers(0, tick_ns, len(trace))
    order = np.lexsort((jitter_ns, trace.arrival_ns))  # within a tie by jitter …
    arrival_ns = trace.arrival_ns + jitter_ns[order]  # … and given to the tied rows in their order
    survey = _told(trace, f"arrivals were spread over ticks of {tick_ns / 1e9:g} s")
    return replace(trace, arrival_ns=np.maximum.accumulate(arrival_ns), survey=survey)


def sampled(trace: Trace, share: float, seed: int = 0) -> Trace:
    """Whole sessions, each kept with probability `share`; where there are none, groups that share their first blocks.

    Rows are never thinned one by one where anything tells which belong together: that would take the reuse of prefixes
    away (37.4 → 11.1 % of the tokens at 10 % of Mooncake's conversation trace).
    """
    groups, kind = _groups(trace)
    number = int(groups.max(initial=-1)) + 1
    kept = generator(seed, "trace.sample").random(number) < share
    survey = _told(trace, f"{int(kept.sum()):,} of {number:,} {kind} were kept")
    return replace(take(trace, np.flatnonzero(kept[groups])), survey=survey)


def _groups(trace: Trace) -> tuple[Int64s, str]:
    """int64[n], dense: what belongs together, and what it is called."""
    known = trace.session >= 0
    if known.any():
        alone = int(trace.session.max()) + 1 + np.cumsum(~known)
        return _dense(np.where(known, trace.session, alone)), "sessions"
    if trace.blocks is not None:
        # The first block is often a system prompt that everybody shares; the second tells conversations apart.
        starts, ends = trace.blocks.offsets[:-1], trace.blocks.offsets[1:]
        place = np.minimum(starts + 1, ends - 1)
        first = np.where(ends > starts, trace.blocks.ids[np.maximum(place, 0)], -1 - np.arange(len(trace)))
        return _dense(first), "groups of prompts that begin alike"
    return np.arange(len(trace)), "requests, which nothing groups,"


def _dense(values: Int64s) -> Int64s:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def repeated(trace: Trace, times: int) -> Trace:
    """One after another, `times` times, each time with sessions and prompts of its own."""
    period_ns = _period_ns(trace)
    return _merged(trace, [(copy, trace.arrival_ns + copy * period_ns) for copy in range(times)])


def overlaid(trace: Trace, copies: int, seed: int = 0) -> Trace:
    """`copies` at once, each turned in time by a random part of the span, with sessions and prompts of its own.

    A session that lies across the place where a copy begins anew is cut in two there.
    """
    period_ns = _period_ns(trace)
    shifts_ns = generator(seed, "trace.overlay").integers(0, period_ns, copies)
    shifts_ns[0] = 0
    return _merged(
        trace, [(copy, (trace.arrival_ns + shift) % period_ns) for copy, shift in enumerate(shifts_ns.tolist())]
    )


def _period_ns(trace: Trace) -> int:
    """The span and one mean gap, so that the seam looks like any other place."""
    span_ns = int(trace.arrival_ns[-1]) if len(trace) else 0
    return span_ns + max(1, span_ns // max(1, len(trace) - 1))


def _merged(trace: Trace, copies: list[tuple[int, Int64s]]) -> Trace:
    """Copies with arrival times of their own, in one trace; ids and sessions in namespaces of their own."""
    n, number = len(trace), len(copies)
    arrival_ns = np.concatenate([each for _, each in copies])
    order = np.argsort(arrival_ns, kind="stable")
    place = np.empty(n * number, np.int64)
    place[order] = np.arange(n * number)
    base = np.repeat(np.arange(number), n)
    columns: dict[str, Any] = {
        name: np.tile(getattr(trace, name), number)[order] for name in _COLUMNS if name != "arrival_ns"
    }
    copy = base[order]
    columns["session"] = np.where(
        columns["session"] < 0, -1, columns["session"] + copy * (int(trace.session.max(initial=-1)) + 1)
    )
    parent = np.where(columns["parent"] < 0, -1, place[columns["parent"] + copy * n])
    cut = parent >= np.arange(n * number)  # the parent went round the seam and comes later
    columns["parent"] = np.where(cut, -1, parent)
    columns["edge"] = np.where(cut | (parent < 0), int(Edge.NONE), columns["edge"])
    columns["think_ns"] = np.where(cut, -1, columns["think_ns"])
    joins = np.concatenate([place[trace.joins + k * n] for k in range(number)]) if len(trace.joins) else trace.joins
    blocks = None
    if trace.blocks is not None:
        lengths = np.diff(trace.blocks.offsets)
        spaced = replace(
            trace.blocks,
            offsets=np.concatenate(([0], np.cumsum(np.tile(lengths, number)))),
            ids=np.concatenate(
                [trace.blocks.ids + k * (int(trace.blocks.ids.max(initial=-1)) + 1) for k in range(number)]
            ),
        )
        blocks = _blocks_of(spaced, order)
    survey = _told(trace, f"{number} copies, each with sessions and prompts of its own")
    return replace(
        trace,
        **columns,
        arrival_ns=arrival_ns[order],
        joins=joins[joins[:, 1] < joins[:, 0]] if len(joins) else joins,
        blocks=blocks,
        texts=[trace.texts[row] for row in (order % n).tolist()] if trace.texts is not None else None,
        survey=survey,
    )


def _told(trace: Trace, what: str) -> Survey:
    return replace(trace.survey, oddities=[*trace.survey.oddities, what])
