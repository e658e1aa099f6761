"""The server's own gauges, scraped once a second beside a run: Prometheus text in, numbers out.

Names are kept as the server says them; what is absent stays absent and never becomes zero. A server without /metrics
costs one failed question.
"""

import queue
import re
import threading
import time

from loadgen.engines.asking import Asker
from loadgen.errors import TargetError

PERIOD_S = 1.0
# What is worth keeping, by prefix: queue, batch, KV cache, preemptions, tokens, prefix cache. Histograms are left out.
KEPT = (
    "vllm:num_requests_",
    "vllm:kv_cache_usage",
    "vllm:gpu_cache_usage",
    "vllm:num_preemptions",
    "vllm:prompt_tokens",
    "vllm:generation_tokens",
    "vllm:prefix_cache_",
    "llamacpp:",
    "sglang:num_",
    "sglang:token_usage",
    "sglang:cache_hit_rate",
    "sglang:gen_throughput",
    "trtllm_num_requests_",
    "trtllm_kv_cache_",
    "simulator:",
)

_SHARES = ("_usage", "_rate", "_perc", "utilization")
_QUANTILE = re.compile(r'quantile="([^"]*)"')


def parse_metrics(text: str) -> dict[str, float]:
    """Each kept metric over its label sets: counts are summed; of shares and quantiles, kept apart, the largest stands.

    What is no sample is skipped.
    """
    found: dict[str, float] = {}
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


class Scraper(threading.Thread):
    """Asks once a second until stopped; `readings` holds what has come, newest last, for the recorder to take."""

    def __init__(self, asker: Asker) -> None:
        super().__init__(daemon=True, name="loadgen-scraper")
        self._asker = asker
        self._over = threading.Event()
        self.readings: queue.SimpleQueue[tuple[int, dict[str, float]]] = queue.SimpleQueue()

    def run(self) -> None:
        while not self._over.wait(PERIOD_S):
            asked_ns = time.monotonic_ns()
            try:
                status, body = self._asker.ask("/metrics", timeout_s=5.0)
                found = parse_metrics(body.decode("utf-8", "replace")) if status == 200 else {}
            except (TargetError, ValueError):
                continue  # a saturated server may miss one
            if not found:
                return
            self.readings.put(((asked_ns + time.monotonic_ns()) // 2, found))

    def stop(self) -> None:
        self._over.set()
