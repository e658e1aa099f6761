"""TraceLab: one line a round of a coding agent, with the cached prefix as a length and the times of its events.

There are no block ids, so chains are minted: a round shares its recorded prefix with the round before it in its
session, and everything else in it is new. The request starts at its last user message or tool result.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np

from loadgen.trace import chains
from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.gather import together
from loadgen.trace.jsonrows import json_rows
from loadgen.trace.reading import Head, Tokens, refuse
from loadgen.trace.table import Blocks, Int64s, Survey, Trace, column
from loadgen.trace.written import iso_ns, isos_ns, names

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
    pieces, prefixes = [], [np.zeros(0, np.int64)]
    for lines, rows in json_rows(head.path, Row):
        piece, prefix = _piece(head, lines, rows)
        pieces.append(piece)
        prefixes.append(prefix)
    draft = together(pieces)
    draft.blocks = _minted(draft, np.concatenate(prefixes), survey)
    survey.rows_read = len(draft.row)
    return assemble(draft, survey, choices)


def _piece(head: Head, lines: Sequence[int], rows: list[Row]) -> tuple[Draft, Int64s]:
    """(the rounds, the length of each one's cached prefix)."""
    start_ns, end_ns = _times(head, lines, rows)
    inputs = np.array([row.input_tokens_total for row in rows], np.int64)
    prefix = np.array([row.prefix_tokens for row in rows], np.int64)
    if (wrong := prefix > inputs).any():
        refuse(head.path, lines[int(np.argmax(wrong))], "prefix_tokens is more than input_tokens_total")
    return (
        Draft(
            at_ns=start_ns,
            row=np.array(lines, np.int64),
            input_tokens=inputs,
            output_tokens=np.array([row.output_tokens for row in rows], np.int64),
            session=names([row.session_id for row in rows]),
            model=names([row.model for row in rows]),
            duration_ns=end_ns - start_ns,
        ),
        prefix,
    )


def _times(head: Head, lines: Sequence[int], rows: list[Row]) -> tuple[Int64s, Int64s]:
    """(start, end) of each round in ns: its last input, or its first event where it has none; its last event."""
    events = [event for row in rows for event in row.timing_events]
    count = np.array([len(row.timing_events) for row in rows], np.int64)
    if not count.all():
        refuse(head.path, lines[int(np.argmin(count))], "a round without timing_events: nothing says when it was")
    all_ns = isos_ns([event.timestamp for event in events])
    if all_ns is None:
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


def _minted(draft: Draft, prefix: Int64s, survey: Survey) -> Blocks:
    """Chains from prefix lengths, session by session in the order of arrival."""
    inputs = draft.input_tokens
    size = next((size for size in _SIZES if int(inputs.sum()) // size <= _IDS_MAX), _SIZES[-1])
    lengths = inputs // size
    offsets = chains.offsets_of(lengths)
    above = _rounds_before(draft)
    goes_on = (above >= 0) & (lengths[above] > 0)
    shared = np.where(goes_on, np.minimum(np.minimum(prefix // size, lengths[above]), lengths), 0)
    new = np.ones(offsets[-1], np.bool_)
    new[chains.spread(offsets[:-1], shared)] = False
    ids = np.cumsum(new) - 1
    later = np.argsort(draft.at_ns, kind="stable")
    later = later[shared[later] > 0]
    copies = (offsets[later].tolist(), offsets[above[later]].tolist(), shared[later].tolist())
    for start, source, n in zip(*copies, strict=True):
        ids[start : start + n] = ids[source : source + n]  # in order of arrival: the round before has its ids by now
    survey.oddities.append(f"Blocks of {size} tokens were minted from the recorded prefix lengths.")
    if unseen := int(prefix[~goes_on].sum()):
        survey.oddities.append(
            f"{unseen:,} tokens were cached when their session began; from where is not said, so they are new here."
        )
    return Blocks(size, offsets, chains.dense(ids), partial_last=False)


def _rounds_before(draft: Draft) -> Int64s:
    """The row of the round before each in its session, by arrival; −1 for the first."""
    session = draft.session.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    order = np.lexsort((draft.at_ns, session))
    above = column(len(order))
    same = session[order[1:]] == session[order[:-1]]
    above[order[1:][same]] = order[:-1][same]
    return above
