"""TraceLab: one line a round of a coding agent, with the cached prefix as a length and the times of its events.

There are no block ids, so chains are minted: a round shares its recorded prefix with the round before it in its
session, and everything else in it is new. The request starts at its last user message or tool result.
"""

from typing import Annotated

import msgspec
import numpy as np

from loadgen.trace import chains
from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.reading import Head, Tokens, json_rows, refuse
from loadgen.trace.table import Blocks, Int64s, Survey, Trace
from loadgen.trace.written import iso_ns

_SIZES = (16, 64, 256, 512, 2048)
_IDS_MAX = 20_000_000  # in all; a larger file gets larger blocks
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
    at_ns: list[int] = []
    end_ns: list[int] = []
    lines: list[int] = []
    rows: list[Row] = []
    for places, some in json_rows(head.path, Row):
        for line, row in zip(places, some, strict=True):
            start, end = _times(head, line, row)
            at_ns.append(start)
            end_ns.append(end)
        lines += places
        rows += some
    survey.rows_read = len(rows)
    inputs = np.array([row.input_tokens_total for row in rows], np.int64)
    prefix = np.array([row.prefix_tokens for row in rows], np.int64)
    if (wrong := prefix > inputs).any():
        refuse(head.path, lines[int(np.argmax(wrong))], "prefix_tokens is more than input_tokens_total")
    starts = np.array(at_ns, np.int64)
    draft = Draft(
        at_ns=starts,
        row=np.array(lines, np.int64),
        input_tokens=inputs,
        output_tokens=np.array([row.output_tokens for row in rows], np.int64),
        absolute=True,
        in_order=False,
        session=[row.session_id for row in rows],
        model=[row.model for row in rows],
        duration_ns=np.array(end_ns, np.int64) - starts,
        blocks=_minted(rows, starts, inputs, prefix, survey),
    )
    return assemble(draft, survey, choices)


def _times(head: Head, line: int, row: Row) -> tuple[int, int]:
    """(start, end) of a round in ns: its last input, its last event."""
    inputs, all_ns = [], []
    for event in row.timing_events:
        moment = iso_ns(event.timestamp)
        if moment is None:
            refuse(head.path, line, f"'{event.timestamp[:40]}' is no time")
        all_ns.append(moment)
        if event.event_type in _INPUTS:
            inputs.append(moment)
    if not all_ns:
        refuse(head.path, line, "a round without timing_events: nothing says when it was")
    start = max(inputs) if inputs else min(all_ns)
    return start, max(start, *all_ns)


def _minted(rows: list[Row], at_ns: Int64s, inputs: Int64s, prefix: Int64s, survey: Survey) -> Blocks:
    """Chains from prefix lengths, session by session in the order of arrival."""
    size = next((size for size in _SIZES if int(inputs.sum()) // size <= _IDS_MAX), _SIZES[-1])
    chain_of: dict[str, Int64s] = {}
    made: list[Int64s] = [np.zeros(0, np.int64)] * len(rows)
    known = unseen = 0
    for k in np.argsort(at_ns, kind="stable").tolist():
        before = chain_of.get(rows[k].session_id, made[k][:0])
        length = int(inputs[k]) // size
        shared = min(int(prefix[k]) // size, len(before), length)
        unseen += int(prefix[k]) - shared * size if not len(before) else 0
        fresh = length - shared
        chain_of[rows[k].session_id] = made[k] = np.concatenate([before[:shared], np.arange(known, known + fresh)])
        known += fresh
    survey.oddities.append(f"Blocks of {size} tokens were minted from the recorded prefix lengths.")
    if unseen:
        survey.oddities.append(
            f"{unseen:,} tokens were cached when their session began; from where is not said, so they are new here."
        )
    offsets = chains.offsets_of(np.array([len(each) for each in made], np.int64))
    ids = np.concatenate(made) if made else np.zeros(0, np.int64)
    return Blocks(size, offsets, chains.dense(ids), partial_last=False)
