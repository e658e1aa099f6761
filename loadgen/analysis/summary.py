"""From one run's data to its point: the place where the parts of the analysis are joined. Plain JSON types, no NaN.

The keys are those of `summary.json`; where the field disagrees they are vLLM's (`mean_ttft_ms`, `p99_itl_ms`).
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from loadgen.analysis import estimate
from loadgen.analysis import slo as objectives
from loadgen.analysis.batches import batch_section
from loadgen.analysis.data import Columns, RunData
from loadgen.analysis.decoding import decoding_section
from loadgen.analysis.faithful import replay_section
from loadgen.analysis.flow import Flow, flow_of
from loadgen.analysis.gauges import http_section, server_section
from loadgen.analysis.lag import lag_of
from loadgen.analysis.lengths import counted_by, lengths_section, token_source
from loadgen.analysis.measurer import client_section
from loadgen.analysis.metrics import (
    METRICS,
    NAMES,
    PERCENTILES,
    QUANTILES_OF,
    UNIT_NS,
    Pool,
    percentile_name,
    samples_min,
)
from loadgen.analysis.rates import counts_section, flow_section, throughputs, whole_run_section
from loadgen.analysis.sample import Bools, Int64s, Sample, merged, sample
from loadgen.analysis.slo import Slo
from loadgen.analysis.steady import fallen_behind, unsteady
from loadgen.analysis.timeline import timeline
from loadgen.analysis.verdict import Evidence, findings_of, verdict_of
from loadgen.analysis.window import steady_window
from loadgen.exchange import Outcome
from loadgen.units import ns_to_s

_PER_REQUEST = {metric.name: metric.how for metric in METRICS if not isinstance(metric.how, Pool)}


def summarise(run: RunData, slo: Slo | None = None) -> dict[str, Any]:
    """One point of `summary.json`: everything judged over the steady window, and `whole_run` beside it."""
    flow = flow_of(run)
    columns = run.columns | {"due_ns": flow.due_ns}  # the origin of latency, of whatever loop
    ok = columns["outcome"] == Outcome.OK
    tpot_ns, ttft_ns = (np.where(ok, _PER_REQUEST[name](columns), np.nan) for name in ("tpot", "ttft"))
    window = steady_window(run, flow, tpot_ns)
    inside = window.holds(flow.due_ns)
    unsent = int(window.holds(flow.unsent_ns).sum()) if flow.loop == "open" else len(flow.unsent_ns)
    good = None if slo is None else objectives.met_by_request(slo, columns, ok)
    batches = _batches(run, columns, ok & inside)
    samples = {name: merged(parts) for name, parts in batches.items()}
    batching: dict[str, Any] = {}
    rates = throughputs(run, good, window) if window.duration_s > 0 else {}
    if flow.loop == "batch":
        batching, rates = batch_section(run)
    cut = columns["outcome"] == Outcome.CENSORED
    behind, short = fallen_behind(flow, columns["first_token_ns"], inside & (ok | cut), cut, window.end_ns)
    if short is not None:
        rates |= {name: _of_a_filling_server(rates[name]) for name in _COMPLETIONS if name in rates}
    lag = lag_of(flow, columns["issued_ns"], inside, window.end_ns - window.start_ns)

    point: dict[str, Any] = {
        "request_rate": run.manifest.get("request_rate"),
        "max_concurrency": run.plan.in_flight_max or None,
        "duration": window.duration_s,
        "window": {"start_s": ns_to_s(window.start_ns), "end_s": ns_to_s(window.end_ns), "method": window.method},
        **flow_section(run, flow, window, inside),
        **{name: rates[name].value if name in rates else None for name in _RATES},
        **batching,
        **counts_section(run, inside, unsent),
        "token_source": token_source(counted_by(columns)[ok]),
        "lengths": lengths_section(columns, ok & inside),
        "decoding": decoding_section(run, window),
        **_latencies(samples),
        "quantiles": {f"{name}_ms": _percents(samples[name]) for name in QUANTILES_OF},
        "confidence": _confidence(batches, samples) | {name: each.interval() for name, each in rates.items()},
        "indicative": _indicative(samples) + [name for name in _COMPLETIONS if short is not None and name in rates],
        "samples": {name: samples[name].n for name in NAMES},
        "timeline": timeline(run, flow, ttft_ns),
        "client": client_section(run, flow, window, inside, lag),
        "server": server_section(run.telemetry, window.start_ns, window.end_ns, _value(rates, "output_throughput")),
        "http": http_section(run.telemetry, window.start_ns, window.end_ns),
        "efficiency": None,  # filled where the model and the GPU are known
        "slo": None if slo is None else objectives.judge(slo, columns, inside, ok, unsent, samples),
        "whole_run": whole_run_section(run, flow, good),
    }
    if "replay" in run.manifest:
        point["replay"] = replay_section(run, flow, np.where(ok, ttft_ns, np.nan), point)
    evidence = Evidence(
        run,
        flow,
        window,
        inside,
        lag,
        behind,
        short,
        _changes(run, flow, window, tpot_ns, ttft_ns),
        point,
    )
    findings = findings_of(evidence)
    point["verdict"] = verdict_of(findings)
    point["findings"] = [each.as_dict() for each in findings]
    plain: dict[str, Any] = _plain(point)
    return plain


_RATES = ("achieved_rate", "request_throughput", "output_throughput", "total_token_throughput", "request_goodput")
_COMPLETIONS = ("achieved_rate", "request_throughput", "request_goodput")


def _of_a_filling_server(rate: estimate.Estimate) -> estimate.Estimate:
    """What ended while the server filled: no rate of the server's, so without an interval, and nothing for none."""
    return replace(rate, value=rate.value or None, low=None, high=None)


def _changes(run: RunData, flow: Flow, window: Any, tpot_ns: Any, ttft_ns: Any) -> list[Any]:
    """Level changes, where the plan itself has one level: a flat rate, or a closed loop.

    Of a run that crashed only what had ended is known: at its end that is the quick ones, which is no change of level.
    """
    flat = isinstance(run.manifest.get("request_rate"), int | float) or flow.loop == "closed"
    flat = flat and not run.manifest.get("cut")
    return unsteady(flow, window, {"tpot": tpot_ns, "ttft": ttft_ns}) if flat and flow.loop != "burst" else []


def _batches(run: RunData, columns: Columns, judged: Bools) -> dict[str, list[Sample]]:
    """Every metric of the judged requests, in up to 20 batches of successive requests."""
    rows = np.flatnonzero(judged)
    rows = rows[np.argsort(columns["due_ns"][rows], kind="stable")]
    part: Int64s = np.full(len(judged), -1, np.int64)
    part[rows] = estimate.batches_of(len(rows))
    parts = int(part.max(initial=-1)) + 1
    zeros = {Pool.TOKENS: columns["extra_tokens"], Pool.EVENTS: np.zeros(len(judged), np.int64)}
    found = {}
    for metric in METRICS:
        if isinstance(metric.how, Pool):
            found[metric.name] = run.gaps.samples(part, parts, zeros[metric.how])
        else:
            values_ns = metric.how(columns)
            found[metric.name] = [sample(values_ns[part == each]) for each in range(parts)]
    return found


def _latencies(samples: dict[str, Sample]) -> dict[str, float | None]:
    figures: dict[str, float | None] = {}
    for name in NAMES:
        whole = samples[name]
        figures |= {f"mean_{name}_ms": whole.mean(), f"median_{name}_ms": whole.quantile(0.5)}
        figures |= {f"std_{name}_ms": whole.std()}
        figures |= {f"{percentile_name(p)}_{name}_ms": whole.quantile(p / 100) for p in PERCENTILES}
    return {key: None if ns is None else ns / UNIT_NS for key, ns in figures.items()}


def _confidence(batches: dict[str, list[Sample]], samples: dict[str, Sample]) -> dict[str, Any]:
    intervals: dict[str, Any] = {"level": estimate.LEVEL}
    for name in NAMES:
        intervals[f"mean_{name}_ms"] = estimate.mean(batches[name]).interval(UNIT_NS)
        for p in PERCENTILES:
            found = estimate.quantile(batches[name], samples[name], p / 100)
            intervals[f"{percentile_name(p)}_{name}_ms"] = found.interval(UNIT_NS)
        intervals[f"median_{name}_ms"] = intervals[f"p50_{name}_ms"]
    return intervals


def _value(rates: dict[str, estimate.Estimate], name: str) -> float | None:
    return rates[name].value if name in rates else None


def _indicative(samples: dict[str, Sample]) -> list[str]:
    return [
        f"{percentile_name(p)}_{name}_ms" for name in NAMES for p in PERCENTILES if samples[name].n < samples_min(p)
    ]


def _percents(whole: Sample) -> list[float] | None:
    return (whole.quantiles(np.linspace(0, 1, 101)) / UNIT_NS).tolist() if whole.n else None


def _plain(value: Any) -> Any:
    """The same in JSON's own types; what is not finite becomes None."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, str) else value
