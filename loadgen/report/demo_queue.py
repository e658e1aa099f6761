"""The queue behind the demo: Poisson arrivals, lognormal lengths, `SLOTS` slots that serve first come, first served.

An M/G/c queue is enough to give curves the shape of a real engine's: flat latencies, a knee, then a queue that grows.
"""

import heapq
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SLOTS = 96
DURATION_S, WARMUP_S, TIMEOUT_S = 60.0, 10.0, 60.0
CAPACITY = 22.6  # req/s that the slots can serve, about


def queue_run(rate: float, rng: np.random.Generator) -> dict[str, Any]:
    """Requests of `DURATION_S` seconds through `SLOTS` slots; times in s, ttft, tpot and e2el in ms."""
    due = np.cumsum(rng.exponential(1 / rate, int(rate * DURATION_S * 1.3) + 30))
    due = due[due < DURATION_S]
    output = np.clip(rng.lognormal(np.log(178), 0.5, len(due)), 8, 1024).astype(np.int64)
    inputs = np.clip(rng.lognormal(np.log(72), 0.6, len(due)), 8, 512).astype(np.int64)
    load = min(rate / CAPACITY, 1.0)
    tpot_s = (0.0078 + 0.0132 * load) * rng.lognormal(0, 0.035, len(due))
    prefill_s = (0.021 + 0.00008 * inputs) * rng.lognormal(0.4 * load, 0.2 + 0.15 * load, len(due))
    slots = [0.0] * SLOTS
    started = np.empty(len(due))
    for k, (arrival, busy_s) in enumerate(zip(due, prefill_s + output * tpot_s, strict=True)):
        started[k] = max(arrival, heapq.heappop(slots))
        heapq.heappush(slots, started[k] + busy_s)
    ttft_s = started - due + prefill_s
    e2el_s = ttft_s + (output - 1) * tpot_s
    ok = e2el_s < TIMEOUT_S
    return {
        "due": due,
        "first": due + ttft_s,
        "done": due + np.where(ok, e2el_s, TIMEOUT_S),
        "started": started,
        "ttft": 1000 * ttft_s,
        "tpot": 1000 * tpot_s,
        "e2el": 1000 * e2el_s,
        "input": inputs,
        "output": output,
        "ok": ok,
    }


def queue_timeline(run: dict[str, Any], bin_s: float = 0.5) -> dict[str, Any]:
    """At most 240 bins, counts per bin."""
    end_s = float(max(run["done"].max(), DURATION_S))
    while end_s / bin_s > 240:
        bin_s *= 2
    edges = np.arange(0, end_s + bin_s, bin_s)
    ok = run["ok"]

    def count(stamps: Floats) -> Floats:
        return np.histogram(stamps, edges)[0].astype(float)

    def level(begin: Floats, end: Floats) -> Floats:
        return np.maximum(np.cumsum(count(begin) - count(end)), 0)

    tokens = np.zeros(len(edges) - 1)
    for first, done, amount in zip(run["first"][ok], run["done"][ok], run["output"][ok], strict=True):
        left, right = int(first / bin_s), min(int(done / bin_s), len(tokens) - 1)
        tokens[left : right + 1] += amount / (right - left + 1)
    place = np.digitize(run["due"], edges) - 1
    medians = [float(np.median(run["ttft"][place == k])) if np.any(place == k) else None for k in range(len(tokens))]
    running = np.minimum(level(run["started"], run["done"]), SLOTS)
    in_flight = level(run["due"], run["done"])
    return {
        "bin_s": bin_s,
        "t": edges[:-1].tolist(),
        "due": count(run["due"]).tolist(),
        "issued": count(run["due"]).tolist(),
        "done": count(run["done"][ok]).tolist(),
        "failed": count(run["done"][~ok]).tolist(),
        "in_flight": in_flight.tolist(),
        "output_tokens": tokens.tolist(),
        "ttft_p50_ms": medians,
        "server_running": running.tolist(),
        "server_waiting": (in_flight - running).clip(0).tolist(),
        "kv_cache": (0.02 + 0.0089 * running).tolist(),
    }
