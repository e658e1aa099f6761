"""Mooncake's traces, and what is written like them (vLLM's timed_trace): ms, lengths, chained ids of prompt blocks.

A begun block has an id (ceil). The published ones have 512 tokens a block; another size is found from the lengths, and
ids that turn out to name single blocks are chained; both are said.
"""

from collections.abc import Iterator
from decimal import Decimal

import msgspec
import numpy as np

from loadgen.trace import chains
from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.idlists import Ids, id_lists
from loadgen.trace.jsonrows import json_rows
from loadgen.trace.reading import Head, Tokens, exact_ns, refuse
from loadgen.trace.table import Blocks, Int64s, Survey, Trace

_SIZES = (512, 16, 32, 64, 128, 256, 1024, 2048)
MS_DIGITS = 6


class Row(msgspec.Struct, gc=False):
    """A line of the file."""

    timestamp: Decimal
    input_length: Tokens
    output_length: Tokens
    hash_ids: msgspec.Raw


def matches(head: Head) -> bool:
    found = head.record
    return {"timestamp", "input_length", "output_length", "hash_ids"} <= set(found) and "chat_id" not in found


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Every row is kept. Raises BadInputError with the line."""
    survey.format = "Mooncake"
    row, at_ns, input_tokens, output_tokens, lengths, ids = (
        np.concatenate(each, dtype=np.int64) for each in zip(*_columns(head), strict=True)
    )
    survey.rows_read = len(row)
    size = _size_of(head, row, input_tokens, lengths, survey)
    offsets, ids = chains.offsets_of(lengths), chains.dense(ids)
    if (broken := chains.broken_chain(offsets, ids)) is not None:
        line = row[np.searchsorted(offsets, broken, "right") - 1]
        survey.oddities.append(
            f"The block ids are not chained (line {line:,} is the first to show it): they were taken for the contents "
            "of single blocks, and chained."
        )
        ids = chains.chain(offsets, ids)
    draft = Draft(at_ns, row, input_tokens, output_tokens, blocks=Blocks(size, offsets, ids))
    return assemble(draft, survey, choices)


def _columns(head: Head) -> Iterator[tuple[Ids, ...]]:
    for lines, rows in json_rows(head.path, Row):
        lengths, ids = id_lists(head.path, "hash_ids", [row.hash_ids for row in rows], lines)
        yield (
            np.array(lines, np.int64),
            exact_ns(head.path, [row.timestamp for row in rows], lines, MS_DIGITS),
            np.array([row.input_length for row in rows], np.int64),
            np.array([row.output_length for row in rows], np.int64),
            lengths,
            ids,
        )


def _size_of(head: Head, row: Int64s, input_tokens: Int64s, lengths: Int64s, survey: Survey) -> int:
    """The size of a block that explains the number of ids of every row that has some."""
    filled = lengths > 0
    for size in _SIZES:
        if np.array_equal(-(-input_tokens[filled] // size), lengths[filled]):
            if size != _SIZES[0]:
                survey.oddities.append(f"Blocks of {size} tokens, not Mooncake's 512: found from the lengths.")
            if not filled.all():
                survey.oddities.append(f"Rows without block ids: {np.count_nonzero(~filled):,}.")
            return size
    place = int(np.argmax(filled & (-(-input_tokens // _SIZES[0]) != lengths)))
    return refuse(
        head.path,
        int(row[place]),
        f"{lengths[place]:,} hash_ids do not fit {input_tokens[place]:,} input tokens in blocks of 512",
        "No other size of a block explains every row either.",
    )
