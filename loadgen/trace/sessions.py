"""From recorded sessions to who waits for whom: the three ways to replay a conversation.

strict   every request at its recorded time, even if the turn before is still running
causal   at its recorded time, but never before the turn before has ended
closed   as long after the end of the turn before as the recorded user thought; the recorded server's own time is not
         paid a second time. Where the trace does not know how long that was: causal.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from loadgen.trace.table import Edge, Int64s, Trace

Mode = Literal["strict", "causal", "closed"]
MODES: tuple[Mode, ...] = ("strict", "causal", "closed")


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """The columns of a plan: `row` int64[n] of the trace for each request, then as in Plan; `guessed`: requests whose
    think time the trace does not tell."""

    row: Int64s
    due_ns: Int64s
    after: Int64s
    think_ns: Int64s
    joins: tuple[tuple[int, int], ...]
    guessed: int = 0


def course(trace: Trace, mode: Mode) -> Course:
    """Who goes when, and after whom. In a closed course `due_ns` is the earliest moment that is possible at all: the
    think times alone, as if every answer took no time."""
    n = len(trace)
    due_ns, think_ns = trace.arrival_ns.copy(), np.zeros(n, np.int64)
    after: Int64s = np.where(trace.edge == Edge.AFTER_RESPONSE, trace.parent, -1)
    joins, guessed = trace.joins, 0
    if mode == "strict":
        after, joins = np.full(n, -1, np.int64), np.zeros((0, 2), np.int64)
    elif mode == "closed":
        thinks = recorded_think_ns(trace)
        guessed = int(((after >= 0) & (thinks < 0)).sum())
        for row in np.flatnonzero(trace.parent >= 0).tolist():
            parent = int(trace.parent[row])
            if after[row] < 0:  # a sub-agent: as long after its parent's start as recorded
                due_ns[row] = due_ns[parent] + trace.arrival_ns[row] - trace.arrival_ns[parent]
            elif thinks[row] >= 0:
                due_ns[row], think_ns[row] = due_ns[parent] + thinks[row], thinks[row]
        for row, followed in joins.tolist():  # an agent cannot go on before its sub-agents could have begun
            due_ns[row] = max(due_ns[row], due_ns[followed])
    order = np.argsort(due_ns, kind="stable")
    place = np.empty(n + 1, np.int64)
    place[order], place[n] = np.arange(n), -1
    return Course(
        row=order,
        due_ns=due_ns[order],
        after=place[after[order]],
        think_ns=think_ns[order],
        joins=tuple((int(place[row]), int(place[followed])) for row, followed in joins.tolist()),
        guessed=guessed,
    )


def recorded_think_ns(trace: Trace) -> Int64s:
    """int64[n]: from the parent's recorded end to this arrival, at least 0; −1 where the trace does not tell."""
    parent = np.maximum(trace.parent, 0)
    told = trace.duration_ns[parent] >= 0
    derived = np.maximum(trace.arrival_ns - trace.arrival_ns[parent] - trace.duration_ns[parent], 0)
    thinks = np.where(trace.think_ns >= 0, trace.think_ns, np.where(told, derived, -1))
    return np.where(trace.parent >= 0, thinks, -1)
