"""What a server's answer to a question about itself says, as numbers under the server's own names. Pure: bytes in.

Two tables: SOURCES, where gauges are asked for and who reads the answer, and FACTS, what is asked once (how many
sequences a batch takes). What is absent stays absent and never becomes zero; which name means what is no business of
this file (`analysis/gauges.py`).
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

Readings = dict[str, float]

# What is worth keeping of Prometheus' text, by prefix: queue, batch, KV cache, preemptions, tokens, prefix cache.
KEPT = (
    "vllm:num_requests_",
    "vllm:kv_cache_usage",
    "vllm:gpu_cache_usage",
    "vllm:num_preemptions",
    "vllm:prompt_tokens",
    "vllm:generation_tokens",
    "vllm:prefix_cache_",
    "vllm:admission_rejections",
    "llamacpp:",
    "sglang:num_",
    "sglang:max_",
    "sglang:token_usage",
    "sglang:cache_hit_rate",
    "sglang:gen_throughput",
    "sglang:prompt_tokens",
    "sglang:generation_tokens",
    "sglang:cached_tokens",
    "trtllm_num_requests_",
    "trtllm_kv_cache_",
    "trtllm_prompt_tokens",
    "trtllm_generation_tokens",
    "simulator:",
)

# Facts that a server tells in another place than its gauges: prefix of its gauges → (path, key, the name we give it).
FACTS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "llamacpp:": (("/props", "total_slots", "llamacpp:total_slots"),),
    "sglang:": (
        ("/server_info", "max_running_requests", "sglang:max_running_requests"),
        ("/get_server_info", "max_running_requests", "sglang:max_running_requests"),
    ),
    # only with VLLM_SERVER_DEV_MODE=1
    "vllm:": (("/server_info?config_format=json", "max_num_seqs", "vllm:max_num_seqs"),),
}

_ANNOUNCED = tuple(f"# TYPE {name}" for name in KEPT)
_SHARES = ("_usage", "_rate", "_perc", "utilization")
_QUANTILE = re.compile(r'quantile="([^"]*)"')
_TRTLLM = "trtllm:"  # before the keys of its JSON


def read_metrics(body: bytes) -> Readings | None:
    """Prometheus' text, or TensorRT-LLM's JSON; None when it is neither or says nothing that we know.

    A gauge with labels has no sample before its first value: what is only announced will be told later.
    """
    if body.lstrip()[:1] in (b"[", b"{"):
        return read_iterations(body)
    text = body.decode("utf-8", "replace")
    found = parse_metrics(text)
    return found if found or any(line.startswith(_ANNOUNCED) for line in text.splitlines()) else None


def parse_metrics(text: str) -> Readings:
    """Each kept metric over its label sets: counts are summed; of shares and quantiles, kept apart, the largest stands.

    What is no sample is skipped.
    """
    found: Readings = {}
    for line in text.splitlines():
        if not line.startswith(KEPT):
            continue
        name, _, value = line.rpartition(" ")
        bare, _, labels = name.partition("{")
        if bare.endswith(("_bucket", "_created")):
            continue
        summed = not any(part in bare for part in _SHARES)
        quantile = _QUANTILE.search(labels)
        if quantile is not None:  # 0.99 → _p99, max → _max
            share, summed = quantile[1], False
            bare += f"_p{float(share) * 100:g}" if share[:1].isdigit() else f"_{share}"
        try:
            number = float(value)
        except ValueError:
            continue
        known = found.get(bare)
        found[bare] = number if known is None else known + number if summed else max(known, number)
    return found


def read_iterations(body: bytes) -> Readings | None:
    """TensorRT-LLM's /metrics: a list of iterations since the last question, the newest one counts; may be empty.

    Every number under its own key, nested ones with a dot; `trtllm:kv_cache_usage` is used / all blocks.
    """
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    if not isinstance(answer, list):
        return None
    newest = next((each for each in reversed(answer) if isinstance(each, dict)), {})
    found = {_TRTLLM + key: number for key, number in _numbers(newest, "")}
    used, blocks = (found.get(f"{_TRTLLM}kvCacheStats.{key}") for key in ("usedNumBlocks", "maxNumBlocks"))
    if used is not None and blocks:
        found[_TRTLLM + "kv_cache_usage"] = used / blocks
    return found


def _numbers(value: dict[str, Any], before: str) -> Iterator[tuple[str, float]]:
    for key, each in value.items():
        if isinstance(each, dict):
            yield from _numbers(each, f"{before}{key}.")
        elif isinstance(each, int | float) and not isinstance(each, bool):
            yield f"{before}{key}", float(each)


def read_fact(body: bytes, key: str) -> float | None:
    """The first positive number under `key`, however deep in a JSON answer; None when there is none."""
    try:
        waiting = [msgspec.json.decode(body)]
    except msgspec.DecodeError:
        return None
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, dict):
            number = value.get(key)
            if isinstance(number, int | float) and not isinstance(number, bool) and number > 0:
                return float(number)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return None


# Where gauges may be: each is asked once, and again every second if it answered with something that we know.
SOURCES: tuple[tuple[str, Callable[[bytes], Readings | None]], ...] = (
    ("/metrics", read_metrics),
    ("/prometheus/metrics", read_metrics),  # TensorRT-LLM with return_perf_metrics
)
