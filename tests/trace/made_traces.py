"""Small traces with known truth."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from loadgen.trace.table import Blocks, Edge, Survey, Trace, column

S = 1_000_000_000


def trace(arrival_s: list[float], **given: Any) -> Trace:
    """A trace with these arrivals; columns by name, prompts of 100 tokens and answers of 10 unless given."""
    n = len(arrival_s)
    columns: dict[str, Any] = {
        "arrival_ns": np.array([round(each * S) for each in arrival_s], np.int64),
        "input_tokens": column(n, 100),
        "output_tokens": column(n, 10),
        "session": column(n),
        "parent": column(n),
        "edge": column(n, Edge.NONE),
        "think_ns": column(n),
        "duration_ns": column(n),
        "status": column(n, 200),
        "model": column(n, 0),
        "row": np.arange(1, n + 1),
        "survey": Survey("made", "made"),
    }
    for name, value in given.items():
        columns[name] = (
            np.array(value, np.int64) if isinstance(value, list) and name not in ("texts", "blocks") else value
        )
    if "blocks" in given:
        columns["blocks"] = blocks(given["blocks"], given.pop("size", 16))
    columns.pop("size", None)
    return Trace(**columns)


def blocks(rows: list[list[int]], size: int) -> Blocks:
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    return Blocks(size, offsets, np.array([each for row in rows for each in row], np.int64))


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Up to 30 requests in up to 5 sessions: turns, sub-agents and joins, shared blocks."""
    n = draw(st.integers(1, 30))
    arrival_s = np.cumsum(draw(st.lists(st.integers(0, 20), min_size=n, max_size=n))).astype(float)
    arrival_s -= arrival_s[0]
    session = draw(st.lists(st.integers(-1, 4), min_size=n, max_size=n))
    parent, edge, last = [], [], {}
    for row, name in enumerate(session):
        known = last.get(name, -1) if name >= 0 else -1
        parent.append(known)
        edge.append(Edge.NONE if known < 0 else draw(st.sampled_from((Edge.AFTER_RESPONSE, Edge.AFTER_START))))
        last[name] = row
    duration = draw(st.lists(st.sampled_from((-1, S, 5 * S)), min_size=n, max_size=n))
    rows = [[0, *([1 + name] if name >= 0 else [100 + row])] for row, name in enumerate(session)]
    return trace(arrival_s.tolist(), session=session, parent=parent, edge=edge, duration_ns=duration, blocks=rows)
