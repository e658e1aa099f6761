"""The run over time, in at most 240 bins: what a person looks at to see what happened when."""

from typing import Any

import numpy as np

from loadgen.analysis.data import RunData
from loadgen.analysis.flow import Flow
from loadgen.analysis.gauges import server_series
from loadgen.analysis.sample import Floats
from loadgen.exchange import FAILED, Outcome
from loadgen.units import NS_PER_MS, NS_PER_S, ns_to_s

BINS_MAX = 240
_ROUND = (1, 2, 5)


def bin_width_s(span_s: float) -> float:
    """The smallest of 1, 2, 5 × 10^k s, from 10 ms up, with which the span needs at most 240 bins."""
    exponent = -2
    while True:
        for digit in _ROUND:
            width_s = float(f"{digit}e{exponent}")
            if span_s <= width_s * BINS_MAX:
                return width_s
        exponent += 1


def timeline(run: RunData, flow: Flow, ttft_ns: Floats) -> dict[str, Any]:
    """point["timeline"]; `t` is each bin's start in s, counts are per bin, `ttft_p50_ms` by due time."""
    columns = run.columns
    width_s = bin_width_s(max(ns_to_s(flow.ended_ns), 0.01))
    bins = max(1, int(np.ceil(round(ns_to_s(flow.ended_ns) / width_s, 9))))
    edges_ns = np.linspace(0.0, bins * width_s * NS_PER_S, bins + 1)

    def per_bin(stamps_ns: Floats) -> list[int]:
        counts: list[int] = np.histogram(stamps_ns[~np.isnan(stamps_ns)], edges_ns)[0].tolist()
        return counts

    ok = columns["outcome"] == Outcome.OK
    failed = np.isin(columns["outcome"].astype(str), [str(each) for each in FAILED])
    return {
        "bin_s": width_s,
        "t": (edges_ns[:-1] / NS_PER_S).round(6).tolist(),
        "due": per_bin(np.concatenate((flow.due_ns, flow.unsent_ns))),
        "issued": per_bin(columns["issued_ns"]),
        "done": per_bin(columns["done_ns"][ok]),
        "failed": per_bin(columns["done_ns"][failed]),
        "in_flight": flow.in_flight.means(edges_ns).round(6).tolist(),
        "output_tokens": run.tokens.between(edges_ns).round(6).tolist(),
        "ttft_p50_ms": _medians_ms(flow.due_ns, np.where(ok, ttft_ns, np.nan), edges_ns),
        "server_running": server_series(run.telemetry, "running").means_between(edges_ns),
        "server_waiting": server_series(run.telemetry, "waiting").means_between(edges_ns),
        "kv_cache": server_series(run.telemetry, "kv_cache").means_between(edges_ns),
    }


def _medians_ms(due_ns: Floats, values_ns: Floats, edges_ns: Floats) -> list[float | None]:
    rows = np.flatnonzero(~np.isnan(values_ns) & ~np.isnan(due_ns))
    rows = rows[np.argsort(due_ns[rows], kind="stable")]
    cuts = np.searchsorted(due_ns[rows], edges_ns)
    return [
        float(np.median(values_ns[rows[first:last]])) / NS_PER_MS if last > first else None
        for first, last in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)
    ]
