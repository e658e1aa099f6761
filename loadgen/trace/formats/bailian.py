"""Qwen-Bailian's usage traces: like Mooncake's, but seconds, chat and parent ids, and ids that name single blocks.

Each row is a whole prompt. Its ids are chained here: one id at two places is the same text, not the same prefix.
"""

from collections.abc import Iterator
from decimal import Decimal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loadgen.trace import chains
from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.idlists import Ids, id_lists
from loadgen.trace.jsonrows import json_rows
from loadgen.trace.reading import Head, Tokens, exact_ns
from loadgen.trace.table import UNKNOWN, Blocks, Edge, Int64s, Survey, Trace

BLOCK_TOKENS = 16
_SECONDS_DIGITS = 9


class Row(msgspec.Struct, gc=False):
    """A line of the file."""

    chat_id: int
    timestamp: Decimal
    input_length: Tokens
    output_length: Tokens
    hash_ids: msgspec.Raw
    parent_chat_id: int = -1


def matches(head: Head) -> bool:
    return {"chat_id", "timestamp", "input_length", "output_length", "hash_ids"} <= set(head.record)


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Every row is kept. Raises BadInputError with the line."""
    row, at_ns, inputs, outputs, chat, mother, lengths, ids = (
        np.concatenate(each, dtype=np.int64) for each in zip(*_columns(head), strict=True)
    )
    survey.rows_read = len(row)
    offsets = chains.offsets_of(lengths)
    blocks = Blocks(BLOCK_TOKENS, offsets, chains.chain(offsets, ids, out=ids))
    if len(odd := chains.misfits(blocks, inputs)):
        survey.oddities.append(
            f"Rows with another number of blocks than their length wants: {len(odd):,}, the first in line "
            f"{row[odd[0]]:,}; padding, says the source."
        )
    parent = _parents(chat, mother)
    orphans = np.count_nonzero((parent < 0) & (mother >= 0))
    if orphans:
        survey.oddities.append(
            f"Rows that go on with a chat which is not in the file, and begin a session here: {orphans:,}."
        )
    edge = np.where(parent >= 0, Edge.AFTER_RESPONSE, Edge.NONE).astype(np.int64)
    draft = Draft(at_ns, row, inputs, outputs, session=_roots(parent), parent=parent, edge=edge, blocks=blocks)
    return assemble(draft, survey, choices)


def _columns(head: Head) -> Iterator[tuple[Ids, ...]]:
    for lines, rows in json_rows(head.path, Row):
        lengths, ids = id_lists(head.path, "hash_ids", [row.hash_ids for row in rows], lines)
        yield (
            np.array(lines, np.int64),
            exact_ns(head.path, [row.timestamp for row in rows], lines, _SECONDS_DIGITS),
            np.array([row.input_length for row in rows], np.int64),
            np.array([row.output_length for row in rows], np.int64),
            np.array([row.chat_id & (2**63 - 1) for row in rows], np.int64),
            np.array([-1 if row.parent_chat_id < 0 else row.parent_chat_id & (2**63 - 1) for row in rows], np.int64),
            lengths,
            ids,
        )


def _parents(chat: Int64s, mother: Int64s) -> Int64s:
    """The row of each parent; −1 where there is none, or it is the row itself."""
    found = pc.index_in(pa.array(mother), pa.array(chat)).fill_null(UNKNOWN)
    parent = np.asarray(found.to_numpy(zero_copy_only=False), np.int64)
    return np.where((mother >= 0) & (parent != np.arange(len(parent))), parent, UNKNOWN)


def _roots(parent: Int64s) -> Int64s:
    """The row that each conversation began with; each step doubles the way up, so a circle ends too."""
    up = np.where(parent >= 0, parent, np.arange(len(parent)))
    for _ in range(len(parent).bit_length() + 1):
        below, up = up, up[up]
        if np.array_equal(below, up):
            break
    return up
