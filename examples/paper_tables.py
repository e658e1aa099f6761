"""The tables of docs/results/paper.md, made from the figures in docs/results/paper/*.json and from nothing else.

The page keeps a place for each: `<!-- KIND NAME -->` up to `<!-- end -->`, where KIND is a line of KINDS and NAME an
experiment. Apart from paper.py so that a test can fill the page without computing anything.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

Series = dict[str, Any]  # label → {"points": [...], "fall": [...]}


def figure(value: float) -> str:
    """Three digits, and never fewer than the whole number has."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spread(estimate: list[float]) -> str:
    mean, low, high = estimate
    return figure(mean) if figure(low) == figure(high) else f"{figure(mean)} ({figure(low)} to {figure(high)})"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def peak(series: Series) -> str:
    """Where throughput is highest, and what is left of it at the highest rate, paired by seed."""
    rows = []
    for label, one in series.items():
        best, last = max(one["points"], key=lambda point: point["tokens_per_s"][0]), one["points"][-1]
        mean, low, high = (f"{100 * value:+.1f} %" for value in one["fall"])
        left = "still the peak" if best is last else f"{mean} ({low} to {high})"
        at = f"{best['rate']:g}"
        rows.append([label, spread(best["tokens_per_s"]), at, figure(best["running"][0]), f"{last['rate']:g}", left])
    return table(["", "peak, tokens/s", "at req/s", "running there", "highest req/s", "throughput there"], rows)


def by_rate(metric: str, series: Series) -> str:
    """One figure against the request rate, means."""
    rates = [f"{point['rate']:g}" for point in next(iter(series.values()))["points"]]
    rows = [[label, *(figure(point[metric][0]) for point in one["points"])] for label, one in series.items()]
    return table(["requests/s", *rates], rows)


def by_dataset(metric: str, series: Series) -> str:
    """One figure for each dataset or pair of lengths, with its interval."""
    rows = []
    points = [one["points"] for one in series.values()]
    for row in zip(*points, strict=True):
        rate = [f"{row[0]['rate']:g}"] if row[0]["rate"] else []
        rows.append([row[0]["dataset"], *rate, *(spread(point[metric]) for point in row)])
    return table(["", *(["requests/s"] if points[0][0]["rate"] else []), *series], rows)


def against(metric: str, series: Series) -> str:
    """The same as a share of the first series, less one."""
    first, *others = series
    rows = []
    for row in zip(*(one["points"] for one in series.values()), strict=True):
        base = row[0][metric][0]
        rate = [f"{row[0]['rate']:g}"] if row[0]["rate"] else []
        shares = (f"{100 * (point[metric][0] / base - 1):+.0f} %" for point in row[1:])
        rows.append([row[0]["dataset"], *rate, figure(base), *shares])
    has_rate = bool(next(iter(series.values()))["points"][0]["rate"])
    return table(["", *(["requests/s"] if has_rate else []), first, *others], rows)


def agreement(series: Series) -> str:
    """Figures of one plan, in virtual time and over sockets."""
    rows = []
    for name, one in series.items():
        apart = f"{100 * (one['sockets'] / one['virtual'] - 1):+.1f} %"
        rows.append([name, figure(one["virtual"]), figure(one["sockets"]), apart, one["tolerance"]])
    return table(["", "virtual time", "over sockets", "difference", "tolerance"], rows)


KINDS: dict[str, Callable[[Series], str]] = {
    "peak": peak,
    "tokens": partial(by_rate, "tokens_per_s"),
    "latency": partial(by_rate, "latency_ms"),
    "ttft": partial(by_rate, "ttft_p99_ms"),
    "preemptions": partial(by_rate, "preemptions"),
    "fragmentation": partial(by_rate, "fragmentation"),
    "offline": partial(by_dataset, "tokens_per_s"),
    "throughput-against": partial(against, "tokens_per_s"),
    "latency-against": partial(against, "latency_ms"),
    "ttft-against": partial(against, "ttft_p99_ms"),
    "agreement": agreement,
}


def fill(page: str, found: dict[str, Series]) -> str:
    """The page with every table of an experiment in `found` written anew."""
    return filled(page, lambda kind, name: KINDS[kind](found[name]) if name in found else None)


def filled(page: str, told: Callable[[str, str], str | None]) -> str:
    """The page with what stands between `<!-- KIND NAME -->` and `<!-- end -->` as `told` of both; None: as it was."""

    def write(match: re.Match[str]) -> str:
        text = told(match[1], match[2])
        return match[0] if text is None else f"<!-- {match[1]} {match[2]} -->\n{text}\n<!-- end -->"

    return re.sub(r"<!-- (\S+) (\S+) -->.*?<!-- end -->", write, page, flags=re.DOTALL)
