"""How long one call takes: many calls in a CUDA graph between two events, again and again; median and spread.

A graph takes the launch gaps out and holds so many calls that an event's resolution (about 0.5 µs) does not matter.
The calls go round over copies of their data that together exceed the L2 cache, and the last result of each copy stays
alive, so that outputs rotate too: inputs come from GPU memory and results go there, as within a model.
Where no graph can be captured the calls are timed between events without one, on a CPU by the clock; `method` says so.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadgen.profile.bench import Bench, out_of_memory

Call = Callable[[], Any]

COPIES_MAX = 64
CACHES_SWEPT = 3  # the copies together are this many times as large as the L2 cache
CALLS_MAX = 512  # in one graph
WARM_UPS = 3
SAMPLES_MIN = 5
MEMORY_SHARE = 0.8  # of what is free, for a graph's own results
COPIES_SHARE = 0.5  # of what is free beside the first copy, for the others


@dataclass(frozen=True, slots=True)
class Effort:
    """`repeats` samples of about `sample_ns` each, fewer (never under 5) if they would exceed `cell_ns`."""

    repeats: int = 20
    sample_ns: float = 2e6
    cell_ns: float = 200e6


@dataclass(frozen=True, slots=True)
class Timing:
    """One call: median, p5 and p95 in ns over `samples` samples of `calls` calls each. `method`: graph, events, clock.

    `cached`: the copies together fitted into the L2 cache, so the time may lie below the floor.
    """

    median_ns: float
    p5_ns: float
    p95_ns: float
    samples: int
    calls: int
    method: str
    cached: bool = False


def copies_needed(cache_bytes: int, call_bytes: float) -> int:
    """How many copies of a call's data it takes to sweep the cache; 64 at most."""
    return int(min(COPIES_MAX, max(1, -(-CACHES_SWEPT * cache_bytes // max(1, call_bytes)))))


def copies_that_fit(wanted: int, copy_bytes: float, free_bytes: float) -> int:
    """So many of these, the first of which is there, that results have room too: a call that writes a few tokens brings
    a whole cache along."""
    each = max(1.0, copy_bytes)
    return min(wanted, 1 + int(min(COPIES_SHARE * free_bytes, wanted * each) // each))


def stays_cached(cache_bytes: int, call_bytes: float, copies: int) -> bool:
    """Whether what all copies touch together fits into the cache."""
    return copies * call_bytes <= cache_bytes


def plan_calls(once_ns: float, copies: int, effort: Effort) -> tuple[int, int]:
    """(calls in a sample, samples): whole rounds over the copies, about `sample_ns` long, within `cell_ns`."""
    rounds = max(1, round(effort.sample_ns / (max(once_ns, 1.0) * copies)))
    calls = copies * min(rounds, max(1, CALLS_MAX // copies))
    return calls, max(SAMPLES_MIN, min(effort.repeats, int(effort.cell_ns / (once_ns * calls))))


def summarise(samples_ns: Sequence[float], calls: int, method: str, *, cached: bool) -> Timing:
    """Samples of `calls` calls each, as the time of one call."""
    p5, median, p95 = (float(value) / calls for value in np.percentile(samples_ns, (5, 50, 95)))
    return Timing(median, p5, p95, len(samples_ns), calls, method, cached)


def time_calls(bench: Bench, copies: Sequence[Call], effort: Effort, *, cached: bool = False) -> Timing:
    """The time of one call; `copies` do the same on data of their own."""
    _round(copies, len(copies))  # compiles kernels, makes library handles, chooses algorithms
    bench.finish()
    if not bench.cuda:
        once_ns = _clocked(copies, 1)[0] / len(copies)
        calls, samples = plan_calls(once_ns, len(copies), effort)
        return summarise(_clocked(copies, samples, calls), calls, "clock", cached=cached)
    once_ns = _between_events(bench, lambda: _round(copies, len(copies)), 1)[0] / len(copies)
    calls, samples = plan_calls(once_ns, len(copies), effort)
    graph = _capture(bench, copies, calls)
    run = graph or (lambda: _round(copies, calls))
    taken = _between_events(bench, run, samples)
    return summarise(taken, calls, "graph" if graph else "events", cached=cached)


def _round(copies: Sequence[Call], calls: int) -> deque[Any]:
    alive: deque[Any] = deque(maxlen=len(copies))
    for k in range(calls):
        alive.append(copies[k % len(copies)]())
    return alive


def _clocked(copies: Sequence[Call], samples: int, calls: int = 0) -> list[float]:
    taken = []
    for _ in range(samples):
        start = time.perf_counter_ns()
        _round(copies, calls or len(copies))
        taken.append(float(max(1, time.perf_counter_ns() - start)))
    return taken


def _capture(bench: Bench, copies: Sequence[Call], calls: int) -> Call | None:
    """A replay of the calls; None where no graph can be captured, or its own memory would not fit beside the data.

    Memory that runs out in the middle of a capture leaves a mess, so it is asked for before: a graph needs once more
    what a round of calls took beyond its inputs.
    """
    cuda = bench.torch.cuda
    held = cuda.memory_allocated()
    cuda.reset_peak_memory_stats()
    _round(copies, len(copies))
    bench.finish()
    needed = cuda.max_memory_allocated() - held
    cuda.empty_cache()
    if needed > MEMORY_SHARE * cuda.mem_get_info()[0]:
        return None
    graph = cuda.CUDAGraph()
    try:
        with cuda.graph(graph):
            alive = _round(copies, calls)
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        bench.finish()
        return None
    del alive

    def replay() -> None:
        graph.replay()

    return replay


def _between_events(bench: Bench, run: Call, samples: int) -> list[float]:
    """All samples are queued before the first is waited for: no gap of the host falls between the events."""
    event = bench.torch.cuda.Event
    marks = [(event(enable_timing=True), event(enable_timing=True)) for _ in range(samples)]
    for _ in range(WARM_UPS):
        run()
    for start, end in marks:
        start.record()
        run()
        end.record()
    bench.finish()
    return [start.elapsed_time(end) * 1e6 for start, end in marks]
