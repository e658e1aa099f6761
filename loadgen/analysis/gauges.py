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
from loadgen.units import NS_PER_S

SERVER_NAMES = {
    "running": (
        "vllm:num_requests_running",
        "sglang:num_running_reqs",
        "llamacpp:requests_processing",
        "trtllm_num_requests_running",
        "trtllm:numActiveRequests",
    ),
    "waiting": (
        "vllm:num_requests_waiting",
        "sglang:num_queue_reqs",
        "llamacpp:requests_deferred",
        "trtllm_num_requests_waiting",
        "trtllm:numQueuedRequests",
    ),
    "cap": (
        "simulator:max_num_seqs",
        "vllm:max_num_seqs",
        "sglang:max_running_requests",
        "llamacpp:total_slots",
        "trtllm:maxBatchSizeRuntime",
        "trtllm:maxBatchSizeStatic",
    ),
    "kv_cache": (
        "vllm:kv_cache_usage_perc",
        "vllm:gpu_cache_usage_perc",
        "sglang:token_usage",
        "llamacpp:kv_cache_usage_ratio",
        "trtllm_kv_cache_utilization",
        "trtllm:kv_cache_usage",
    ),
    "preemptions": (
        "vllm:num_preemptions_total",
        "vllm:num_preemptions",
        "sglang:num_retracted_requests_total",
        "sglang:num_retracted_reqs_total",
    ),
    "refusals": ("vllm:admission_rejections_total", "simulator:refusals_total"),
    "prompt_tokens": (
        "vllm:prompt_tokens_total",
        "sglang:prompt_tokens_total",
        "llamacpp:prompt_tokens_total",
        "trtllm_prompt_tokens_total",
    ),
    "generation_tokens": (
        "vllm:generation_tokens_total",
        "sglang:generation_tokens_total",
        "llamacpp:tokens_predicted_total",
        "trtllm_generation_tokens_total",
    ),
    "prefix_hits": (
        "vllm:prefix_cache_hits_total",
        "sglang:cached_tokens_total",
        "llamacpp:prompt_tokens_cached_total",
    ),
    "prefix_queries": ("vllm:prefix_cache_queries_total", "sglang:prompt_tokens_total"),
    "prefix_misses": ("llamacpp:prompt_tokens_total",),  # which leaves the cached ones out
    "prefix_hit_rate": ("sglang:cache_hit_rate", "trtllm_kv_cache_hit_rate", "trtllm:kvCacheStats.cacheHitRate"),
    "lateness_p99_s": ("simulator:lateness_seconds_p99",),
}
# Who speaks so; the first that is found.
SPEAKERS = (
    ("simulator:", "simulator"),
    ("vllm:", "vllm"),
    ("sglang:", "sglang"),
    ("llamacpp:", "llama.cpp"),
    ("trtllm", "tensorrt-llm"),
)
GIB = 1 << 30


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

    def around(self, start_ns: float, end_ns: float) -> "Series":
        """Within; where nothing is, the last one before: who answers slowly is asked seldom."""
        inside = self.within(start_ns, end_ns)
        last = np.flatnonzero(self.times_ns <= end_ns)[-1:]
        return inside if len(inside) else Series(self.times_ns[last], self.values[last])

    def mean(self) -> float | None:
        return float(self.values.mean()) if len(self) else None

    def most(self) -> float | None:
        return float(self.values.max()) if len(self) else None

    def growth(self, start_ns: float, end_ns: float) -> tuple[float, float] | None:
        """(growth of a counter, seconds it took) between the readings just outside the window, or the outermost ones
        there are; a counter that went back has been reset and tells nothing. None without two readings."""
        first = max(int(np.searchsorted(self.times_ns, start_ns, side="right")) - 1, 0)
        last = min(int(np.searchsorted(self.times_ns, end_ns, side="left")), len(self) - 1)
        if last <= first or (np.diff(self.values[first : last + 1]) < 0).any():
            return None
        seconds = float(self.times_ns[last] - self.times_ns[first]) / NS_PER_S
        return float(self.values[last] - self.values[first]), seconds

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
    sources, names = _encoded(telemetry["source"]), _encoded(telemetry["name"])
    texts = names.dictionary.to_pylist()
    called = np.array([text.partition("{")[0] == name for text in texts], np.bool_)
    spoken = np.array([text == source for text in sources.dictionary.to_pylist()], np.bool_)
    number = names.indices.to_numpy()
    rows = np.flatnonzero(called[number] & spoken[sources.indices.to_numpy()])
    values = telemetry["value"].to_numpy()[rows].astype(np.float64)
    times_ns = telemetry["time_ns"].to_numpy()[rows].astype(np.float64)
    known = np.isfinite(values)
    labelled = any("{" in texts[each] for each in np.unique(number[rows]).tolist())
    if labelled:
        moments, place = np.unique(times_ns[known], return_inverse=True)
        return Series(moments, np.bincount(place, values[known], len(moments)).astype(np.float64))
    order = np.argsort(times_ns[known], kind="stable")
    return Series(times_ns[known][order], values[known][order])


def _encoded(texts: pa.ChunkedArray) -> pa.DictionaryArray:
    """As the run folder gives it; a table made otherwise is brought into that form."""
    whole = texts.chunk(0) if texts.num_chunks == 1 else texts.combine_chunks()  # which copies one chunk too
    return whole if pa.types.is_dictionary(whole.type) else whole.dictionary_encode()


def server_series(telemetry: pa.Table | None, what: str) -> Series:
    """The gauge `what` of SERVER_NAMES under whichever name this server has for it."""
    return next((found for name in SERVER_NAMES[what] if len(found := series(telemetry, "server", name))), NOTHING)


def server_section(
    telemetry: pa.Table | None, start_ns: float, end_ns: float, output_throughput: float | None = None
) -> dict[str, Any] | None:
    """point["server"] over the window; None when the server told nothing that we know.

    engine            who speaks so, from the names of its gauges
    running_…, waiting_…, kv_cache_…   mean and largest reading; `cap`: the most that may run at once
    preemptions, refusals              how many there were
    prompt_tokens_per_s, generation_tokens_per_s, prefix_hit_rate   as the server counts them
    gpu               see `_gpu`
    """
    known = {what: server_series(telemetry, what) for what in SERVER_NAMES}
    gpu = _gpu(telemetry, start_ns, end_ns, output_throughput)
    if gpu is None and not any(len(each) for each in known.values()):
        return None
    inside = {what: each.within(start_ns, end_ns) for what, each in known.items()}
    lateness_s = known["lateness_p99_s"].most()
    return {
        "engine": _speaker(telemetry),
        **{
            f"{what}_{how}": figure
            for what in ("running", "waiting", "kv_cache")
            for how, figure in (("mean", inside[what].mean()), ("max", inside[what].most()))
        },
        "cap": known["cap"].most(),
        **{what: _grown(known[what], start_ns, end_ns) for what in ("preemptions", "refusals")},
        **{f"{what}_per_s": _per_s(known[what], start_ns, end_ns) for what in ("prompt_tokens", "generation_tokens")},
        "prefix_hit_rate": _hit_rate(known, inside, start_ns, end_ns),
        "lateness_p99_ms": None if lateness_s is None else lateness_s * 1000,
        "gpu": gpu,
    }


def http_section(telemetry: pa.Table | None, start_ns: float, end_ns: float) -> dict[str, Any] | None:
    """point["http"]: what a small question to the server took, in ms; `connect` is the network and the server's
    kernel, `answer` the server's HTTP layer. None when nobody asked."""
    connect, answer = (
        series(telemetry, "server", f"loadgen:{name}_seconds").around(start_ns, end_ns)
        for name in ("connect", "answer")
    )
    if not len(answer) and not len(connect):
        return None
    return {
        f"{name}_{how}_ms": None if seconds is None else seconds * 1000
        for name, told in (("connect", connect), ("answer", answer))
        for how, seconds in (("p50", told.quantile(0.5)), ("max", told.most()))
    } | {"questions": max(len(answer), len(connect))}


def _speaker(telemetry: pa.Table | None) -> str | None:
    if telemetry is None:
        return None
    spoken = telemetry.filter(pc.equal(telemetry["source"].cast(pa.string()), "server"))["name"]
    names = spoken.unique().to_pylist()
    return next((engine for prefix, engine in SPEAKERS if any(name.startswith(prefix) for name in names)), None)


def _grown(counter: Series, start_ns: float, end_ns: float) -> float | None:
    """How many within the window; in a window of one reading, None."""
    inside = counter.within(start_ns, end_ns).values
    if len(inside) > 1 and inside[-1] >= inside[0]:
        return float(inside[-1] - inside[0])
    grown = counter.growth(start_ns, end_ns)
    return None if grown is None else grown[0]


def _per_s(counter: Series, start_ns: float, end_ns: float) -> float | None:
    grown = counter.growth(start_ns, end_ns)
    return None if grown is None else grown[0] / grown[1]


def _hit_rate(known: dict[str, Series], inside: dict[str, Series], start_ns: float, end_ns: float) -> float | None:
    """Share of the prompt tokens that were found in the prefix cache, 0 to 1."""
    names = ("prefix_hits", "prefix_queries", "prefix_misses")
    hits, asked, missed = (known[name].growth(start_ns, end_ns) for name in names)
    if hits is not None and (asked is not None or missed is not None):
        total = asked[0] if asked is not None else hits[0] + missed[0]  # type: ignore[index]
        if total > 0:
            return hits[0] / total
    return inside["prefix_hit_rate"].mean()


def _gpu(
    telemetry: pa.Table | None, start_ns: float, end_ns: float, tokens_per_s: float | None
) -> dict[str, Any] | None:
    """The GPUs that the server runs on: `joules_per_output_token` is power over output throughput. None when unseen."""
    told = {
        name: series(telemetry, "server", f"gpu:{name}")
        for name in ("count", "utilization", "memory_usage", "memory_used_bytes", "power_watts", "energy_joules")
    }
    if not len(told["count"]):
        return None
    inside = {name: each.within(start_ns, end_ns) for name, each in told.items()}
    spent = told["energy_joules"].growth(start_ns, end_ns)
    watts = inside["power_watts"].mean() if spent is None else spent[0] / spent[1]
    used = inside["memory_used_bytes"].most()
    return {
        "count": told["count"].most(),
        "utilization_mean": inside["utilization"].mean(),
        "memory_usage_max": inside["memory_usage"].most(),
        "memory_used_gib": None if used is None else used / GIB,
        "power_mean_w": watts,
        "joules_per_output_token": watts / tokens_per_s if watts is not None and tokens_per_s else None,
    }
