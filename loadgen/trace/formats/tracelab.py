"""TraceLab: one line a round of a coding agent, with the cached prefix as a length and the times of its events.

There are no block ids, so chains are minted: a round shares its recorded prefix with the round before it in its
session, and everything else in it is new. The request starts at its last user message or tool result.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import numpy as np

from loadgen.trace import chains
from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.reading import Head, Tokens, json_rows, refuse
from loadgen.trace.table import Blocks, Int64s, Survey, Trace
from loadgen.trace.written import iso_ns, isos_ns

_SIZES = (16, 64, 256, 512, 2048)
_IDS_MAX = 20_000_000  # in all; a larger file gets larger blocks
_NEVER = -(2**62)
_INPUTS = ("user_message", "tool_result")


class Event(msgspec.Struct):
    """Something that happened in a round."""

    event_type: str
    timestamp: str


class Row(msgspec.Struct):
    """A line of the file."""

    session_id: str
    round_index: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    input_tokens_total: Tokens
    prefix_tokens: Tokens
    output_tokens: Tokens
    timing_events: list[Event]
    model: str = ""


def matches(head: Head) -> bool:
    return {"round_index", "prefix_tokens", "timing_events"} <= set(head.record)


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Every round is kept. Raises BadInputError with the line."""
    columns = _Columns()
    for lines, rows in json_rows(head.path, Row):
        columns.lines += lines
        start_ns, end_ns = _times(head, lines, rows)
        columns.start_ns.append(start_ns)
        columns.end_ns.append(end_ns)
        columns.tokens += [(row.input_tokens_total, row.prefix_tokens, row.output_tokens) for row in rows]
        columns.session += [row.session_id for row in rows]
        columns.model += [row.model for row in rows]
    survey.rows_read = len(columns.lines)
    inputs, prefix, outputs = np.array(columns.tokens, np.int64).reshape(-1, 3).T
    if (wrong := prefix > inputs).any():
        refuse(head.path, columns.lines[int(np.argmax(wrong))], "prefix_tokens is more than input_tokens_total")
    starts, ends = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (columns.start_ns, columns.end_ns))
    draft = Draft(
        at_ns=starts,
        row=np.array(columns.lines, np.int64),
        input_tokens=inputs,
        output_tokens=outputs,
        absolute=True,
        in_order=False,
        session=columns.session,
        model=columns.model,
        duration_ns=ends - starts,
        blocks=_minted(columns.session, starts, inputs, prefix, survey),
    )
    return assemble(draft, survey, choices)


@dataclass(slots=True)
class _Columns:
    lines: list[int] = field(default_factory=list)
    start_ns: list[Int64s] = field(default_factory=list)
    end_ns: list[Int64s] = field(default_factory=list)
    tokens: list[tuple[int, int, int]] = field(default_factory=list)  # prompt, prefix, answer
    session: list[str] = field(default_factory=list)
    model: list[str] = field(default_factory=list)


def _times(head: Head, lines: Sequence[int], rows: list[Row]) -> tuple[Int64s, Int64s]:
    """(start, end) of each round in ns: its last input, or its first event where it has none; its last event."""
    events = [event for row in rows for event in row.timing_events]
    count = np.array([len(row.timing_events) for row in rows], np.int64)
    if len(rows) and not count.all():
        refuse(head.path, lines[int(np.argmin(count))], "a round without timing_events: nothing says when it was")
    found = isos_ns([event.timestamp for event in events])
    if found is None:
        found = [
            _one(head, line, event.timestamp)
            for line, row in zip(lines, rows, strict=True)
            for event in row.timing_events
        ]
    all_ns = np.array(found, np.int64)
    if not len(all_ns):
        return all_ns, all_ns
    begin = chains.offsets_of(count)[:-1]
    asked = np.array([event.event_type in _INPUTS for event in events], np.bool_)
    last_input = np.maximum.reduceat(np.where(asked, all_ns, _NEVER), begin)
    start = np.where(last_input > _NEVER, last_input, np.minimum.reduceat(all_ns, begin))
    return start, np.maximum.reduceat(all_ns, begin)


def _one(head: Head, line: int, text: str) -> int:
    moment = iso_ns(text)
    if moment is None or abs(moment) > -_NEVER:
        refuse(head.path, line, f"'{text[:40]}' is no time")
    return moment


def _minted(session: list[str], at_ns: Int64s, inputs: Int64s, prefix: Int64s, survey: Survey) -> Blocks:
    """Chains from prefix lengths, session by session in the order of arrival."""
    size = next((size for size in _SIZES if int(inputs.sum()) // size <= _IDS_MAX), _SIZES[-1])
    lengths, cached = inputs // size, (prefix // size).tolist()
    offsets = chains.offsets_of(lengths)
    ids, places, sizes = np.empty(offsets[-1], np.int64), offsets.tolist(), lengths.tolist()
    before: dict[str, int] = {}  # the row before, of each session
    known = unseen = 0
    for k in np.argsort(at_ns, kind="stable").tolist():
        start, length, shared = places[k], sizes[k], 0
        above = before.get(session[k], k)
        if sizes[above] and above != k:
            shared = min(cached[k], sizes[above], length)
            ids[start : start + shared] = ids[places[above] : places[above] + shared]
        else:
            unseen += int(prefix[k])
        ids[start + shared : start + length] = np.arange(known, known + length - shared)
        known += length - shared
        before[session[k]] = k
    survey.oddities.append(f"Blocks of {size} tokens were minted from the recorded prefix lengths.")
    if unseen:
        survey.oddities.append(
            f"{unseen:,} tokens were cached when their session began; from where is not said, so they are new here."
        )
    return Blocks(size, offsets, chains.dense(ids), partial_last=False)
