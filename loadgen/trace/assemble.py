"""From columns as they stand in a file to a Trace: the one place where rows are put in order, and told about.

Order, epochs and links are settled here for every format alike. Nothing is filled in; what is moved or cut is said in
the survey, and a clock that starts again is asked about, never sorted away.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loadgen.errors import BadInputError
from loadgen.trace import chains
from loadgen.trace.table import UNKNOWN, Blocks, Edge, Int64s, Survey, Trace, column
from loadgen.units import format_duration

_NS_MAX = 2**62


@dataclass(frozen=True, slots=True)
class Choices:
    """What a reader may have to be told because the file does not say it.

    epoch            which recording (from 1) of a file whose clock starts again; 0: all, one after the other; None: ask
    seed, start_ns, duration_ns    of a format that is a generator (ServeGen)
    bytes_per_token  turns the bytes of an access log into input tokens, roughly
    """

    epoch: int | None = None
    seed: int = 0
    start_ns: int = 0
    duration_ns: int | None = None
    bytes_per_token: float | None = None


@dataclass(slots=True)
class Draft:
    """n kept rows in the order of the file; what is None the source does not know.

    at_ns          of any origin; `absolute`: since 1970
    in_order       the file claims to be in order of arrival, so a step back is odd
    session, model names or numbers; None among the names is unknown
    parent         position of the parent in this draft, −1 none
    """

    at_ns: Int64s
    row: Int64s
    input_tokens: Int64s
    output_tokens: Int64s
    absolute: bool = False
    zone: str = "Z"  # of absolute times; empty where the source names none
    in_order: bool = True
    session: Any = None
    model: Any = None
    parent: Int64s | None = None
    edge: Int64s | None = None
    think_ns: Int64s | None = None
    duration_ns: Int64s | None = None
    status: Int64s | None = None
    joins: Sequence[tuple[int, int]] = field(default_factory=list)
    blocks: Blocks | None = None
    texts: Sequence[str | None] | None = None


def assemble(draft: Draft, survey: Survey, choices: Choices) -> Trace:
    """The trace of a draft. Raises BadInputError: no rows, a time out of range, a clock that starts again."""
    n = len(draft.at_ns)
    if not n:
        dropped = ", ".join(f"{count:,} × {reason}" for reason, count in survey.dropped.items())
        raise BadInputError(
            f"{survey.path} ({survey.format}) holds no request{f': dropped {dropped}' if dropped else ''}.",
            "Is it the right file, and whole?",
        )
    if np.any(np.abs(draft.at_ns) >= _NS_MAX):
        place = int(np.argmax(np.abs(draft.at_ns) >= _NS_MAX))
        raise BadInputError(f"{survey.path}, line {draft.row[place]:,}: the time is out of range.", "Mend the file.")
    at_ns, order = _in_order(draft, survey, choices)
    arrival_ns = at_ns[order] - at_ns[order[0]]
    gone = np.full(n, UNKNOWN, np.int64)  # where a row of the draft has gone to
    gone[order] = np.arange(len(order))
    session, _ = _numbers(draft.session, order)
    model, models = _numbers(draft.model, order)
    duration_ns = _kept(draft.duration_ns, order)
    if draft.parent is not None:
        parent, edge, think_ns = _moved_links(draft, order, gone, survey)
    else:
        parent, edge, think_ns = _links(arrival_ns, duration_ns, session)
    moved = [(int(gone[a]), int(gone[b])) for a, b in draft.joins if gone[a] >= 0 and gone[b] >= 0]
    joins = np.array([pair for pair in moved if pair[0] > pair[1]], np.int64).reshape(-1, 2)
    if len(joins) < len(moved):
        survey.oddities.append(
            f"Rows that wait for the answer of a later row, and do not now: {len(moved) - len(joins):,}."
        )
    texts = draft.texts
    if texts is not None and not np.array_equal(order, np.arange(n)):
        texts = [texts[k] for k in order.tolist()]
    return Trace(
        arrival_ns=arrival_ns,
        input_tokens=draft.input_tokens[order],
        output_tokens=draft.output_tokens[order],
        session=session,
        parent=parent,
        edge=edge,
        think_ns=think_ns,
        duration_ns=duration_ns,
        status=draft.status[order] if draft.status is not None else column(len(order), 200),
        model=np.maximum(model, 0),
        row=draft.row[order],
        survey=survey,
        models=tuple(models.to_pylist()) or ("",),
        joins=joins,
        blocks=chains.take(draft.blocks, order) if draft.blocks is not None else None,
        texts=texts,
        zero=_iso(int(at_ns[order[0]]), draft.zone) if draft.absolute else "",
    )


def _in_order(draft: Draft, survey: Survey, choices: Choices) -> tuple[Int64s, Int64s]:
    """(times, order): times of later epochs moved behind where several are joined; the order is that of arrival."""
    at_ns = draft.at_ns
    steps = np.diff(at_ns)
    back = np.flatnonzero(steps < 0) + 1
    order = np.arange(len(at_ns))
    if not len(back):
        if choices.epoch is not None and choices.epoch > 1:
            raise BadInputError(f"{survey.path} has one epoch, not {choices.epoch}.", "Leave --epoch out.")
        return at_ns, order
    if not draft.in_order:
        survey.oddities.append(
            f"Put in order of arrival, which the file's is not in this format; steps back: {len(back):,}."
        )
        return at_ns, np.argsort(at_ns, kind="stable")
    span = int(at_ns.max() - at_ns.min())
    resets = back[-steps[back - 1] > span / 2]
    small = np.setdiff1d(back, resets)
    if len(small):
        worst = small[np.argmin(steps[small - 1])]
        survey.oddities.append(
            f"Steps back in time: {len(small):,}, the largest {format_duration(int(-steps[worst - 1]))} at line "
            f"{draft.row[worst]:,}; put in order of arrival."
        )
    if not len(resets):
        return at_ns, np.argsort(at_ns, kind="stable")
    return _epochs(draft, survey, choices, resets)


def _epochs(draft: Draft, survey: Survey, choices: Choices, resets: Int64s) -> tuple[Int64s, Int64s]:
    at_ns, bounds = draft.at_ns.copy(), [0, *resets.tolist(), len(draft.at_ns)]
    lines = ", ".join(f"{draft.row[k]:,}" for k in resets[:5])
    told = f"The clock starts again at line {lines}{' …' if len(resets) > 5 else ''}: {len(resets) + 1} epochs"
    if choices.epoch is None:
        raise BadInputError(
            f"{survey.path}: {told[0].lower()}{told[1:]}.",
            "Choose: loadgen trace convert FILE --to loadgen --out OUT --epoch 1, or 2 …; 0 puts one after the other.",
        )
    if not 0 <= choices.epoch <= len(resets) + 1:
        raise BadInputError(f"{survey.path} has {len(resets) + 1} epochs, not {choices.epoch}.", f"{told}.")
    if choices.epoch:
        low, high = bounds[choices.epoch - 1], bounds[choices.epoch]
        survey.oddities.append(f"{told}; this is epoch {choices.epoch}.")
        survey.dropped["of another epoch"] = len(at_ns) - (high - low)
        return at_ns, low + np.argsort(at_ns[low:high], kind="stable")
    survey.oddities.append(f"{told}, put one after the other.")
    end = int(at_ns[: bounds[1]].max())
    for low, high in pairwise(bounds[1:]):
        at_ns[low:high] += end - at_ns[low:high].min()
        end = int(at_ns[low:high].max())
    return at_ns, np.argsort(at_ns, kind="stable")


def _kept(values: Int64s | None, order: Int64s) -> Int64s:
    return column(len(order)) if values is None else values[order]


def _numbers(names: Any, order: Int64s) -> tuple[Int64s, Any]:
    """(dense numbers in the order of first sight, the names in Arrow); −1 where a name is None, negative or empty."""
    if names is None:
        return column(len(order)), pa.array([], pa.string())
    array = names if isinstance(names, (pa.Array, pa.ChunkedArray)) else pa.array(names)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    encoded = array.take(pa.array(order)).dictionary_encode()
    found = np.asarray(encoded.indices.fill_null(UNKNOWN).to_numpy(zero_copy_only=False), np.int64)
    values = encoded.dictionary
    nothing = UNKNOWN if pa.types.is_integer(values.type) else ""
    known = pc.not_equal(values, nothing).fill_null(False).to_numpy(zero_copy_only=False)
    number = np.append(np.where(known, np.cumsum(known) - 1, UNKNOWN), UNKNOWN)  # the last is for what was null
    return number[found], values.filter(pa.array(known))


def _links(arrival_ns: Int64s, duration_ns: Int64s, session: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """Parents within sessions: each row hangs on the one before it. It waits for that answer unless it is known to
    have come before the answer's end."""
    n = len(arrival_ns)
    parent, edge, think_ns = column(n), column(n, Edge.NONE), column(n)
    order = np.argsort(session, kind="stable")
    before, after = order[:-1], order[1:]
    same = (session[before] == session[after]) & (session[after] >= 0)
    before, after = before[same], after[same]
    end_ns = arrival_ns[before] + np.maximum(duration_ns[before], 0)
    overlap = arrival_ns[after] < end_ns
    parent[after] = before
    edge[after] = np.where(overlap, Edge.AFTER_START, Edge.AFTER_RESPONSE)
    known = (duration_ns[before] >= 0) & ~overlap
    think_ns[after[known]] = (arrival_ns[after] - end_ns)[known]
    return parent, edge, think_ns


def _moved_links(draft: Draft, order: Int64s, gone: Int64s, survey: Survey) -> tuple[Int64s, Int64s, Int64s]:
    """Parents as the source has them, at the rows' new places; a parent that arrives later is none."""
    assert draft.parent is not None
    old = draft.parent[order]
    parent = np.where(old >= 0, gone[np.maximum(old, 0)], UNKNOWN)
    late = parent >= np.arange(len(order))
    if late.any():
        first = draft.row[order[np.argmax(late)]]
        survey.oddities.append(
            f"Rows that name a parent which arrives later: {late.sum():,}, the first in line {first:,}."
        )
        parent = np.where(late, UNKNOWN, parent)
    edge = _kept(draft.edge, order)
    edge = np.where(parent < 0, Edge.NONE, np.where(edge > 0, edge, Edge.AFTER_RESPONSE)).astype(np.int64)
    return parent, edge, np.where(parent >= 0, _kept(draft.think_ns, order), UNKNOWN)


def _iso(ns: int, zone: str) -> str:
    """ns since 1970 as ISO 8601, to the ns where there are any."""
    seconds, rest = divmod(ns, 1_000_000_000)
    text = str(np.datetime64(seconds, "s"))
    return (f"{text}.{rest:09d}".rstrip("0") if rest else text) + zone
