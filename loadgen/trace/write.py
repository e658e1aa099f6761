"""A trace as a file that others read: ours (JSONL, or Parquet by its name), Mooncake's, vLLM's timed_trace.

Ours loses nothing but the source's line numbers. The other two know only times, lengths and blocks, want every length,
and count time in ms: what is lost is returned as sentences. Written beside its place and renamed, so never half.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from loadgen.errors import BadInputError
from loadgen.trace import chains
from loadgen.trace.formats.own import COLUMNS, EDGES, KEY, VERSION
from loadgen.trace.table import Blocks, Int64s, Trace
from loadgen.units import NS_PER_MS

_PIECE = 20_000  # rows at a time
_BLOCK_TOKENS = 512  # of minted blocks, where the trace knows none
_EDGE_NAMES = {edge: name for name, edge in EDGES.items()}


def write(trace: Trace, form: str, path: Path) -> list[str]:
    """Write a trace in a form of FORMS; sentences about what that form cannot hold. Raises BadInputError."""
    part = path.with_name(f"{path.name}.part")
    try:
        told = FORMS[form](trace, part, path)
        part.replace(path)
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be written: {error.strerror}.", "Give --out a file in a folder of yours."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return told


def _own(trace: Trace, part: Path, path: Path) -> list[str]:
    about = {
        "loadgen_trace": VERSION,
        "zero": trace.zero,
        "block_tokens": trace.blocks.size if trace.blocks else 16,
        "partial_last": trace.blocks.partial_last if trace.blocks else True,
        "source": {
            "format": trace.survey.format,
            "file": Path(trace.survey.path).name,
            "sha256": trace.survey.sha256,
            "rows_read": trace.survey.rows_read,
            "dropped": trace.survey.dropped,
            "oddities": trace.survey.oddities,
        },
    }
    head = msgspec.json.encode(about)
    if path.suffix == ".parquet":
        kinds = pa.schema([(name, kind) for name, (kind, _) in COLUMNS.items()], metadata={KEY: head})
        with pq.ParquetWriter(part, kinds) as writer:
            for rows in _pieces(trace):
                writer.write_table(pa.Table.from_pylist(rows, schema=kinds))
        return []
    with part.open("wb") as file:
        file.write(head + b"\n")
        for rows in _pieces(trace):
            file.write(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return []


def _pieces(trace: Trace) -> Iterator[list[dict[str, Any]]]:
    """Rows as objects of what is known of them."""
    waits: dict[int, list[int]] = {}
    for waiting, other in trace.joins.tolist():
        waits.setdefault(waiting, []).append(other)
    for start in range(0, len(trace), _PIECE):
        end = min(start + _PIECE, len(trace))
        names = ("duration_ns", "input_tokens", "output_tokens", "parent", "think_ns")
        known = {name: getattr(trace, name)[start:end].tolist() for name in names}
        edges, sessions = trace.edge[start:end].tolist(), trace.session[start:end].tolist()
        models, states = trace.model[start:end].tolist(), trace.status[start:end].tolist()
        rows = []
        for k, arrival_ns in enumerate(trace.arrival_ns[start:end].tolist()):
            row: dict[str, Any] = {"arrival_ns": arrival_ns}
            row |= {name: values[k] for name, values in known.items() if values[k] >= 0}
            row["status"] = states[k]
            if edges[k] in _EDGE_NAMES:
                row["edge"] = _EDGE_NAMES[edges[k]]
            if sessions[k] >= 0:
                row["session"] = str(sessions[k])
            if trace.models[models[k]]:
                row["model"] = trace.models[models[k]]
            if trace.blocks is not None:
                row["blocks"] = trace.blocks.of(start + k).tolist()
            if start + k in waits:
                row["waits_for"] = waits[start + k]
            if trace.texts is not None and (text := trace.texts[start + k]) is not None:
                row["text"] = text
            rows.append(row)
        yield rows


def _mooncake(trace: Trace, part: Path, path: Path) -> list[str]:  # noqa: ARG001 (as all forms are called)
    return _rows_of_blocks(trace, part, np.rint(trace.arrival_ns / NS_PER_MS).astype(np.int64).tolist())


def _timed_trace(trace: Trace, part: Path, path: Path) -> list[str]:
    times = [_exact_ms(ns) for ns in trace.arrival_ns.tolist()]
    told = _rows_of_blocks(trace, part, times)
    size = trace.blocks.size if trace.blocks else _BLOCK_TOKENS
    told.append(
        f"Play it with: vllm bench serve --dataset-name timed_trace --dataset-path {path} --self-timed "
        f"--timed-trace-chunk-hash-size {size} --timed-trace-sec-multiplier 0.001"
    )
    return told


def _exact_ms(ns: int) -> msgspec.Raw | int:
    """ms without loss: a whole number where it is one, else six decimals as text."""
    whole, rest = divmod(ns, NS_PER_MS)
    return msgspec.Raw(f"{whole}.{rest:06d}".encode()) if rest else whole


def _rows_of_blocks(trace: Trace, part: Path, times: list[Any]) -> list[str]:
    unknown = np.flatnonzero((trace.input_tokens < 0) | (trace.output_tokens < 0))
    if len(unknown):
        raise BadInputError(
            f"{len(unknown):,} requests have a length that is not known, the first in line {trace.row[unknown[0]]:,}; "
            "this format must have all.",
            "Convert to loadgen's own format, or capture the traffic with its lengths.",
        )
    blocks = _whole_blocks(trace)
    inputs, outputs = trace.input_tokens.tolist(), trace.output_tokens.tolist()
    with part.open("wb") as file:
        for k, time in enumerate(times):
            row = {
                "timestamp": time,
                "input_length": inputs[k],
                "output_length": outputs[k],
                "hash_ids": blocks.of(k).tolist(),
            }
            file.write(msgspec.json.encode(row) + b"\n")
    told = []
    if trace.blocks is None:
        told.append(f"The trace knows no shared prefixes: every prompt has {blocks.size}-token blocks of its own.")
    elif blocks.size != _BLOCK_TOKENS:
        told.append(f"Its blocks have {blocks.size} tokens, Mooncake's {_BLOCK_TOKENS}: tell the reader.")
    if (trace.session >= 0).any():
        told.append("Sessions, parents and think times are left out: the format has no place for them.")
    if len(odd := chains.misfits(blocks, trace.input_tokens)):
        told.append(f"{len(odd):,} rows have another number of blocks than their length wants.")
    return told


def _whole_blocks(trace: Trace) -> Blocks:
    """Blocks that count a begun one: a tail without an id gets one of its own, and so does a prompt without any."""
    held = trace.blocks
    if held is not None and held.partial_last:
        return held
    size = held.size if held else _BLOCK_TOKENS
    lengths = np.diff(held.offsets) if held else np.zeros(len(trace), np.int64)
    missing: Int64s = np.maximum(-(-trace.input_tokens // size) - lengths, 0)
    offsets = chains.offsets_of(lengths + missing)
    places = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths + missing)
    old = places < np.repeat(lengths, lengths + missing)
    ids = np.empty(offsets[-1], np.int64)
    ids[old] = held.ids if held else 0
    first = int(held.ids.max(initial=-1)) + 1 if held else 0
    ids[~old] = first + np.arange(int(np.count_nonzero(~old)))
    return Blocks(size, offsets, chains.dense(ids))


# name on the command line → what writes it
FORMS: dict[str, Callable[[Trace, Path, Path], list[str]]] = {
    "loadgen": _own,
    "mooncake": _mooncake,
    "vllm": _timed_trace,
}
