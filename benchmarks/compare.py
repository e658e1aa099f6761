"""A client's log beside the server's: errors, arrivals and cost, as plain numbers.

Error is the client's figure minus the truth of the same request or the same token. Two are given: event by event,
which nothing can hide, and percentile minus percentile, which is what people compare tools by.
"""

import numpy as np
import numpy.typing as npt
from clients import Taken
from known import Int64s, Log

Floats = npt.NDArray[np.float64]
Figures = dict[str, float]


def figures(taken: Taken, truth: Log) -> Figures:
    """ms, µs of CPU per event, req/s. Raises ValueError when client and server disagree on what was sent."""
    log = taken.log
    if len(log.tokens_ns) != len(truth.tokens_ns) or log.events != truth.events:
        raise ValueError(f"client saw {log.events} tokens, server sent {truth.events}")
    true_ttft, true_itl = _ms(truth.first_ns - truth.start_ns), _gaps(truth)
    itl = _gaps(log)
    found = {"events": float(log.events), "itl_error_p99": _p(abs(itl - true_itl), 99)}
    found["itl_difference_p99"] = _p(itl, 99) - _p(true_itl, 99)
    for origin, start_ns in (("send", log.start_ns), ("due", log.due_ns)):
        ttft = _ms(log.first_ns - start_ns)
        for p in (50, 99):
            found[f"ttft_{origin}_error_p{p}"] = _p(abs(ttft - true_ttft), p)
            found[f"ttft_{origin}_difference_p{p}"] = _p(ttft, p) - _p(true_ttft, p)
    found["lag_p50"], found["lag_p99"] = (_p(_ms(log.start_ns - log.due_ns), p) for p in (50, 99))
    found["true_ttft_p50"], found["true_ttft_p99"] = _p(true_ttft, 50), _p(true_ttft, 99)
    found["true_itl_p99"] = _p(true_itl, 99)
    for name, stamps in (("drawn", log.due_ns), ("got", truth.start_ns)):
        found |= {f"{key}_{name}": value for key, value in _arrivals(stamps).items()}
    found["cpu_us"] = taken.cpu_s / log.events * 1e6
    if taken.samples:
        spans = taken.cpu_between(int(truth.start_ns[0]), int(max(tokens[-1] for tokens in truth.tokens_ns)))
        found["cpu_main_us"], found["cpu_load_us"] = (span / log.events * 1e6 for span in [*spans, 0.0][:2])
    return found


def _arrivals(stamps_ns: Int64s) -> Figures:
    """Rate, CV of the gaps, index of dispersion in windows of 1 s; nothing for requests that come all at once."""
    stamps_s = np.sort(stamps_ns - stamps_ns.min()) / 1e9
    gaps = np.diff(stamps_s)
    if not stamps_s[-1]:
        return {}
    counts = np.histogram(stamps_s, np.arange(int(stamps_s[-1]) + 1))[0]
    dispersion = float(counts.var(ddof=1) / counts.mean()) if len(counts) > 1 else float("nan")
    return {"rate": len(gaps) / float(stamps_s[-1]), "cv": float(gaps.std() / gaps.mean()), "dispersion": dispersion}


def _gaps(log: Log) -> Floats:
    return _ms(np.concatenate([np.diff(tokens) for tokens in log.tokens_ns]))


def _ms(ns: Int64s) -> Floats:
    return ns / 1e6


def _p(values: Floats, p: float) -> float:
    return float(np.percentile(values, p))
