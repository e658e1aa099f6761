"""Queues in numpy whose capacity is known from a formula, as servers for the search; and the driver in virtual time.

`Queue(servers=c, ...)` has the capacity c / mean service time, whatever arrives.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loadgen.analysis.observed import Observed
from loadgen.analysis.slo import Slo
from loadgen.schedule.spacing import unit_arrivals
from loadgen.search.probe import Judged, Kind, Probe, Workload, is_enough, judge
from loadgen.search.search import Answer, Limits, search

S = 1e9
ONE_TOKEN = Workload(1.0, 1.0)


@dataclass
class Queue:
    """First come, first served; answers of one token. `service` draws n service times of mean 1 / (capacity / c)."""

    service: Callable[[np.random.Generator, int], np.ndarray]
    servers: int = 1
    burstiness: float = 1.0
    workload: Workload = ONE_TOKEN
    requests: int = 0

    def run(self, probe: Probe, seed: int, look: Callable[[Observed], bool]) -> None:
        rng = np.random.default_rng(seed)
        most = probe.at_most_ns / S
        if probe.kind is Kind.CLOSED:
            level = int(probe.level)
            n = 64
            starts, ends = np.empty(0), np.empty(0)
            while not len(starts) or starts[-1] < most:
                n *= 4
                starts, ends = self._closed(np.random.default_rng(seed), level, n)
        else:
            blocks, reached = [], 0.0
            for block in unit_arrivals(self.burstiness, seed):
                blocks.append(block)
                reached = block[-1] / probe.level
                if reached > most:
                    break
            starts = np.concatenate(blocks) / probe.level
            starts = starts[starts <= most]
            ends = self._serve(starts, self.service(rng, len(starts)))
        one = np.ones(len(starts))
        whole = Observed(starts * S, ends * S, ends * S, one, one, one, np.zeros(len(starts), bool), 1e30)
        until = 0.0
        while until < probe.at_most_ns:
            until = probe.next_look_ns(until)
            seen = whole.upto(until)
            if look(seen):
                break
        self.requests += int((starts * S <= until).sum())

    def _serve(self, starts: np.ndarray, services: np.ndarray) -> np.ndarray:
        if self.servers == 1:
            sums = np.cumsum(services)
            return sums + np.maximum.accumulate(starts - sums + services)
        free = [0.0] * self.servers
        ends = []
        for start, service in zip(starts.tolist(), services.tolist(), strict=True):
            end = max(start, free[0]) + service
            heapq.heapreplace(free, end)
            ends.append(end)
        return np.array(ends)

    def _closed(self, rng: np.random.Generator, level: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        services = self.service(rng, n)
        free, slots = [0.0] * self.servers, [0.0] * level
        starts, ends = [], []
        for service in services.tolist():
            start = slots[0]
            end = max(start, free[0]) + service
            heapq.heapreplace(free, end)
            heapq.heapreplace(slots, end)
            starts.append(start)
            ends.append(end)
        return np.array(starts), np.array(ends)


def drive(server, limits: Limits, seed: int, slo: Slo | None = None) -> tuple[Answer, list[tuple[Probe, Judged]]]:
    """The whole search in virtual time; every probe has a seed of its own."""
    asking = search(limits, slo)
    made: list[tuple[Probe, Judged]] = []
    judged: Judged | None = None
    try:
        while True:
            probe = next(asking) if judged is None else asking.send(judged)
            found: list[Judged] = []

            def look(seen: Observed, probe: Probe = probe, found: list[Judged] = found) -> bool:
                found[:] = [judge(probe, seen, server.workload, slo)]
                return is_enough(probe, found[0])

            server.run(probe, seed * 1000 + len(made), look)
            judged = found[0]
            made.append((probe, judged))
    except StopIteration as end:
        return end.value, made


def deterministic(mean: float) -> Callable[[np.random.Generator, int], np.ndarray]:
    return lambda rng, n: np.full(n, mean)


def exponential(mean: float) -> Callable[[np.random.Generator, int], np.ndarray]:
    return lambda rng, n: rng.exponential(mean, n)
