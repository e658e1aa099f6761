"""Our own traces: JSONL as `loadgen capture` and `loadgen trace convert` write it, or Parquet of the same columns.

The first line is the head, every other one a request; what is null or absent is unknown. A capture writes in the order
of completion and may have been cut: a torn last line is passed over and said.
"""

import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from loadgen.errors import BadInputError
from loadgen.trace import chains
from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.jsonrows import json_rows
from loadgen.trace.messages import prompt_text
from loadgen.trace.reading import TOKENS_MAX, Head, open_bytes, refuse
from loadgen.trace.table import UNKNOWN, Blocks, Edge, Int64s, Survey, Trace, column
from loadgen.trace.written import iso_ns

VERSION = 1
CAPTURED, MANIFEST = "trace.jsonl", "capture.json"  # in the folder of a capture
KEY = b"loadgen_trace"  # of the head among the metadata of a Parquet file
EDGES = {"after_response": Edge.AFTER_RESPONSE, "after_start": Edge.AFTER_START}
_MAGIC = b"PAR1"
_NS_MAX, _ID_MAX = 2**62, 2**63 - 1

# column → (type, highest value of whole numbers): THE table of our format; parents are row numbers of the file, from 0
COLUMNS: dict[str, tuple[Any, int]] = {
    "arrival_ns": (pa.int64(), _NS_MAX),
    "duration_ns": (pa.int64(), _NS_MAX),
    "ttft_ns": (pa.int64(), _NS_MAX),
    "input_tokens": (pa.int64(), TOKENS_MAX),
    "output_tokens": (pa.int64(), TOKENS_MAX),
    "max_tokens": (pa.int64(), _ID_MAX),
    "status": (pa.int64(), 999),
    "stream": (pa.bool_(), 0),
    "model": (pa.string(), 0),
    "session": (pa.string(), 0),
    "blocks": (pa.list_(pa.int64()), _ID_MAX),
    "parent": (pa.int64(), _NS_MAX),
    "edge": (pa.string(), 0),
    "think_ns": (pa.int64(), _NS_MAX),
    "waits_for": (pa.list_(pa.int64()), _NS_MAX),
    "text": (pa.string(), 0),
}
_READ = [name for name in COLUMNS if name not in ("ttft_ns", "max_tokens", "stream")]


class About(msgspec.Struct):
    """The head."""

    loadgen_trace: int
    block_tokens: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 16
    partial_last: bool = True
    zero: str = ""


class Manifest(msgspec.Struct):
    """What a capture writes beside its trace."""

    clean: bool = True
    missed: dict[str, int] = {}


class Row(msgspec.Struct):
    """A line, as far as it is read; ranges are checked by column."""

    arrival_ns: int
    duration_ns: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    status: int | None = None
    model: str | None = None
    session: str | None = None
    blocks: list[int] | None = None
    parent: int | None = None
    edge: str | None = None
    think_ns: int | None = None
    waits_for: list[int] | None = None
    text: str | None = None
    request: dict[str, Any] | None = None


def matches(head: Head) -> bool:
    return "loadgen_trace" in head.record or head.data[:4] == _MAGIC or CAPTURED in head.names


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Every row is kept. Raises BadInputError with the line."""
    path = head.path / CAPTURED if head.names else head.path
    survey.format = "loadgen"
    torn: list[int] = []
    if head.data[:4] == _MAGIC:
        about, table, lines = _parquet(path)
    else:
        about, table, lines = _jsonl(path, torn)
    if path.name == CAPTURED:
        survey.oddities += _told_by_the_capture(path.with_name(MANIFEST))
    if torn:
        survey.oddities.append(f"The last line ({torn[0]:,}) is torn, as after a crash: passed over.")
        survey.dropped["torn last line"] = 1
    survey.rows_read = len(lines) + len(torn)
    return assemble(_draft(path, about, table, lines), survey, choices)


def _told_by_the_capture(path: Path) -> list[str]:
    """What a capture says about itself in the file beside its trace."""
    try:
        told = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return []
    sentences = [
        f"Requests that the capture served and missed: {count:,} ({why})." for why, count in told.missed.items()
    ]
    return (
        sentences if told.clean else [*sentences, "The capture did not end by itself: what came last may be missing."]
    )


def _about(path: Path, line: bytes) -> About:
    try:
        about = msgspec.json.decode(line, type=About)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        refuse(path, 1, f"the head is broken ({error})", "The first line says which trace this is: docs/traces.md.")
    if about.loadgen_trace != VERSION:
        refuse(path, 1, f"version {about.loadgen_trace} of the format; this loadgen reads {VERSION}", "Update loadgen.")
    return about


def _jsonl(path: Path, torn: list[int]) -> tuple[About, Any, Int64s]:
    with open_bytes(path) as file:
        about = _about(path, file.readline(1 << 16))
    kinds = pa.schema([(name, COLUMNS[name][0]) for name in _READ])
    tables, lines = [kinds.empty_table()], [np.zeros(0, np.int64)]
    for places, rows in json_rows(path, Row, first=2, torn=torn):
        for row in rows:
            if row.request is not None and row.text is None:
                row.text = prompt_text(row.request)
        columns = {name: [getattr(row, name) for row in rows] for name in _READ}
        try:
            tables.append(pa.table(columns, schema=kinds))
        except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError):
            for place, row in zip(places, rows, strict=True):  # one of them holds what no column takes
                try:
                    pa.table({name: [getattr(row, name)] for name in _READ}, schema=kinds)
                except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError):
                    refuse(path, place, "a number is too large, or a text is no Unicode")
        lines.append(np.array(places, np.int64))
    return about, pa.concat_tables(tables), np.concatenate(lines)


def _parquet(path: Path) -> tuple[About, Any, Int64s]:
    try:
        held = pq.read_schema(path)
        if KEY not in (held.metadata or {}):
            raise BadInputError(
                f"{path} is a Parquet file, and none of ours.", f"'{KEY.decode()}' is not in its metadata."
            )
        table = pq.read_table(path, columns=[name for name in _READ if name in held.names])
        for name in _READ:
            kind, n = COLUMNS[name][0], len(table)
            if name in table.column_names:
                place = table.column_names.index(name)
                table = table.set_column(place, name, table.column(name).cast(kind))
            else:
                table = table.append_column(name, pa.nulls(n, kind))
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise BadInputError(
            f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}.", "Is it whole?"
        ) from error
    return _about(path, held.metadata[KEY]), table, np.arange(1, len(table) + 1)


def _draft(path: Path, about: About, table: Any, lines: Int64s) -> Draft:
    if table.column("arrival_ns").null_count:
        refuse(path, int(lines[np.argmax(table.column("arrival_ns").is_null().to_numpy())]), "arrival_ns is missing")

    def whole(name: str) -> Int64s:
        found: Int64s = table.column(name).fill_null(UNKNOWN).to_numpy()
        wrong = (found < UNKNOWN) | (found > COLUMNS[name][1])
        if wrong.any():
            place = int(np.argmax(wrong))
            refuse(path, int(lines[place]), f"{name} {found[place]:,} is out of range")
        return found

    status, at_ns = whole("status"), whole("arrival_ns")
    zero_ns = iso_ns(about.zero)
    if absolute := zero_ns is not None and 0 <= zero_ns < _NS_MAX // 2 and int(at_ns.max(initial=0)) < _NS_MAX // 2:
        at_ns = at_ns + zero_ns
    linked = table.column("parent").null_count < len(table)
    texts = table.column("text")
    return Draft(
        at_ns=at_ns,
        row=lines,
        input_tokens=whole("input_tokens"),
        output_tokens=whole("output_tokens"),
        in_order=False,
        session=table.column("session"),
        model=table.column("model"),
        parent=_parents(path, whole("parent"), lines) if linked else None,
        edge=_edges(path, table.column("edge"), lines) if linked else None,
        think_ns=whole("think_ns"),
        duration_ns=whole("duration_ns"),
        status=np.where(status < 0, 200, status),
        joins=_joins(path, table.column("waits_for"), lines),
        blocks=_blocks(path, about, table.column("blocks"), lines),
        texts=texts.to_pylist() if texts.null_count < len(table) else None,
        absolute=absolute,
        zone="Z" if re.search(r"(Z|[+-]\d\d:?\d\d)$", about.zero) else "",
    )


def _parents(path: Path, parent: Int64s, lines: Int64s) -> Int64s:
    wrong = parent >= len(parent)
    if wrong.any():
        refuse(path, int(lines[np.argmax(wrong)]), f"parent {parent[np.argmax(wrong)]:,} is no row of the file")
    return parent


def _edges(path: Path, names: Any, lines: Int64s) -> Int64s:
    found = column(len(lines), Edge.NONE)
    for name, edge in EDGES.items():
        found[pc.equal(names, name).fill_null(False).to_numpy()] = edge
    wrong = (found == Edge.NONE) & names.is_valid().to_numpy()
    if wrong.any():
        place = int(np.argmax(wrong))
        refuse(path, int(lines[place]), f"edge '{str(names[place])[:40]}' is none of {', '.join(EDGES)}")
    return found


def _lists(path: Path, name: str, lists: Any, lines: Int64s) -> tuple[Int64s, Int64s]:
    """(lengths, all values in one) of a column of lists of whole numbers from 0; a null is an empty list."""
    whole = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    lengths = whole.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    values = whole.flatten().fill_null(UNKNOWN).to_numpy(zero_copy_only=False).astype(np.int64)
    if len(values) and values.min() < 0:
        place = np.searchsorted(chains.offsets_of(lengths), np.argmax(values < 0), "right") - 1
        refuse(path, int(lines[place]), f"{name} holds what is no whole number from 0")
    return lengths, values


def _joins(path: Path, lists: Any, lines: Int64s) -> list[tuple[int, int]]:
    if lists.null_count == len(lists):
        return []
    lengths, others = _lists(path, "waits_for", lists, lines)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    wrong = others >= len(lengths)
    if wrong.any():
        place = np.argmax(wrong)
        refuse(path, int(lines[rows[place]]), f"waits_for {others[place]:,} is no row of the file")
    return list(zip(rows.tolist(), others.tolist(), strict=True))


def _blocks(path: Path, about: About, lists: Any, lines: Int64s) -> Blocks | None:
    if lists.null_count == len(lists):
        return None
    lengths, ids = _lists(path, "blocks", lists, lines)
    offsets, ids = chains.offsets_of(lengths), chains.dense(ids)
    if (broken := chains.broken_chain(offsets, ids)) is not None:
        line = lines[np.searchsorted(offsets, broken, "right") - 1]
        refuse(path, int(line), "a block has another predecessor than before: the ids are not chained")
    return Blocks(about.block_tokens, offsets, ids, about.partial_last)
