"""What an offline run says: throughput and latency of whole batches, with intervals over the repeats.

A batch lasts from its first send to the last token of its last answer. The repeats send the same lengths, so what
differs between them is the server's and the machine's own scatter: they are the sample, not the batches.
"""

from typing import Any

import numpy as np

from loadgen.analysis.data import RunData
from loadgen.analysis.estimate import LEVEL, Estimate
from loadgen.analysis.flow import batch_of
from loadgen.analysis.rates import input_tokens
from loadgen.analysis.sample import Bools, Floats, Int64s
from loadgen.analysis.student import t_quantile
from loadgen.exchange import Outcome
from loadgen.units import NS_PER_MS, NS_PER_S

_METHOD = "t interval over the repeats"


def batch_section(run: RunData) -> tuple[dict[str, Any], dict[str, Estimate]]:
    """(figures of the point, throughputs with intervals) of the batches after the warm-up that were sent whole."""
    columns, shape = run.columns, run.plan.shape
    batch, whole = batch_of(run), _whole(run)
    ok = columns["outcome"] == Outcome.OK
    latency_ns = np.array([_latency_ns(run, batch == each) for each in whole])
    output = _per_batch(batch, whole, np.where(ok, np.nan_to_num(columns["output_tokens"]), 0.0))
    prompt = _per_batch(batch, whole, np.where(ok, input_tokens(run), 0.0))
    completed = _per_batch(batch, whole, ok.astype(np.float64))
    batches_a_repeat = -(-shape["prompts"] // shape["batch_size"])
    repeat = (whole - 1) // batches_a_repeat
    seconds = latency_ns / NS_PER_S
    rates = {
        "request_throughput": _ratio(completed, seconds, repeat),
        "output_throughput": _ratio(output, seconds, repeat),
        "total_token_throughput": _ratio(output + prompt, seconds, repeat),
    }
    rates["achieved_rate"] = rates["request_throughput"]
    mean = _ratio(latency_ns / NS_PER_MS, np.ones(len(whole)), repeat)
    rates["mean_batch_latency_ms"] = mean
    figures = {
        "batch_size": shape["batch_size"],
        "batches": len(whole),
        "repeats": shape["repeats"],
        "max_batch_latency_ms": float(latency_ns.max()) / NS_PER_MS if len(whole) else None,
    }
    return figures | {name: each.value for name, each in rates.items()}, rates


def _whole(run: RunData) -> Int64s:
    """The batches after the warm-up of which every request was sent and none was cut off by the end of the run."""
    batch = batch_of(run)
    edges = np.array([0, *run.plan.barriers, len(run.plan)])
    known = ~np.isnan(run.columns["issued_ns"]) & (run.columns["outcome"] != Outcome.CENSORED)
    ended = np.bincount(batch[known], minlength=len(edges) - 1)
    return np.flatnonzero((ended == np.diff(edges)) & (edges[:-1] > 0)).astype(np.int64)


def _latency_ns(run: RunData, rows: Bools) -> float:
    last_ns, done_ns = run.columns["last_token_ns"][rows], run.columns["done_ns"][rows]
    ends_ns = np.where(np.isnan(last_ns), done_ns, last_ns)
    return float(ends_ns.max() - run.columns["issued_ns"][rows].min())


def _per_batch(batch: Int64s, whole: Int64s, values: Floats) -> Floats:
    return np.asarray(np.bincount(batch, values, int(whole.max(initial=0)) + 1)[whole], np.float64)


def _ratio(sums: Floats, sizes: Floats, repeat: Int64s) -> Estimate:
    """Σ sums / Σ sizes; the interval from the same ratio of every repeat."""
    if not len(sums) or not sizes.sum():
        return Estimate(None, None, None, LEVEL, 0, _METHOD)
    repeats = np.unique(repeat)
    each = np.array([sums[repeat == one].sum() / sizes[repeat == one].sum() for one in repeats])
    value = float(sums.sum() / sizes.sum())
    if len(each) < 2:
        return Estimate(value, None, None, LEVEL, len(sums), _METHOD)
    reach = t_quantile((1 + LEVEL) / 2, len(each) - 1) * float(each.std(ddof=1)) / len(each) ** 0.5
    return Estimate(value, max(0.0, value - reach), value + reach, LEVEL, len(sums), _METHOD)
