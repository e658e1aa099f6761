"""What /metrics says, in Prometheus' text and with vLLM's names, so that one reader serves both.

The latencies are those of the schedule (due times), as an engine sees its own steps; how late the bytes left is told
apart from them, by `simulator:lateness_seconds`.
"""

from bisect import bisect_left
from collections import Counter

from loadgen.simulator.engine import Engine
from loadgen.simulator.lateness import Lateness
from loadgen.units import NS_PER_MS, NS_PER_S

# vLLM's own buckets, in ms.
_LONG_MS = (250, 500, 750, 1000, 2500, 5000, 7500, 10000, 20000, 40000, 80000)
_TTFT_MS = (1, 5, 10, 20, 40, 60, 80, 100, *_LONG_MS, 160000, 640000, 2560000)
_ITL_MS = (10, 25, 50, 75, 100, 150, 200, 300, 400, *_LONG_MS[1:])


class Histogram:
    """Counts of durations in ns between fixed edges, and their sum."""

    def __init__(self, edges_ms: tuple[int, ...]) -> None:
        self._edges_ns = [edge * NS_PER_MS for edge in edges_ms]
        self._counts = [0] * (len(edges_ms) + 1)
        self._sum_ns = 0

    def add(self, ns: int) -> None:
        self._counts[bisect_left(self._edges_ns, ns)] += 1
        self._sum_ns += ns

    @property
    def sum_s(self) -> float:
        return self._sum_ns / NS_PER_S

    @property
    def count(self) -> int:
        return sum(self._counts)

    def lines(self, name: str, labels: str) -> list[str]:
        lines, seen = [], 0
        edges = [*(str(edge / NS_PER_S) for edge in self._edges_ns), "+Inf"]
        for edge, count in zip(edges, self._counts, strict=True):
            seen += count
            lines.append(f'{name}_bucket{{{labels},le="{edge}"}} {seen}')
        return [*lines, f"{name}_sum{{{labels}}} {self._sum_ns / NS_PER_S}", f"{name}_count{{{labels}}} {seen}"]


class Counters:
    """Everything that only grows."""

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.refusals = 0
        self.ended: Counter[str] = Counter(stop=0, length=0, abort=0)
        self.ttft = Histogram(_TTFT_MS)
        self.itl = Histogram(_ITL_MS)


def metrics_text(counters: Counters, engine: Engine, lateness: Lateness, model: str, max_num_seqs: int = 0) -> str:
    """The body of /metrics."""
    labels = f'engine="0",model_name="{model}"'
    blocks: list[tuple[str, str, str, list[str]]] = []

    def value(kind: str, name: str, meaning: str, number: float) -> None:
        blocks.append((kind, name, meaning, [f"{name}{{{labels}}} {number}"]))

    value("gauge", "vllm:num_requests_running", "Sequences in the batch.", engine.running)
    value("gauge", "vllm:num_requests_waiting", "Sequences in the queue.", engine.waiting)
    value("gauge", "vllm:kv_cache_usage_perc", "Share of the KV cache in use, 1 = full.", engine.kv_usage)
    text = "Share of the taken KV cache that holds no token."
    value("gauge", "simulator:kv_cache_fragmentation_perc", text, engine.fragmentation)
    value("counter", "vllm:num_preemptions_total", "Sequences that lost their cache.", engine.preemptions)
    value("counter", "vllm:prompt_tokens_total", "Prompt tokens answered.", counters.prompt_tokens)
    value("counter", "vllm:generation_tokens_total", "Tokens emitted.", counters.generation_tokens)
    value("counter", "simulator:refusals_total", "Requests answered with 429.", counters.refusals)
    cache = engine.prefix_cache
    if cache is not None:
        value("counter", "vllm:prefix_cache_queries_total", "Prompt tokens looked for in the cache.", cache.queries)
        value("counter", "vllm:prefix_cache_hits_total", "Prompt tokens found in the cache.", cache.hits)
    if max_num_seqs:
        value("gauge", "simulator:max_num_seqs", "Sequences that a batch takes.", max_num_seqs)
    name = "vllm:request_success_total"
    ended = [f'{name}{{{labels},finished_reason="{reason}"}} {n}' for reason, n in counters.ended.items()]
    blocks.append(("counter", name, "Sequences that ended.", ended))
    for name, meaning, histogram in (
        ("vllm:time_to_first_token_seconds", "Arrival to first token.", counters.ttft),
        ("vllm:inter_token_latency_seconds", "Between two tokens.", counters.itl),
    ):
        blocks.append(("histogram", name, meaning, histogram.lines(name, labels)))
    name = "simulator:lateness_seconds"
    late = [
        f'{name}{{{labels},window="{window}",quantile="{quantile}"}} {ns / NS_PER_S}'
        for window, found in (("10s", lateness.window()), ("all", lateness.overall()))
        for quantile, ns in found.items()
    ]
    blocks.append(("gauge", name, "Event written minus event due.", late))
    is_late = int(lateness.is_late(engine.step_ns))
    value("gauge", "simulator:is_late", "1 when p99 lateness exceeds 5 ms or 20 % of a step.", is_late)
    lines = (
        line
        for kind, name, meaning, samples in blocks
        for line in (f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *samples)
    )
    return "\n".join(lines) + "\n"
