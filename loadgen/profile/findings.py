"""What measured times say beside their floors: regimes, growth, thresholds, savings. Numbers in, numbers out; no torch.

Which of two fractions of a limit is larger cannot be a test of the prediction: both divide by the same time, so their
ratio is intensity over ridge, which is the prediction itself. What can disagree, and is asked here: whether a module
comes near the limit that should bind it at all (`regime`), how its time grows when FLOPs and bytes grow by different
factors (`growth`), and at which batch a linear layer's time turns from flat to rising (`threshold`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

REACHED = 0.5  # of a limit: below it something else takes most of the time
LAUNCHES = 4  # times the shortest kernel: below it a launch is a good part of the time
CONTRAST = 1.25  # FLOPs and bytes must grow by factors this far apart to tell one from the other
RISING = 0.5  # of proportional growth, at the end of a sweep: less than that has not turned

Reach = Literal["memory", "compute", "latency", "neither"]


@dataclass(frozen=True, slots=True)
class Regime:
    """Shares of the two limits that a module reached, and what that makes of it.

    memory, compute   at least half of that limit, and more than of the other
    latency           less than half of both, and not much longer than the shortest kernel
    neither           less than half of both: more bytes or FLOPs than the floor counts, or a kernel that is not good
    """

    of_bandwidth: float
    of_compute: float
    reach: Reach


def regime(flops: float, bytes_: float, ns: float, tflops: float, gbps: float, launch_ns: float) -> Regime:
    """The regime of a module that took `ns`, under limits in TFLOP/s and GB/s."""
    memory, compute = bytes_ / ns / gbps, flops / ns / (tflops * 1e3)
    if max(memory, compute) >= REACHED:
        return Regime(memory, compute, "compute" if compute >= memory else "memory")
    return Regime(memory, compute, "latency" if ns < LAUNCHES * launch_ns else "neither")


@dataclass(frozen=True, slots=True)
class Growth:
    """From one point to the next: the factors by which time, FLOPs and bytes grew, and which of them time followed.

    `share` is how far time went from what bytes say (0) to what FLOPs say (1) on a logarithmic scale.
    """

    time: float
    flops: float
    bytes: float
    share: float

    @property
    def follows(self) -> Literal["memory", "compute"]:
        return "compute" if self.share >= 0.5 else "memory"


def growth(before: tuple[float, float, float], after: tuple[float, float, float]) -> Growth | None:
    """Of (ns, FLOPs, bytes) at two points; None where FLOPs and bytes grow alike and so say nothing."""
    if min(*before, *after) <= 0:
        return None
    time, flops, bytes_ = (new / old for new, old in zip(after, before, strict=True))
    if max(flops, bytes_) / min(flops, bytes_) < CONTRAST:
        return None
    share = (math.log(time) - math.log(bytes_)) / (math.log(flops) - math.log(bytes_))
    return Growth(time, flops, bytes_, share)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where a flat line and a rising one cross. `batch` is None if the time had not turned by the largest batch.

    `flat_ns` is the level, `rise_ns` the time of one more row beyond, `misfit` the rms of log(measured/fit).
    """

    batch: float | None
    flat_ns: float
    rise_ns: float | None
    misfit: float


def threshold(batches: Sequence[int], times_ns: Sequence[float]) -> Threshold:
    """Fit time = max(flat, rise × batch) to a sweep: every split into a flat and a rising part is tried, each part is
    the geometric mean of what it should hold constant (time; time over batch), and the least squares of logarithms win.
    At least two points belong to the flat part, and to the rising one if there is one; smallest batch first.
    """
    logs = [math.log(ns) for ns in times_ns]
    slopes = [value - math.log(batch) for value, batch in zip(logs, batches, strict=True)]
    count = len(logs)
    if count < 2:
        raise ValueError("a threshold needs two points")
    ends = math.log(batches[-1] / batches[-2])
    flat_only = sum(logs) / count
    best = Threshold(None, math.exp(flat_only), None, _misfit([value - flat_only for value in logs]))
    if count < 4 or ((logs[-1] - logs[-2]) / ends < RISING and logs[-1] - logs[0] < math.log(2)):
        return best
    for split in range(2, count - 1):
        flat, rise = sum(logs[:split]) / split, sum(slopes[split:]) / (count - split)
        fitted = [max(flat, rise + math.log(batch)) for batch in batches]
        off = _misfit([value - fit for value, fit in zip(logs, fitted, strict=True)])
        if off < best.misfit:
            best = Threshold(math.exp(flat - rise), math.exp(flat), math.exp(rise), off)
    return best


def _misfit(off: Sequence[float]) -> float:
    return math.sqrt(sum(value * value for value in off) / len(off))


@dataclass(frozen=True, slots=True)
class Saving:
    """Times of the cache's update and attention in one layer, in µs, without and with the two techniques.

    If each saved the same with the other as without it, `together_us` would be `expected_us`: their savings, added.
    """

    base_us: float
    attention_us: float
    cache_us: float
    together_us: float

    @property
    def expected_us(self) -> float:
        return self.attention_us + self.cache_us - self.base_us

    @property
    def interaction_us(self) -> float:
        """What they save together beyond the sum of what each saves alone; below 0 they get in each other's way."""
        return self.expected_us - self.together_us


def saving(times_us: Mapping[tuple[str, str], float], kv_cache: str) -> Saving | None:
    """From the time of each (cache, "eager" or "fused"): what fused attention and this cache save over eager attention
    and a concatenated cache; None if one of the four was not timed."""
    keys = [("concatenated", "eager"), ("concatenated", "fused"), (kv_cache, "eager"), (kv_cache, "fused")]
    if any(key not in times_us for key in keys):
        return None
    base, attention, cache, together = (times_us[key] for key in keys)
    return Saving(base, attention, cache, together)


def fastest(times_us: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], tuple[float, str]]:
    """From times by (cache, attention): the fastest eager and the fastest other for each cache, and which it was."""
    best: dict[tuple[str, str], tuple[float, str]] = {}
    for (kv_cache, attention), us in times_us.items():
        key = (kv_cache, "eager" if attention == "eager" else "fused")
        if key not in best or us < best[key][0]:
            best[key] = (us, attention)
    return best
