"""Rates and throughputs: what was offered, sent, completed and streamed per second, each with its interval.

Two sets, named apart: over the steady window, and over the whole run with its warm-up and drain (`whole_run`). Tokens
are counted when they arrive, not with the request that they belong to.
"""

from collections import Counter
from typing import Any

import numpy as np

from loadgen.analysis.data import RunData
from loadgen.analysis.estimate import BATCHES, Estimate, ratio
from loadgen.analysis.flow import Flow
from loadgen.analysis.sample import Bools, Floats
from loadgen.analysis.window import Window
from loadgen.exchange import FAILED, Outcome
from loadgen.units import NS_PER_S

HTTP_ERROR = 400  # this status and those above it


def counts_section(run: RunData, rows: Bools, unsent: int) -> dict[str, Any]:
    """How the requests `rows` ended. num_prompts = completed + failed + censored + unsent."""
    ended = Counter(run.columns["outcome"][rows].tolist())
    errors = {outcome: n for outcome, n in sorted(ended.items()) if outcome in FAILED}
    ok = rows & (run.columns["outcome"] == Outcome.OK)
    statuses = Counter(run.columns["status"][rows & (run.columns["status"] >= HTTP_ERROR)].astype(int).tolist())
    return {
        "num_prompts": int(rows.sum()) + unsent,
        "completed": ended[Outcome.OK],
        "failed": sum(errors.values()),
        "censored": ended[Outcome.CENSORED],
        "unsent": unsent,
        "errors": errors,
        "http_statuses": {str(status): n for status, n in sorted(statuses.items())},
        "total_input_tokens": int(input_tokens(run)[ok].sum()),
        "total_output_tokens": int(np.nansum(run.columns["output_tokens"][ok])),
    }


def input_tokens(run: RunData) -> Floats:
    """float64[n]: as the server counted them, else as planned."""
    counted, planned = run.columns["input_tokens"], run.columns["planned_input_tokens"]
    return np.nan_to_num(np.where(np.isnan(counted), planned, counted))


def throughputs(run: RunData, good: Bools | None, window: Window) -> dict[str, Estimate]:
    """Over `window`, from 20 equal slices of it. `good`: bool[n], the requests within the SLO."""
    edges_ns = window.edges_ns(BATCHES)
    seconds = np.diff(edges_ns) / NS_PER_S
    columns = run.columns
    ok = columns["outcome"] == Outcome.OK

    def per_slice(stamps_ns: Floats, weights: Floats | None = None) -> Floats:
        known = (stamps_ns > window.start_ns) & (stamps_ns <= window.end_ns)
        slices = np.clip(np.searchsorted(edges_ns, stamps_ns[known], side="left") - 1, 0, BATCHES - 1)
        return np.bincount(slices, None if weights is None else weights[known], BATCHES).astype(np.float64)

    completions = per_slice(columns["done_ns"][ok])
    output = run.tokens.between(edges_ns)
    found = {
        "achieved_rate": completions,
        "request_throughput": completions,
        "output_throughput": output,
        "total_token_throughput": output + per_slice(columns["first_token_ns"], input_tokens(run)),
    }
    if good is not None:
        found["request_goodput"] = per_slice(columns["done_ns"][good])
    return {name: ratio(sums, seconds, n=int(sums.sum())) for name, sums in found.items()}


def whole_run_section(run: RunData, flow: Flow, good: Bools | None) -> dict[str, Any]:
    """The same over everything, drain included; `duration` ends with the last byte, as in vLLM."""
    stamps_ns = np.concatenate((run.columns["done_ns"], run.columns["last_token_ns"]))
    whole = Window(0.0, float(np.nanmax(stamps_ns, initial=0.0, where=~np.isnan(stamps_ns))), "")
    section = {"duration": whole.duration_s} | counts_section(run, np.ones(len(run), np.bool_), len(flow.unsent_ns))
    if whole.duration_s <= 0:
        return section
    found = throughputs(run, good, whole)
    return section | {name: each.value for name, each in found.items() if name != "achieved_rate"}


def flow_section(run: RunData, flow: Flow, window: Window, inside: Bools) -> dict[str, Any]:
    """Offered and sent rates, effective concurrency, and Little's law: in flight = rate × mean time in flight."""
    if window.duration_s <= 0:
        return {"offered_rate": None, "send_rate": None, "effective_concurrency": None, "littles_law": None}
    issued_ns = run.columns["issued_ns"]
    due = window.count(flow.due_ns) + window.count(flow.unsent_ns)
    in_flight = flow.in_flight.mean(window.start_ns, window.end_ns)
    stay_s = (run.columns["done_ns"] - issued_ns)[inside] / NS_PER_S
    stay_s = stay_s[~np.isnan(stay_s)]
    expected = window.count(issued_ns) / window.duration_s * float(stay_s.mean()) if len(stay_s) else None
    return {
        "offered_rate": None if flow.loop in ("burst", "batch") else due / window.duration_s,
        "send_rate": None if flow.loop in ("burst", "batch") else window.count(flow.left_ns) / window.duration_s,
        "effective_concurrency": in_flight,
        "littles_law": {
            "in_flight": in_flight,
            "rate_times_latency": expected,
            "ratio": in_flight / expected if expected else None,
        },
    }
