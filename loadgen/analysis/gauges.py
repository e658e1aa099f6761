"""Telemetry: what the client said of itself and the server of its queue. A gauge that nobody sent is None, never 0.

Servers name the same thing differently; the table below says which names are probed, first one found wins. A name
with labels, `name{a="b"}`, counts under its bare name; a summary's p99 has the name `name_p99`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loadgen.analysis.sample import Floats

SERVER_NAMES = {
    "running": (
        "vllm:num_requests_running",
        "sglang:num_running_reqs",
        "llamacpp:requests_processing",
        "trtllm_num_requests_running",
    ),
    "waiting": (
        "vllm:num_requests_waiting",
        "sglang:num_queue_reqs",
        "llamacpp:requests_deferred",
        "trtllm_num_requests_waiting",
    ),
    "kv_cache": (
        "vllm:kv_cache_usage_perc",
        "vllm:gpu_cache_usage_perc",
        "sglang:token_usage",
        "llamacpp:kv_cache_usage_ratio",
        "trtllm_kv_cache_utilization",
    ),
    "preemptions": ("vllm:num_preemptions_total", "vllm:num_preemptions"),
    "lateness_p99_s": ("simulator:lateness_seconds_p99",),
}


@dataclass(frozen=True, slots=True)
class Series:
    """Readings in order of time: float64[k] each; k may be 0."""

    times_ns: Floats
    values: Floats

    def __len__(self) -> int:
        return len(self.values)

    def within(self, start_ns: float, end_ns: float) -> "Series":
        inside = (self.times_ns >= start_ns) & (self.times_ns <= end_ns)
        return Series(self.times_ns[inside], self.values[inside])

    def mean(self) -> float | None:
        return float(self.values.mean()) if len(self) else None

    def most(self) -> float | None:
        return float(self.values.max()) if len(self) else None

    def quantile(self, share: float) -> float | None:
        return float(np.quantile(self.values, share)) if len(self) else None

    def means_between(self, edges_ns: Floats) -> list[float | None] | None:
        """The mean reading between successive edges, None where there was none; None when there is none at all."""
        if not len(self):
            return None
        place = np.searchsorted(edges_ns, self.times_ns, side="right") - 1
        inside = (place >= 0) & (place < len(edges_ns) - 1)
        number = np.bincount(place[inside], minlength=len(edges_ns) - 1)
        sums = np.bincount(place[inside], self.values[inside], len(edges_ns) - 1)
        return [float(total) / int(n) if n else None for total, n in zip(sums, number, strict=True)]

    def most_sustained(self, span_ns: float) -> float | None:
        """The largest mean over any stretch of `span_ns`; over all readings when they do not last that long."""
        if not len(self) or self.times_ns[-1] - self.times_ns[0] <= span_ns:
            return self.mean()
        running = np.concatenate(([0.0], np.cumsum(self.values)))
        first = np.searchsorted(self.times_ns, self.times_ns - span_ns, side="right")
        full = np.flatnonzero(self.times_ns - self.times_ns[0] >= span_ns)
        return float(((running[full + 1] - running[first[full]]) / (full + 1 - first[full])).max())


NOTHING = Series(np.empty(0), np.empty(0))


def series(telemetry: pa.Table | None, source: str, name: str) -> Series:
    """All readings of one gauge; those of one scrape, from several label sets, are added up."""
    if telemetry is None or not telemetry.num_rows:
        return NOTHING
    plain = pc.replace_substring_regex(telemetry["name"], r"\{.*$", "")
    chosen = telemetry.filter(pc.and_(pc.equal(telemetry["source"], source), pc.equal(plain, name)))
    values = chosen["value"].to_numpy().astype(np.float64)
    times_ns = chosen["time_ns"].to_numpy().astype(np.float64)
    known = np.isfinite(values)
    labelled = any("{" in each for each in pc.unique(chosen["name"]).to_pylist())
    if labelled:
        moments, place = np.unique(times_ns[known], return_inverse=True)
        return Series(moments, np.bincount(place, values[known], len(moments)).astype(np.float64))
    order = np.argsort(times_ns[known], kind="stable")
    return Series(times_ns[known][order], values[known][order])


def server_series(telemetry: pa.Table | None, what: str) -> Series:
    """The gauge `what` of SERVER_NAMES under whichever name this server has for it."""
    return next((found for name in SERVER_NAMES[what] if len(found := series(telemetry, "server", name))), NOTHING)


def server_section(telemetry: pa.Table | None, start_ns: float, end_ns: float) -> dict[str, Any] | None:
    """point["server"] over the window; None when the server told nothing that we know."""
    known = {what: server_series(telemetry, what) for what in SERVER_NAMES}
    if not any(len(each) for each in known.values()):
        return None
    inside = {what: each.within(start_ns, end_ns) for what, each in known.items()}
    counted = inside["preemptions"].values
    lateness_s = known["lateness_p99_s"].most()
    return {
        "running_mean": inside["running"].mean(),
        "running_max": inside["running"].most(),
        "waiting_mean": inside["waiting"].mean(),
        "waiting_max": inside["waiting"].most(),
        "kv_cache_max": inside["kv_cache"].most(),
        "preemptions": float(counted[-1] - counted[0]) if len(counted) else None,
        "lateness_p99_ms": None if lateness_s is None else lateness_s * 1000,
    }
