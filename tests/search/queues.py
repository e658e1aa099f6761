"""Servers on virtual time whose capacity is known, and the driver of the search: no clock, no socket, no waiting.

`Station`: c servers, first come, first served; its capacity is c / mean service time, whatever arrives.
`Engine`: the simulator's own batching, KV cache and step times; its capacity comes from a long run.
Either makes a `run(probe, seed)` whose `seen(until_ns)` is all that had happened by then, computed no further.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loadgen.analysis.observed import Observed
from loadgen.analysis.slo import Slo
from loadgen.schedule.spacing import unit_arrivals
from loadgen.search.probe import Judged, Kind, Probe, Workload, is_enough, judge
from loadgen.search.search import Answer, Limits, search
from loadgen.simulator.batching import Batch
from loadgen.simulator.engine import Engine as BatchEngine
from loadgen.simulator.engine import SteppedEngine
from loadgen.simulator.kv_cache import BlockPool
from loadgen.simulator.policies import POLICIES
from loadgen.simulator.sequence import Sequence, State

NS = 1e9  # per s
FOREVER_NS = 1e30
BLOCK = 1024
Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], tuple[Floats, ...]]


def arrivals(probe: Probe, burstiness: float, seed: int) -> Iterator[float]:
    """When requests come, s."""
    for block in unit_arrivals(burstiness, seed):
        yield from (block / probe.level).tolist()


# -- c servers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Station:
    """`draw(rng, n)`: float64[n] each: s until the first token, s until the last, tokens of prompt and of answer."""

    name: str
    draw: Draw
    capacity: float
    servers: int = 1
    burstiness: float = 1.0
    workload: Workload = Workload(1.0, 1.0)  # noqa: RUF009 - frozen
    slows: Callable[[int], float] | None = None  # how many times longer service takes with so many waiting

    def run(self, probe: Probe, seed: int) -> "StationRun":
        return StationRun(self, probe, seed)


class StationRun:
    """Request after request: in service when a server is free, in the order of arrival."""

    def __init__(self, station: Station, probe: Probe, seed: int) -> None:
        self._station, self._probe = station, probe
        self._rng = np.random.default_rng([seed, 7])
        self._free = [0.0] * station.servers
        self._slots = [0.0] * int(probe.level) if probe.kind is Kind.CLOSED else []
        self._comes = arrivals(probe, station.burstiness, seed)
        self._next = 0.0 if self._slots else next(self._comes)
        self._drawn: Iterator[tuple[float, ...]] = iter(())
        self._rows: list[tuple[float, ...]] = []
        self._in_flight: list[float] = []

    def seen(self, until_ns: float) -> Observed:
        until, rows, free, slots = until_ns / NS, self._rows, self._free, self._slots
        slows, in_flight = self._station.slows, self._in_flight
        while self._next <= until:
            start = self._next
            first, service, prompt, answer = self._draw()
            if slows is not None:
                while in_flight and in_flight[0] <= start:
                    heapq.heappop(in_flight)
                service *= slows(len(in_flight))
            begin = max(start, free[0])
            end = begin + service
            heapq.heapreplace(free, end)
            if slows is not None:
                heapq.heappush(in_flight, end)
            rows.append((start, begin + first, end, prompt, answer))
            if slots:
                heapq.heapreplace(slots, end)
                self._next = slots[0]
            else:
                self._next = next(self._comes)
        starts, firsts, ends, prompts, answers = np.array(rows).T if rows else np.empty((5, 0))
        ones = np.ones(len(starts))
        whole = Observed(
            starts * NS, firsts * NS, ends * NS, ones, prompts, answers, np.zeros(len(starts), bool), FOREVER_NS
        )
        return whole.upto(until_ns)

    def _draw(self) -> tuple[float, ...]:
        row = next(self._drawn, None)
        if row is None:
            self._drawn = iter(np.stack(self._station.draw(self._rng, BLOCK), axis=1).tolist())
            row = next(self._drawn)
        return row


def _whole(service: Floats) -> tuple[Floats, ...]:
    """Answers of one token, that come when all is done."""
    return service, service, np.ones(len(service)), np.ones(len(service))


def md1(mean_s: float = 0.02, **changes: object) -> Station:
    """Every request takes the same time."""
    return Station("M/D/1", lambda rng, n: _whole(np.full(n, mean_s)), 1 / mean_s, **changes)  # type: ignore[arg-type]


def mm1(mean_s: float = 0.02, **changes: object) -> Station:
    """Exponential service."""
    return Station("M/M/1", lambda rng, n: _whole(rng.exponential(mean_s, n)), 1 / mean_s, **changes)  # type: ignore[arg-type]


def slots(
    servers: int, ttft_s: float, itl_s: float, answers: Callable[[np.random.Generator, int], Floats], mean: float
) -> Station:
    """Batch-limited, every token `itl_s` after the one before: capacity = slots / (ttft + (mean answer − 1) · itl)."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Floats, ...]:
        lengths = answers(rng, n)
        return np.full(n, ttft_s), ttft_s + (lengths - 1) * itl_s, np.full(n, 20.0), lengths

    capacity = servers / (ttft_s + (mean - 1) * itl_s)
    return Station(f"{servers} slots", draw, capacity, servers, workload=Workload(20.0, mean))


@cache
def s2l_lengths() -> Floats:
    """The answers of S2L, float64[1000]."""
    table = np.loadtxt(Path(__file__).parents[2] / "traces" / "s2l.csv", delimiter=",", skiprows=1, usecols=(-2, -1))
    return np.asarray(table, np.float64)


# -- the simulator --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Engine:
    """`build(seed)` makes the simulator's engine; `lengths(rng, n)`: int64[n, 2], tokens of prompts and answers."""

    name: str
    build: Callable[[int], BatchEngine]
    lengths: Callable[[np.random.Generator, int], npt.NDArray[np.int64]]
    workload: Workload
    capacity: float = 0.0
    burstiness: float = 1.0

    def run(self, probe: Probe, seed: int) -> "EngineRun":
        return EngineRun(self, probe, seed)

    def with_capacity_of_a_long_run(self, in_flight: int = 600, seconds: float = 4000.0) -> "Engine":
        """Closed loop, always more than enough waiting: tokens/s over mean tokens, which needs no luck with lengths."""
        whole_ns = seconds * NS
        probe = Probe(Kind.CLOSED, in_flight, "ladder", whole_ns, whole_ns)  # type: ignore[arg-type]
        run = self.run(probe, 123456)
        seen = run.seen(whole_ns)
        judged = judge(probe, seen, self.workload)
        assert judged.throughput is not None
        return replace(self, capacity=judged.throughput.value)


class EngineRun:
    def __init__(self, engine: Engine, probe: Probe, seed: int) -> None:
        self._source, self._probe = engine, probe
        self._engine = engine.build(seed)
        self._rng = np.random.default_rng([seed, 7])
        self._lengths: Iterator[list[int]] = iter(())
        self._sequences: list[Sequence] = []
        self._closed = probe.kind is Kind.CLOSED
        self._comes = arrivals(probe, engine.burstiness, seed)
        if self._closed:
            for _ in range(int(probe.level)):
                self._submit(0)
        else:
            self._next_ns = round(next(self._comes) * NS)

    def seen(self, until_ns: float) -> Observed:
        engine = self._engine
        while True:
            due_ns = engine.next_due_ns
            if not self._closed and self._next_ns <= until_ns and (due_ns is None or self._next_ns <= due_ns):
                self._submit(self._next_ns)
                self._next_ns = round(next(self._comes) * NS)
            elif due_ns is not None and due_ns <= until_ns:
                for sequence in engine.advance():
                    if self._closed and sequence.state is State.FINISHED:
                        self._submit(due_ns)
            else:
                return self._observed(until_ns)

    def _submit(self, at_ns: int) -> None:
        row = next(self._lengths, None)
        if row is None:
            self._lengths = iter(self._source.lengths(self._rng, BLOCK).tolist())
            row = next(self._lengths)
        prompt, answer = row
        sequence = Sequence(int(at_ns), prompt, answer)
        self._sequences.append(sequence)
        self._engine.submit([sequence])

    def _observed(self, until_ns: float) -> Observed:
        batch = self._engine.batch  # type: ignore[attr-defined]
        rows = []
        for each in self._sequences:
            if each.end_ns:
                rows.append((each.arrival_ns, each.first_ns, each.end_ns, 1.0, each.input_tokens, each.output_tokens))
            elif each.first_ns:
                emitted = each.emitted
                if each in batch.decoding:
                    emitted = each.offset + batch.round - each.input_tokens
                share = emitted / each.output_tokens
                rows.append((each.arrival_ns, each.first_ns, np.nan, share, each.input_tokens, each.output_tokens))
            else:
                rows.append((each.arrival_ns, np.nan, np.nan, 0.0, each.input_tokens, each.output_tokens))
        table = np.array(rows, np.float64) if rows else np.empty((0, 6))
        return Observed(*np.ascontiguousarray(table.T), np.zeros(len(table), bool), until_ns)


def uniform(
    prompts: tuple[int, int], answers: tuple[int, int]
) -> tuple[Callable[..., npt.NDArray[np.int64]], Workload]:
    """Both ends included, and the means."""

    def lengths(rng: np.random.Generator, n: int) -> npt.NDArray[np.int64]:
        return np.stack((rng.integers(*prompts, n, endpoint=True), rng.integers(*answers, n, endpoint=True)), axis=1)

    return lengths, Workload(sum(prompts) / 2, sum(answers) / 2)


def stepped(
    name: str,
    prompts: tuple[int, int],
    answers: tuple[int, int],
    *,
    seqs: int,
    kv_tokens: int,
    policy: str = "chunked",
    budget: int = 2048,
    host_ms: float = 20.0,
    prefill_us: float = 0.0,
    row_us: float = 0.0,
) -> Engine:
    """A step takes host_ms + prefill_us · tokens of prompts + row_us · sequences that decode."""
    lengths, workload = uniform(prompts, answers)

    def build(seed: int) -> BatchEngine:
        batch = Batch(BlockPool(kv_tokens // 16), POLICIES[policy], seqs, budget)
        return SteppedEngine(
            batch,
            lambda step: round(1e6 * host_ms + 1e3 * (prefill_us * step.prefill_tokens + row_us * step.decode_rows)),
        )

    return Engine(name, build, lengths, workload)


# -- the driver -----------------------------------------------------------------------------------------------------

Server = Station | Engine


def measure(server: Server, probe: Probe, seed: int, slo: Slo | None = None) -> Judged:
    """One probe, looked at as the contract has it."""
    run, until_ns = server.run(probe, seed), 0.0
    while True:
        until_ns = probe.next_look_ns(until_ns)
        judged = judge(probe, run.seen(until_ns), server.workload, slo)
        if is_enough(probe, judged) or until_ns >= probe.at_most_ns:
            return judged


def drive(
    server: Server, limits: Limits, seed: int, slo: Slo | None = None, blame: Callable[[Probe], str] = lambda probe: ""
) -> tuple[Answer, list[tuple[Probe, Judged]]]:
    """The whole search; every probe has a seed of its own. `blame` may find the client guilty."""
    asking = search(limits, slo)
    made: list[tuple[Probe, Judged]] = []
    judged: Judged | None = None
    while True:
        try:
            probe = next(asking) if judged is None else asking.send(judged)
        except StopIteration as end:
            return end.value, made
        judged = replace(measure(server, probe, seed * 1000 + len(made), slo), problem=blame(probe))
        made.append((probe, judged))
