"""A sweep that never happened: plausible figures of a server that saturates, to look at reports and to test them.

Nothing here measures anything, and no report imports it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from loadgen.progress import Progress
from loadgen.report.demo_queue import CAPACITY, DURATION_S, TIMEOUT_S, WARMUP_S, Floats, queue_run, queue_timeline
from loadgen.units import NS_PER_S

RATES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_STATISTICS = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}


def canned_sweep(seed: int = 0, rates: tuple[float, ...] = RATES, dataset: str = "s2l") -> dict[str, Any]:
    """The parsed `summary.json` of a sweep over `rates` of a server that saturates near 22.6 req/s."""
    points = [canned_point(rate, seed) for rate in rates]
    at_16 = next((point for point in points if point["request_rate"] == 16.0), points[0])
    answer = (
        "Saturates at 22.6 req/s (95 % CI 21.9 to 23.4): the decode batch is full (96 running), 71 % of the H200's "
        f"memory bandwidth. At 16 req/s p99 TTFT is {at_16['p99_ttft_ms']:.0f} ms."
    )
    return _header(seed, dataset) | {
        "kind": "sweep",
        "answer": answer,
        "points": points,
        "saturation": {
            "max_stable_rate": {
                "value": 22.6,
                "low": 21.9,
                "high": 23.4,
                "method": "completions of the saturated points",
                "stable": 16.0,
                "saturated": 32.0,
            },
            "max_goodput_rate": {"value": 16.0, "low": 16.0, "high": 32.0},
            "knee_rate": {"value": 17.5, "low": 16.0, "high": 32.0},
            "peak_output_throughput": _peak(points),
            "reason": "the decode batch is full (96 running, 349 waiting)",
        },
        "cut": False,
    }


def _peak(points: list[dict[str, Any]]) -> dict[str, float]:
    best = max(points, key=lambda point: float(point["output_throughput"]))
    low, high = best["confidence"]["output_throughput"]
    return {"value": best["output_throughput"], "low": low, "high": high}


def canned_run(seed: int = 0, rate: float = 8.0) -> dict[str, Any]:
    """The parsed `summary.json` of one run."""
    point = canned_point(rate, seed)
    answer = (
        f"The server holds {rate:g} req/s: p99 TTFT is {point['p99_ttft_ms']:.0f} ms and p99 TPOT "
        f"{point['p99_tpot_ms']:.1f} ms, steady for {DURATION_S - WARMUP_S:.0f} s."
    )
    return _header(seed, "s2l") | {"kind": "run", "answer": answer, "points": [point], "saturation": None, "cut": False}


def _header(seed: int, dataset: str) -> dict[str, Any]:
    return {
        "schema": 1,
        "tool": {"name": "loadgen", "version": "0.1.0"},
        "target": {
            "base_url": "http://10.0.0.7:8000",
            "model": "meta-llama/Llama-3.1-8B-Instruct",
            "engine": "vllm 0.33.0",
        },
        "dataset": dataset,
        "seed": seed,
        "started": "2026-11-20T14:03:11Z",
        "slo": {"text": "ttft_p99=500ms,tpot_p99=50ms", "clauses": ["ttft_p99=500ms", "tpot_p99=50ms"]},
        "settings": {
            "--base-url": "http://10.0.0.7:8000",
            "--dataset": dataset,
            "--rates": "1..64",
            "--duration": "60s",
            "--warmup": "auto",
            "--burstiness": 1.0,
            "--slo": "ttft_p99=500ms,tpot_p99=50ms",
            "--seed": seed,
        },
        "command": f"loadgen sweep --base-url http://10.0.0.7:8000 --dataset {dataset} --rates 1..64 --duration 60s "
        f"--slo ttft_p99=500ms,tpot_p99=50ms --seed {seed}",
    }


def canned_point(rate: float, seed: int = 0) -> dict[str, Any]:
    """One entry of `points`, with everything an analysis could know."""
    rng = np.random.default_rng([seed, int(rate * 1000)])
    run = queue_run(rate, rng)
    ok, steady = run["ok"], (run["due"] >= WARMUP_S) & (run["due"] < DURATION_S)
    counted = ok & steady
    window_s = DURATION_S - WARMUP_S
    done = run["done"]
    ended = ok & (done >= WARMUP_S) & (done < DURATION_S)
    timeline = queue_timeline(run)
    tokens = timeline["output_tokens"]
    inside = slice(int(WARMUP_S / timeline["bin_s"]), int(DURATION_S / timeline["bin_s"]))
    output_throughput = float(np.sum(tokens[inside])) / window_s
    failed, sent = int(np.sum(~ok)), len(ok)
    good = counted & (run["ttft"] <= 500) & (run["tpot"] <= 50)
    samples = {
        "ttft": run["ttft"][counted],
        "tpot": run["tpot"][counted],
        "itl": np.repeat(run["tpot"][counted], 40) * rng.lognormal(-0.02, 0.2, 40 * int(np.sum(counted))),
        "e2el": run["e2el"][counted],
        "lag": rng.gamma(2.0, 0.04, max(int(np.sum(steady)), 1)),
    }
    saturated = rate > CAPACITY
    point: dict[str, Any] = {
        "request_rate": rate,
        "offered_rate": float(np.sum(steady)) / window_s,
        "send_rate": float(np.sum(steady)) / window_s,
        "achieved_rate": float(np.sum(ended)) / window_s,
        "duration": float(max(done.max(), DURATION_S)),
        "window": {"start_s": WARMUP_S, "end_s": DURATION_S, "method": "MSER-5 on TPOT"},
        "num_prompts": sent,
        "completed": sent - failed,
        "failed": failed,
        "censored": 0,
        "errors": {"timeout": failed} if failed else {},
        "request_throughput": float(np.sum(ended)) / window_s,
        "output_throughput": output_throughput,
        "total_token_throughput": output_throughput * 1.42,
        "request_goodput": float(np.sum(good)) / window_s,
        "total_input_tokens": int(np.sum(run["input"])),
        "total_output_tokens": int(np.sum(run["output"][ok])),
        "token_source": "usage",
        "confidence": {"level": 0.95, "achieved_rate": None, "output_throughput": None},
        "indicative": [],
        "quantiles": {},
        "timeline": timeline,
        "lengths": {
            "input_asked_mean": float(np.mean(run["input"])),
            "input_obtained_mean": float(np.mean(run["input"])) + 9.0,
            "output_asked_mean": float(np.mean(run["output"])),
            "output_obtained_mean": float(np.mean(run["output"])),
            "input_mismatch_share": 0.0,
            "output_mismatch_share": 0.0,
            "empty_events": 0,
            "multi_token_share": 0.004 * min(rate, 20),
        },
        "whole_run": {
            "duration": float(max(done.max(), DURATION_S)),
            "request_throughput": (sent - failed) / float(max(done.max(), DURATION_S)),
            "request_goodput": float(np.sum(good)) / float(max(done.max(), DURATION_S)),
            "output_throughput": float(np.sum(run["output"][ok])) / float(max(done.max(), DURATION_S)),
        },
        "client": _client(rate, samples["lag"]),
        "server": {
            "running_mean": float(np.mean(timeline["server_running"][inside])),
            "waiting_mean": float(np.mean(timeline["server_waiting"][inside])),
            "kv_cache_max": float(np.max(timeline["kv_cache"])),
            "preemptions": 41 if rate > 2 * CAPACITY else 0,
        },
        "efficiency": {"mfu": 0.002 * min(rate, 30) + 0.004, "mbu": min(0.71, 0.3 + 0.02 * rate), "bound": "memory"},
        "dataset": "",
        "verdict": "SERVER_ERRORS" if failed > 0.01 * sent else "NOT_STEADY" if saturated else "VALID",
        "findings": _findings(rate, failed, sent),
    }
    for key, values in samples.items():
        _describe(point, key, values)
    point["slo"] = _slo(point, float(np.mean(good[steady])))
    for key in ("achieved_rate", "output_throughput"):
        half = point[key] * 1.2 / max(np.sqrt(np.sum(ended)), 1)
        point["confidence"][key] = [point[key] - half, point[key] + half]
    return point


def _describe(point: dict[str, Any], key: str, values: Floats) -> None:
    """The figures of one latency with order-statistic intervals (binomial, normal approximation)."""
    values = np.sort(values)
    if not len(values):
        return
    point |= {f"mean_{key}_ms": float(values.mean()), f"median_{key}_ms": float(np.median(values))}
    point |= {f"std_{key}_ms": float(values.std())}
    point["quantiles"][f"{key}_ms"] = np.percentile(values, np.arange(101)).round(3).tolist()
    for name, share in _STATISTICS.items():
        figure = f"{name}_{key}_ms"
        point[figure] = float(np.percentile(values, share))
        half = 1.96 * np.sqrt(len(values) * share / 100 * (1 - share / 100))
        ranks = np.clip([len(values) * share / 100 - half, len(values) * share / 100 + half], 0, len(values) - 1)
        point["confidence"][figure] = [float(value) for value in values[ranks.astype(int)]]
        if len(values) * (1 - share / 100) < 5:
            point["indicative"].append(figure)


def _slo(point: dict[str, Any], attainment: float) -> dict[str, Any]:
    clauses = []
    for name, limit_ms in (("ttft", 500.0), ("tpot", 50.0)):
        value_ms = point[f"p99_{name}_ms"]
        clause = {"text": f"{name}_p99={limit_ms:g}ms", "metric": name, "statistic": "p99", "limit_ms": limit_ms}
        clauses.append(clause | {"value_ms": value_ms, "attainment": attainment, "met": value_ms <= limit_ms})
    return {"met": all(clause["met"] for clause in clauses), "attainment": attainment, "clauses": clauses}


def _client(rate: float, lag_ms: Floats) -> dict[str, Any]:
    return {
        "cpu_fraction": 0.02 + 0.004 * rate,
        "lag_p50_ms": float(np.percentile(lag_ms, 50)),
        "lag_p99_ms": float(np.percentile(lag_ms, 99)),
        "lag_max_ms": float(lag_ms.max()) * 1.8,
        "read_delay_p99_ms": 0.2 + 0.01 * rate,
        "loop_lag_p99_ms": 0.4,
        "gc_pause_max_ms": 0.0,
        "stamp_source": "kernel",
        "dispersion": {"1s": 1.04, "4s": 0.97, "10s": 1.11},
        "planned_dispersion": {"1s": 1.04, "4s": 0.97, "10s": 1.11},
        "gap_cv": 1.01,
        "planned_gap_cv": 1.01,
        "retries": 0,
        "connections": int(4 * rate) + 2,
        "shared_stamp_share": 0.003,
    }


def _findings(rate: float, failed: int, sent: int) -> list[dict[str, str]]:
    findings = []
    if rate > CAPACITY:
        findings.append(
            {
                "code": "SATURATED",
                "severity": "warning",
                "seen": f"Of {rate:g} requests/s asked, 22.5 were completed, and the queue grew all the time.",
                "meaning": "The server is past its capacity; its latencies depend on how long the run lasts.",
                "try_next": "Read the latencies at the rates below. To serve more, add replicas or a larger batch.",
            }
        )
    if failed:
        findings.append(
            {
                "code": "TIMEOUTS",
                "severity": "error",
                "seen": f"{failed} of {sent} requests had no answer after {TIMEOUT_S:.0f} s.",
                "meaning": "They waited in the server's queue longer than we were willing to.",
                "try_next": "Raise --timeout only if your users would wait that long.",
            }
        )
    if rate <= 4:
        findings.append(
            {
                "code": "FEW_SAMPLES_FOR_P99",
                "severity": "info",
                "seen": f"About {rate * (DURATION_S - WARMUP_S):.0f} requests were judged.",
                "meaning": "Percentiles marked ~ rest on fewer than five requests; they are a hint.",
                "try_next": "Use --duration 5m for these rates.",
            }
        )
    return findings


def canned_progress(point: dict[str, Any], k: int = 1, n: int = 1, per_s: int = 4) -> Iterator[Progress]:
    """What an observer would have been told during that point, `per_s` times a second."""
    line, summary = point["timeline"], _header(0, "s2l")
    bin_s, rate = line["bin_s"], point["request_rate"]
    for tick in range(int(DURATION_S * per_s) + 1):
        at_s = tick / per_s
        now = min(int(at_s / bin_s), len(line["t"]) - 1)
        recent = slice(max(0, now - int(4 / bin_s)), now + 1)
        span_s = (recent.stop - recent.start) * bin_s
        ttfts = [value for value in line["ttft_p50_ms"][recent] if value is not None]
        failed = int(sum(line["failed"][: now + 1]))
        yield Progress(
            target=" · ".join(summary["target"][key] for key in ("model", "engine", "base_url")),
            dataset="s2l",
            phase="warm-up" if at_s < WARMUP_S else "measuring" if at_s < DURATION_S else "draining",
            point=k,
            points=n,
            request_rate=rate,
            elapsed_ns=int(at_s * NS_PER_S),
            planned_ns=int(DURATION_S * NS_PER_S),
            remaining_ns=int((DURATION_S - at_s + (n - k) * (DURATION_S + 5)) * NS_PER_S),
            planned=point["num_prompts"],
            issued=int(sum(line["issued"][: now + 1])),
            in_flight=int(line["in_flight"][now]),
            completed=int(sum(line["done"][: now + 1])),
            failed=failed,
            achieved_rate=sum(line["done"][recent]) / span_s,
            output_throughput=sum(line["output_tokens"][recent]) / span_s,
            ttft_ms=(float(np.median(ttfts)), max(ttfts) * 1.6) if ttfts else None,
            tpot_ms=(point["p50_tpot_ms"], point["p99_tpot_ms"]) if ttfts else None,
            lag_max_ms=point["client"]["lag_p99_ms"],
            errors={"timeout": failed} if failed else {},
        )
