"""Four engines as they were on an H200, on virtual time: llama-2-7b, S2S and S2L, timed from the records of searches
that went wrong there (docs/results/search.md). Their steps take host + row · sequences, and wander: by a tenth where
the host was busy with other things.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from queues import Engine, EngineRun

from loadgen.search.probe import Probe, Workload
from loadgen.simulator.batching import Batch, Step
from loadgen.simulator.engine import Engine as BatchEngine
from loadgen.simulator.engine import SteppedEngine
from loadgen.simulator.kv_cache import BlockPool
from loadgen.simulator.policies import POLICIES

KV_TOKENS = 4_000_000
WANDERS = 0.98  # of what the speed was a step ago: it stays fast or slow for some fifty steps


@cache
def lengths_of(dataset: str) -> npt.NDArray[np.int64]:
    """int64[n, 2]: tokens of prompts and answers."""
    table = np.loadtxt(Path(__file__).parents[2] / "traces" / f"{dataset}.csv", delimiter=",", skiprows=1)
    return table[:, -2:].astype(np.int64)


def _wandering(spread: float, rng: np.random.Generator) -> Iterator[float]:
    """Normal, each nearly the one before."""
    value = spread * rng.standard_normal()
    while True:
        yield value
        value = WANDERS * value + (1 - WANDERS**2) ** 0.5 * spread * rng.standard_normal()


def engine(name: str, dataset: str, *, host_ms: float, row_ms: float, seqs: int, wander: float = 0.0) -> Engine:
    """`wander`: the standard deviation of a step's duration, as a share of it."""
    lengths = lengths_of(dataset)

    def build(seed: int) -> BatchEngine:
        noise = _wandering(wander, np.random.default_rng([seed, 11]))

        def took(step: Step) -> int:
            return round(1e6 * (host_ms + row_ms * step.decode_rows) * max(0.3, 1 + next(noise)))

        return SteppedEngine(Batch(BlockPool(KV_TOKENS // 16), POLICIES["chunked"], seqs, 8192), took)

    mean_input, mean_output = lengths.mean(axis=0)
    return Engine(
        name,
        build,
        lambda rng, n: lengths[rng.integers(0, len(lengths), n)],
        Workload(float(mean_input), float(mean_output)),
    )


@dataclass
class WarmingUp:
    """An engine whose very first probe meets steps that take four times as long."""

    engine: Engine
    cold: Engine
    is_cold: bool = True

    @property
    def workload(self) -> Workload:
        return self.engine.workload

    def run(self, probe: Probe, seed: int) -> EngineRun:
        one, self.is_cold = (self.cold if self.is_cold else self.engine), False
        return one.run(probe, seed)


def transformers() -> Engine:
    """80 ms a step, nearly whatever the batch."""
    return engine("transformers", "s2s", host_ms=80, row_ms=0.05, seqs=256)


def warming_up(warm: Engine) -> WarmingUp:
    """Four times as slow at first as transformers are."""
    return WarmingUp(warm, engine("cold", "s2s", host_ms=320, row_ms=0.05, seqs=256))


def vllm(dataset: str) -> Engine:
    """Short answers are noisy, since their server process is the limit."""
    if dataset == "s2l":
        return engine("vllm, S2L", dataset, host_ms=4.3, row_ms=0.07, seqs=256, wander=0.03)
    return engine("vllm, S2S", dataset, host_ms=6, row_ms=0.08, seqs=256, wander=0.1)


def mii() -> Engine:
    return engine("mii", "s2s", host_ms=11, row_ms=0.41, seqs=128, wander=0.05)


def llamacpp() -> Engine:
    return engine("llama.cpp", "s2s", host_ms=6, row_ms=0.44, seqs=64, wander=0.03)
