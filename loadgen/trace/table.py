"""The trace: what arrived, when, how long, in which session, sharing which prefix. Every loader makes one, everything
else (inspect, convert, replay, capture) takes one.

Nothing is repaired here: rows stand in the order of their arrival times; what a loader had to drop, or found odd, is in
`survey` with numbers. Unknown is −1, never 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
UNKNOWN = -1


class Edge(IntEnum):
    """How a request hangs on its parent row."""

    NONE = 0
    AFTER_RESPONSE = 1  # the next turn: not before the parent's answer has ended
    AFTER_START = 2  # a sub-agent: with or after the parent's start, not waiting for its answer


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Prefix blocks as chained ids: equal ids mean equal prompts up to and including that block.

    Row i has ids[offsets[i]:offsets[i + 1]]. Each is `size` tokens long, but for the last one of a row where
    `partial_last` (Mooncake counts a begun block, Weka leaves it out). Where a format's ids name the content of a
    single block, its loader has chained them.
    """

    size: int
    offsets: Int64s  # int64[n + 1]
    ids: Int64s  # int64[offsets[n]], dense: 0 … distinct − 1
    partial_last: bool = True

    def of(self, row: int) -> Int64s:
        return self.ids[self.offsets[row] : self.offsets[row + 1]]


@dataclass(slots=True)
class Survey:
    """What reading found. `dropped`: reason → rows; `oddities`: sentences with numbers; `sha256` of the file."""

    format: str
    path: str
    sha256: str = ""
    rows_read: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    oddities: list[str] = field(default_factory=list)

    def drop(self, reason: str, rows: int | np.integer[Any] = 1) -> None:
        """Some rows are no requests to replay; none of them is nothing to tell."""
        if rows:
            self.dropped[reason] = self.dropped.get(reason, 0) + int(rows)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """n requests. All columns int64[n]; times in ns from the first arrival.

    arrival_ns     when it arrived, ascending; ties keep the order of the file
    input_tokens   the whole prompt, cached tokens included
    output_tokens  of the answer; −1 unknown, 0 as recorded (a failure, or nothing was generated)
    session        dense number of the conversation, −1 where the source knows none
    parent, edge   row that it hangs on (−1: none) and how
    joins          int64[k, 2]: (row, row whose answer it also waits for), sub-agents that an agent waits for
    think_ns       between the parent's end and this arrival, as recorded; −1 unknown
    duration_ns    how long the recorded server took, −1 unknown: never to be paid twice
    status         HTTP status as recorded, 200 where the source has only what went well
    model          index into `models`
    row            line or record number in the source, from 1, for messages
    texts          recorded prompts, or None
    """

    arrival_ns: Int64s
    input_tokens: Int64s
    output_tokens: Int64s
    session: Int64s
    parent: Int64s
    edge: Int64s
    think_ns: Int64s
    duration_ns: Int64s
    status: Int64s
    model: Int64s
    row: Int64s
    survey: Survey
    models: tuple[str, ...] = ("",)
    joins: Int64s = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    blocks: Blocks | None = None
    texts: Sequence[str | None] | None = None
    zero: str = ""  # wall clock of arrival 0 in ISO 8601 as far as the source tells

    def __len__(self) -> int:
        return len(self.arrival_ns)


def column(n: int, value: int = UNKNOWN) -> Int64s:
    """A column that says nothing, for loaders whose source does not know it."""
    return np.full(n, value, np.int64)
