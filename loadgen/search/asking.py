"""What the search may spend, what it has made so far, and how it asks for one more probe."""

import math
from collections.abc import Generator
from dataclasses import dataclass, field

from loadgen.analysis.slo import Slo
from loadgen.search.estimates import Pairs, certain
from loadgen.search.probe import Judged, Kind, Probe, Purpose
from loadgen.units import NS_PER_S, format_number

# Of the budget: all rungs, once one of them counts; a rung, where latency does not ask for more; any other probe; what
# is kept for the SLO.
CLIMB_SHARE, RUNG_SHARE, PROBE_SHARE, SLO_SHARE = 0.45, 0.075, 0.35, 0.4
INSIDE = 0.2  # of the budget, for one probe below the capacity: where it stays undecided, a lower rate is sooner
GROWTH = 1.10  # a rung whose throughput is for certain not 10 % above the best before has reached the plateau
SETTLE = 1.5  # mean latencies before the window of an open loop begins
AT_LEAST = 3.0  # times that is the shortest open loop
STEADY_NS, STEADY_SHARE = 15 * NS_PER_S, 0.15
PART = 1.4  # √2: two probes this many times wider than asked make one as narrow as asked


@dataclass(frozen=True, slots=True)
class Limits:
    """What the search may spend, and how certain it has to become.

    in_flight_max   of this client: no rung is higher, and no overload lasts until its queue is longer
    shortest_ns     of a probe: below it a real machine's own hiccups decide
    """

    budget_ns: float
    precision: float = 0.03
    in_flight_max: int = 4096
    shortest_ns: float = 2 * NS_PER_S


@dataclass(slots=True)
class State:
    limits: Limits
    slo: Slo | None
    made: Pairs = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def left_ns(self) -> float:
        return self.limits.budget_ns - sum(judged.duration_ns for _, judged in self.made)

    @property
    def settle_ns(self) -> float:
        """By the latency where the throughput of closed loops still grew: that of a full server without a queue."""
        best = settle_s = 0.0
        for probe, judged in self.made:
            if probe.kind is Kind.CLOSED and judged.throughput is not None and judged.latency_s is not None:
                if judged.throughput.value > GROWTH * best:
                    settle_s = SETTLE * judged.latency_s.value
                best = max(best, judged.throughput.value)
        return settle_s * NS_PER_S

    @property
    def climb_ns(self) -> float:
        """What the climb may still take: all that is left, while answers come and no rung has seen enough of them."""
        blind = any(j.completed for _, j in self.made) and not any(j.counts for _, j in self.made)
        return self.left_ns - (0.0 if blind else (1 - CLIMB_SHARE) * self.limits.budget_ns)

    @property
    def free_ns(self) -> float:
        """What may be spent before the SLO's turn."""
        return self.left_ns - (self.limits.budget_ns * SLO_SHARE if self.slo is not None else 0.0)

    def ask(self, probe: Probe) -> Generator[Probe, Judged, Judged]:
        judged = yield probe
        self.made.append((probe, judged))
        return judged

    def open(
        self,
        rate: float,
        purpose: Purpose,
        *,
        at_least_ns: float = 0.0,
        at_most_ns: float = math.inf,
        width: float | None = None,
    ) -> Generator[Probe, Judged, Judged]:
        at_least = max(self.shortest_ns, at_least_ns)
        slo = purpose is Purpose.SLO
        free_ns = self.left_ns if slo else self.free_ns
        at_most = max(at_least, min(self.limits.budget_ns * PROBE_SHARE, free_ns, at_most_ns))
        judged = yield from self.ask(
            Probe(
                Kind.OPEN,
                rate,
                purpose,
                at_least,
                at_most,
                self.settle_ns,
                width,
                decide=not slo,
                slo=slo,
                completed=certain(self.made),
                steady_ns=min(self.steady_ns, at_most) if width is not None else 0.0,
            )
        )
        if judged.problem:
            self.notes.append(f"{format_number(rate)} req/s does not count: {judged.problem}")
        return judged

    @property
    def shortest_ns(self) -> float:
        return max(self.limits.shortest_ns, AT_LEAST * self.settle_ns)

    @property
    def steady_ns(self) -> float:
        """Of a probe whose throughput is to be the capacity: a real machine's speed wanders for seconds."""
        return min(STEADY_NS, STEADY_SHARE * self.limits.budget_ns)

    def can_afford(self) -> bool:
        return self.free_ns > self.shortest_ns
