"""What the analysis is handed: the records as columns, with the per-token lists already reduced.

`run_data` is the only reader of record batches. It lets each batch go as soon as its token lists have become gaps,
counts over time and a few numbers per request, so that memory grows with requests and never with tokens.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from loadgen.analysis.bins import TimeBins
from loadgen.analysis.gaps import Gaps
from loadgen.analysis.sample import Floats, Int64s
from loadgen.exchange import Outcome
from loadgen.plan import Plan
from loadgen.records.schema import RECORD
from loadgen.records.texts import Texts
from loadgen.units import NS_PER_MS

Columns = dict[str, npt.NDArray[Any]]

_LISTS = ("token_ns", "token_counts")
_TEXTS = tuple(each.name for each in RECORD if pa.types.is_string(each.type))
_NUMBERS = tuple(each.name for each in RECORD if each.name not in _LISTS + _TEXTS)
_DERIVED = ("token_events", "extra_tokens", "backward")


@dataclass(frozen=True, slots=True)
class RunData:
    """One run.

    columns   one row per record, in the order read: numbers of RECORD as float64 (a null is NaN; ns stay exact up to
              104 days), texts as objects (a null is ""), and three of our own, int64: `token_events`, `extra_tokens`
              (tokens beyond the first of their event), `backward` (1 where a stamp lies before an earlier stage's)
    gaps      between token events, of the requests that ended well
    tokens    output tokens over time, of all requests
    telemetry TELEMETRY rows, or None
    manifest  keys read: request_rate (float, "inf" or None), warmup ("auto", "none", seconds), cut, interrupted,
              stop_ns, ended_ns
    """

    columns: Columns
    plan: Plan
    gaps: Gaps = field(default_factory=Gaps)
    tokens: TimeBins = field(default_factory=TimeBins)
    telemetry: pa.Table | None = None
    manifest: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["index"])


def run_data(
    batches: Iterable[pa.RecordBatch],
    plan: Plan,
    telemetry: pa.Table | None = None,
    manifest: dict[str, Any] | None = None,
    gaps: Gaps | None = None,
) -> RunData:
    """Reads RECORD batches one by one; how they are cut makes no difference. `gaps` may be given to set its limit."""
    gaps, tokens = gaps or Gaps(), TimeBins()
    grown = {name: bytearray() for name in _NUMBERS + _DERIVED}  # they grow in place: no second copy at the end
    texts = {name: Texts() for name in _TEXTS}
    for batch in batches:
        numbers = {name: _floats(batch.column(name)) for name in _NUMBERS}
        for name in _TEXTS:
            texts[name].add(batch.column(name))
        for name, values in (numbers | _reduce(batch, numbers, gaps, tokens)).items():
            grown[name] += values.tobytes()
    columns: Columns = {name: np.frombuffer(grown[name], np.float64) for name in _NUMBERS}
    columns |= {name: np.frombuffer(grown[name], np.int64) for name in _DERIVED}
    columns |= {name: words.objects() for name, words in texts.items()}
    return RunData(columns, plan, gaps, tokens, telemetry, manifest or {})


def _floats(column: pa.Array) -> Floats:
    values = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float64)


def _reduce(batch: pa.RecordBatch, numbers: dict[str, Floats], gaps: Gaps, tokens: TimeBins) -> dict[str, Int64s]:
    """Feeds the token lists of a batch to `gaps` and `tokens`; returns what is kept of them per row."""
    events = _lengths(batch.column("token_ns"))
    stamps_ns = batch.column("token_ns").flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    row = np.repeat(np.arange(len(events)), events)
    counts = np.ones(len(stamps_ns), np.int64)
    counted = _lengths(batch.column("token_counts"))
    said = batch.column("token_counts").flatten().to_numpy(zero_copy_only=False)
    fits = counted == events  # a list of another length says nothing about these events
    counts[fits[row]] = said[np.repeat(fits, counted)]
    sums = np.bincount(row, counts, len(events)).astype(np.int64)
    tokens.add(stamps_ns, _apportioned(counts, row, sums, numbers["output_tokens"]))
    whole = (events == 0) & (numbers["output_tokens"] > 0) & ~np.isnan(numbers["last_token_ns"])  # not streamed
    tokens.add(numbers["last_token_ns"][whole].astype(np.int64), numbers["output_tokens"][whole].astype(np.int64))

    inside = np.empty(len(row), np.bool_)
    inside[:1], inside[1:] = False, row[1:] == row[:-1]  # has an event of the same request before it
    steps_ns = np.diff(stamps_ns, prepend=0)
    ended_well = pc.equal(batch.column("outcome"), Outcome.OK.value).fill_null(False).to_numpy(zero_copy_only=False)
    issued_ns = np.nan_to_num(numbers["issued_ns"]).astype(np.int64)
    gaps.add(steps_ns[inside & ended_well[row]], np.where(ended_well, np.maximum(events - 1, 0), 0), issued_ns)
    stepped = np.bincount(row, inside & (steps_ns < -NS_PER_MS), len(events)) > 0
    with np.errstate(invalid="ignore"):
        before_issue = numbers["first_event_ns"] < numbers["issued_ns"] - NS_PER_MS
        after_end = numbers["last_token_ns"] > numbers["done_ns"] + NS_PER_MS
    return {
        "token_events": events,
        "extra_tokens": np.maximum(sums - events, 0),
        "backward": (stepped | before_issue | after_end).astype(np.int64),
    }


def _lengths(column: pa.Array) -> Int64s:
    return np.asarray(pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def _apportioned(counts: Int64s, row: Int64s, sums: Int64s, output_tokens: Floats) -> Int64s:
    """`counts` stretched so that each request's add up to its `output_tokens`, which the server may have counted.

    In whole tokens: event j gets ⌊T·c(j)/c⌋ − ⌊T·c(j−1)/c⌋ with c(j) the running and c the full count of the request.
    """
    stated = ~np.isnan(output_tokens)
    wanted = np.where(stated, np.nan_to_num(output_tokens), sums).astype(np.int64)
    running = np.cumsum(counts) - np.concatenate(([0], np.cumsum(sums)))[row]
    upto = wanted[row] * running // np.maximum(sums[row], 1)
    first = np.concatenate(([True], row[1:] != row[:-1]))[: len(row)]
    return upto - np.where(first, 0, np.concatenate(([0], upto))[: len(row)])
