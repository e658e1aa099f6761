"""What the metrics of each server say, under its own names; one reader then serves the simulator and the real one.

vLLM's are in counters.py. Prometheus' texts end with the simulator's own lines (how late it is), which no reader of the
real server's names minds. TensorRT-LLM's `/metrics` is JSON: the iterations since somebody asked, here always one.
"""

import json
from collections.abc import Callable

from loadgen.simulator.counters import Counters, metrics_text
from loadgen.simulator.engine import Engine
from loadgen.simulator.lateness import Lateness

TEXT = "text/plain; version=0.0.4; charset=utf-8"
Exposition = tuple[str, str]  # text, content type


def _vllm(counters: Counters, engine: Engine, lateness: Lateness, model: str, max_num_seqs: int) -> Exposition:
    return metrics_text(counters, engine, lateness, model, max_num_seqs), TEXT


def _lines(named: dict[str, tuple[str, str, float]]) -> list[str]:
    """name → (kind, meaning, number), without labels."""
    found = []
    for name, (kind, meaning, number) in named.items():
        found += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", f"{name} {number}"]
    return found


def _own(counters: Counters, engine: Engine, lateness: Lateness, model: str, max_num_seqs: int) -> list[str]:
    """The lines that are about the simulator itself."""
    text = metrics_text(counters, engine, lateness, model, max_num_seqs)
    return [line for line in text.splitlines() if "simulator:" in line]


def _llama_cpp(counters: Counters, engine: Engine, lateness: Lateness, model: str, max_num_seqs: int) -> Exposition:
    steps_s = counters.itl.sum_s
    cache = engine.prefix_cache
    processed, cached = (counters.prompt_tokens, 0) if cache is None else (cache.queries - cache.hits, cache.hits)
    named = {
        "llamacpp:prompt_tokens_total": (
            "counter",
            "Number of prompt tokens processed, excluding cached tokens.",
            processed,
        ),
        "llamacpp:prompt_tokens_cached_total": ("counter", "Number of prompt tokens reused from the cache.", cached),
        "llamacpp:tokens_predicted_total": (
            "counter",
            "Number of generation tokens processed.",
            counters.generation_tokens,
        ),
        "llamacpp:predicted_tokens_seconds": (
            "gauge",
            "Average generation throughput of a sequence in tokens/s.",
            counters.itl.count / steps_s if steps_s else 0,
        ),
        "llamacpp:requests_processing": ("gauge", "Number of requests processing.", engine.running),
        "llamacpp:requests_deferred": ("gauge", "Number of requests deferred.", engine.waiting),
    }
    return "\n".join([*_lines(named), *_own(counters, engine, lateness, model, max_num_seqs)]) + "\n", TEXT


def _tensorrt_llm(counters: Counters, engine: Engine, lateness: Lateness, model: str, max_num_seqs: int) -> Exposition:  # noqa: ARG001
    iteration = {
        "iterLatencyMS": engine.step_ns / 1e6,
        "numActiveRequests": engine.running,
        "numQueuedRequests": engine.waiting,
        "maxBatchSizeStatic": max_num_seqs,
        "kvCacheStats": {"maxNumBlocks": 1000, "usedNumBlocks": round(1000 * engine.kv_usage)},
    }
    return json.dumps([iteration], separators=(",", ":")), "application/json"


def _tensorrt_llm_prometheus(
    counters: Counters, engine: Engine, lateness: Lateness, model: str, max_num_seqs: int
) -> Exposition:
    labels = f'{{model_name="{model}",engine_type="trtllm"}}'
    named = {
        "trtllm_num_requests_running": ("gauge", "Requests in the batch.", engine.running),
        "trtllm_num_requests_waiting": ("gauge", "Requests in the queue.", engine.waiting),
        "trtllm_kv_cache_utilization": ("gauge", "Share of the KV cache in use.", engine.kv_usage),
    }
    lines = [line if line.startswith("#") else line.replace(" ", f"{labels} ", 1) for line in _lines(named)]
    ended = counters.ended
    name = "trtllm_request_success_total"
    lines += [f"# HELP {name} Requests that ended.", f"# TYPE {name} counter"]
    lines += [f'{name}{{finished_reason="{reason}"}} {number}' for reason, number in ended.items()]
    for name, histogram in (
        ("trtllm_time_to_first_token_seconds", counters.ttft),
        ("trtllm_time_per_output_token_seconds", counters.itl),
    ):
        lines += [f"# HELP {name} As its name says.", f"# TYPE {name} histogram"]
        lines += histogram.lines(name, labels.strip("{}"))
    return "\n".join([*lines, *_own(counters, engine, lateness, model, max_num_seqs)]) + "\n", TEXT


METRICS: dict[str, Callable[[Counters, Engine, Lateness, str, int], Exposition]] = {
    "vllm": _vllm,
    "llama.cpp": _llama_cpp,
    "tensorrt-llm": _tensorrt_llm,
    "tensorrt-llm-prometheus": _tensorrt_llm_prometheus,
}
