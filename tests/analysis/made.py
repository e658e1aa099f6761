"""Runs made by hand or by a small queue, with known truth: the material of the analysis' tests."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from loadgen.analysis.data import RunData, run_data
from loadgen.plan import Plan
from loadgen.records.schema import RECORD, TELEMETRY

MS = 1_000_000
S = 1_000_000_000


def record(index: int, due_ms: float = 0.0, **given: Any) -> dict[str, Any]:
    """One row of RECORD; times in ms (`…_ms`) or ns; a request that went well unless something else is said."""
    row: dict[str, Any] = dict.fromkeys(RECORD.names)
    row |= {
        "index": index,
        "label": "",
        "worker": 0,
        "due_ns": round(due_ms * MS),
        "status": 200,
        "outcome": "ok",
        "detail": "",
        "finish_reason": "length",
        "token_source": "usage",
        "empty_events": 0,
        "multi_token_events": 0,
        "body_bytes": 0,
        "connection": 0,
        "reused": True,
        "retries": 0,
        "stamp_source": "kernel",
        "shared_stamps": 0,
        "read_delay_max_ns": 0,
    }
    tokens_ms = given.pop("tokens_ms", None)
    for key, value in given.items():
        row[key.replace("_ms", "_ns") if key.endswith("_ms") else key] = (
            round(value * MS) if key.endswith("_ms") else value
        )
    row["issued_ns"] = row["due_ns"] if "issued_ms" not in given and "issued_ns" not in given else row["issued_ns"]
    if row["issued_ns"] is not None and row["sent_ns"] is None:
        row["sent_ns"] = row["issued_ns"]
    if tokens_ms is not None:
        row["token_ns"] = [round(each * MS) for each in tokens_ms]
        row["first_event_ns"] = row["first_token_ns"] = row["token_ns"][0]
        row["last_token_ns"] = row["token_ns"][-1]
        row["events"] = len(tokens_ms)
        counts = row["token_counts"]
        row["multi_token_events"] = sum(each > 1 for each in counts or ())
        row["output_tokens"] = row["output_tokens"] or (sum(counts) if counts else len(tokens_ms))
        row["planned_output_tokens"] = row["planned_output_tokens"] or row["output_tokens"]
        row["done_ns"] = row["done_ns"] or row["last_token_ns"]
    return row


def batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=RECORD)


def plan(due_ns: Any, **scalars: Any) -> Plan:
    n = len(due_ns)
    columns = {
        "due_ns": np.asarray(due_ns, np.int64),
        "after": np.full(n, -1, np.int64),
        "think_ns": np.zeros(n, np.int64),
        "input_tokens": np.full(n, 10, np.int64),
        "output_tokens": np.full(n, 4, np.int64),
        "label": np.zeros(n, np.int64),
    }
    return Plan(**(columns | scalars))


def run(rows: list[dict[str, Any]], manifest: dict[str, Any] | None = None, **rest: Any) -> RunData:
    """A run of these rows, planned as they were due unless a `planned` Plan is given."""
    planned = rest.pop("planned", None) or plan(sorted(row["due_ns"] for row in rows))
    return run_data(
        [batch(rows)] if rows else [], planned, rest.get("telemetry"), {"warmup": "none"} | (manifest or {})
    )


def telemetry(rows: Iterable[tuple[float, str, str, float]]) -> pa.Table:
    """Rows of (seconds, source, name, value)."""
    readings = [(round(s * S), source, name, float(value)) for s, source, name, value in rows]
    return pa.Table.from_pylist([dict(zip(TELEMETRY.names, each, strict=True)) for each in readings], schema=TELEMETRY)


def queue(arrivals_s: np.ndarray[Any, Any], service_s: np.ndarray[Any, Any], servers: int) -> np.ndarray[Any, Any]:
    """First come, first served by `servers`: the moment each request is done. Shapes (runs, requests), in seconds."""
    free = np.zeros((len(arrivals_s), servers))
    done = np.empty_like(arrivals_s)
    rows = np.arange(len(arrivals_s))
    for k in range(arrivals_s.shape[1]):
        server = free.argmin(axis=1)
        done[:, k] = np.maximum(arrivals_s[:, k], free[rows, server]) + service_s[:, k]
        free[rows, server] = done[:, k]
    return done


def queue_run(
    due_s: np.ndarray[Any, Any], done_s: np.ndarray[Any, Any], tokens: int = 8, tpot_ms: float = 5.0, **manifest: Any
) -> RunData:
    """The records of requests that were answered at `done_s`, `tokens` tokens at a steady pace before it."""
    order = np.argsort(done_s, kind="stable")
    due_ns = np.sort((due_s * S).astype(np.int64))
    due_of, done_of = (due_s[order] * S).astype(np.int64), (done_s[order] * S).astype(np.int64)
    last = done_of[:, None] - (np.arange(tokens)[::-1] * round(tpot_ms * MS))[None, :]
    stamps = np.maximum(last, due_of[:, None])
    n = len(order)
    columns: dict[str, Any] = {
        "index": order,
        "label": [""] * n,
        "worker": np.zeros(n, np.int32),
        "due_ns": due_of,
        "issued_ns": due_of,
        "sent_ns": due_of,
        "first_event_ns": stamps[:, 0],
        "first_token_ns": stamps[:, 0],
        "last_token_ns": done_of,
        "done_ns": done_of,
        "status": np.full(n, 200),
        "outcome": ["ok"] * n,
        "detail": [""] * n,
        "finish_reason": ["length"] * n,
        "planned_input_tokens": np.full(n, 10),
        "planned_output_tokens": np.full(n, tokens),
        "input_tokens": np.full(n, 10),
        "output_tokens": np.full(n, tokens),
        "token_source": ["usage"] * n,
        "events": np.full(n, tokens),
        "empty_events": np.zeros(n),
        "multi_token_events": np.zeros(n),
        "body_bytes": np.zeros(n),
        "connection": np.zeros(n),
        "reused": np.ones(n, bool),
        "retries": np.zeros(n),
        "stamp_source": ["kernel"] * n,
        "shared_stamps": np.zeros(n),
        "read_delay_max_ns": np.zeros(n),
        "token_ns": list(stamps),
        "token_counts": [None] * n,
    }
    arrays = [pa.array(columns[each.name]).cast(each.type) for each in RECORD]
    batches = pa.Table.from_arrays(arrays, schema=RECORD).to_batches()
    told = {"warmup": "auto", "request_rate": n / float(due_s.max()), "ended_ns": int(done_of.max())} | manifest
    return run_data(batches, plan(due_ns), None, told)


def poisson_s(rng: np.random.Generator, rate: float, shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Arrival times in seconds of Poisson processes, shape (runs, requests)."""
    return np.cumsum(rng.exponential(1 / rate, shape), axis=1)
