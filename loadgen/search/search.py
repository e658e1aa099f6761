"""The search itself, as a generator: it yields probes, is sent judgements, and returns its answer.

1. a ladder of closed loops, 1, 2, 4 … in flight, until the throughput stops growing: the plateau is a first capacity
2. beyond it, an open loop that overloads the server: what it completes then is its capacity, measured directly
3. inside, open loops below and above, until each is certainly stable or certainly not; with an SLO, bisection for it
4. at the answer, a longer run that must hold

It is deterministic: fed the same judgements it asks for the same probes, so an interrupted search is resumed by feeding
it what was measured before. It must never look at a clock; the budget is the sum of the probes' own durations.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass, field

from loadgen.analysis.slo import Slo
from loadgen.search.estimates import Rate, capacity, goodput, knee, peak_tokens
from loadgen.search.probe import Judged, Kind, Probe, Purpose
from loadgen.units import NS_PER_S, format_number

BEYOND = 1.3  # times the plateau: overloaded for certain, and the batch is full before the window begins
ABOVE, BELOW = 1.12, 0.8  # times the capacity: certainly decided, soon
GROWTH = 1.10  # a rung whose throughput is for certain not 10 % above the one before has reached the plateau
LINEAR = 0.85  # a rung that gives this share of level · X(1) is far from the plateau: the next is 4 times as high
RUNG_WIDTH = 0.05
PART = 1.4  # √2: two probes this many times wider than asked make one as narrow as asked
LADDER_SHARE, PROBE_SHARE = 0.3, 0.35  # of the budget: all rungs; any other probe
SETTLE = 1.5  # mean latencies before the window of an open loop begins
AT_LEAST = 3.0  # times that is the shortest open loop
KNEE_BELOW = (0.5, 0.65)

Probing = Generator[Probe, Judged, "Answer"]
Pairs = list[tuple[Probe, Judged]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the search may spend, and how certain it has to become."""

    budget_ns: float
    precision: float = 0.03
    in_flight_max: int = 4096
    shortest_ns: float = 2 * NS_PER_S  # of a probe: below it a real machine's own hiccups decide


@dataclass(slots=True)
class Answer:
    """What was found; None for what was not. `notes` say, in order, what was decided and why."""

    stable: Rate | None = None
    goodput: Rate | None = None
    knee: Rate | None = None
    tokens: Rate | None = None
    plateau: Probe | None = None
    problem: str = ""  # why there is no capacity, and what would settle it
    sustained: float | None = None  # the rate of the last run that held
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _State:
    limits: Limits
    slo: Slo | None
    made: Pairs = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    settle_ns: float = 0.0
    base: Judged | None = None  # one in flight

    @property
    def spent_ns(self) -> float:
        return sum(judged.duration_ns for _, judged in self.made)

    @property
    def left_ns(self) -> float:
        return self.limits.budget_ns - self.spent_ns

    def ask(self, probe: Probe) -> Generator[Probe, Judged, Judged]:
        judged = yield probe
        self.made.append((probe, judged))
        return judged

    def open(
        self, rate: float, purpose: Purpose, *, width: float | None = None, slo: bool = False, longer: float = 1.0
    ) -> Generator[Probe, Judged, Judged]:
        at_least = longer * max(self.limits.shortest_ns, AT_LEAST * self.settle_ns)
        share = self.limits.budget_ns * PROBE_SHARE
        at_most = max(at_least, min(share, self.left_ns))
        probe = Probe(
            Kind.OPEN,
            rate,
            purpose,
            at_least,
            at_most,
            settle_ns=self.settle_ns,
            width=width,
            decide=True,
            slo=slo and self.slo is not None,
        )
        return (yield from self.ask(probe))

    def can_afford(self) -> bool:
        return self.left_ns > max(self.limits.shortest_ns, AT_LEAST * self.settle_ns)


def search(limits: Limits, slo: Slo | None = None) -> Probing:
    """The whole search. Send it the judgement of each probe that it yields; the answer is the generator's value."""
    state = _State(limits, slo)
    plateau = yield from _ladder(state)
    if plateau is None:
        return _answer(state, "nothing completed, or only failures")
    yield from _plateau(state)
    overloaded = yield from _beyond(state, plateau)
    found = capacity(state.made)
    if found is not None:
        yield from _inside(state)
        if slo is not None:
            yield from _within_slo(state)
        yield from _sharpen(state)
        yield from _sustain(state)
    return _answer(state, "" if overloaded else "not overloaded")


def _ladder(state: _State) -> Generator[Probe, Judged, float | None]:
    """Climb until the throughput stops growing; returns the plateau in requests/s."""
    level, before, single = 1, 0.0, 0.0
    best = 0.0
    while True:
        share = state.limits.budget_ns * LADDER_SHARE
        at_most = max(state.limits.shortest_ns, min(share / 4, share - state.spent_ns))
        judged = yield from state.ask(
            Probe(Kind.CLOSED, level, Purpose.LADDER, state.limits.shortest_ns, at_most, width=RUNG_WIDTH)
        )
        if judged.throughput is None or judged.problem:
            reason = judged.problem or "too little completed to say anything"
            state.notes.append(f"{level} in flight: {reason}; the ladder ends here.")
            return best or None
        rate, latency = judged.throughput, judged.latency_s
        if latency is not None and (not best or rate.value > 1.1 * best or not state.settle_ns):
            # the latency where the throughput still grew: that of a full server without a queue
            state.settle_ns = SETTLE * latency.value * NS_PER_S
        best = max(best, rate.value)
        single = single or rate.value
        if before and rate.high < GROWTH * before:
            state.notes.append(
                f"{level} in flight: {format_number(rate.value)} req/s is not 10 % above {format_number(before)}: "
                "the plateau."
            )
            return best
        if level >= state.limits.in_flight_max:
            state.notes.append(f"{level} in flight is the most this client was allowed; the throughput still grew.")
            return best
        if state.spent_ns > share:
            state.notes.append(f"{level} in flight: the ladder's share of the budget is spent.")
            return best
        before = rate.value
        linear = level > 1 and rate.value > LINEAR * level * single
        level = min(level * (4 if linear else 2), state.limits.in_flight_max)


def _plateau(state: _State) -> Generator[Probe, Judged, None]:
    """Twice the last rung, afresh: that rung was chosen for not growing, so its own figure leans downward."""
    level = min(2 * state.made[-1][0].level, state.limits.in_flight_max)
    at_most = max(state.limits.shortest_ns, state.limits.budget_ns * PROBE_SHARE / 2)
    width = PART * state.limits.precision
    yield from state.ask(Probe(Kind.CLOSED, level, Purpose.PLATEAU, state.limits.shortest_ns, at_most, width=width))


def _beyond(state: _State, estimate: float) -> Generator[Probe, Judged, bool]:
    """Overload it: raise the rate until it falls behind. Returns whether it ever did."""
    rate = BEYOND * estimate
    while state.can_afford():
        judged = yield from state.open(rate, Purpose.BEYOND, width=PART * state.limits.precision)
        if judged.problem:
            state.notes.append(f"{format_number(rate)} req/s does not count: {judged.problem}")
            if rate <= ABOVE * estimate:
                return False
            rate = ABOVE * estimate
            continue
        if judged.verdict != "stable":
            return judged.verdict == "unstable"
        state.notes.append(f"{format_number(rate)} req/s is stable: the plateau was too low a bracket.")
        rate, estimate = rate * 1.5, rate
    return False


def _inside(state: _State) -> Generator[Probe, Judged, None]:
    """Certainly below and certainly above; when they disagree with the estimate, bisect between what is known."""
    found = capacity(state.made)
    if found is None or not state.can_afford():
        return
    yield from state.open(BELOW * found.value, Purpose.INSIDE, slo=True)
    for _ in range(8):
        low, high = _bracket(state.made)
        now = capacity(state.made)
        if now is None or not state.can_afford() or low >= now.value * BELOW * 0.99:
            return
        high = min(high, now.value)
        middle = math.sqrt(low * high) if low > 0 else high / 2
        if low > 0 and high / low < 1 + 2 * state.limits.precision:
            return
        yield from state.open(middle, Purpose.INSIDE, slo=True)


def _bracket(made: Pairs) -> tuple[float, float]:
    """(highest rate that was certainly stable, lowest that was certainly not, above it)."""
    opened = [(p.level, j.verdict) for p, j in made if p.kind is Kind.OPEN and j.counts]
    high = min((level for level, verdict in opened if verdict == "unstable"), default=math.inf)
    return max((level for level, verdict in opened if verdict == "stable" and level < high), default=0.0), high


def _within_slo(state: _State) -> Generator[Probe, Judged, None]:
    """Bisect the request rate for the highest that is within the SLO."""
    for _ in range(12):
        found = capacity(state.made)
        if found is None or not state.can_afford():
            return
        opened = [(p.level, j.slo_verdict) for p, j in state.made if p.kind is Kind.OPEN and j.counts]
        missed = min((rate for rate, verdict in opened if verdict == "missed"), default=found.value)
        met = max((rate for rate, verdict in opened if verdict == "met" and rate < missed), default=0.0)
        unresolved = [rate for rate, verdict in opened if verdict == "unresolved" and met < rate < missed]
        if unresolved and met and len(unresolved) > 1:
            return
        if met and missed / met < 1 + 2 * state.limits.precision:
            return
        if not met and missed < found.value / 30:
            return
        current = goodput(state.made, found)
        rate = math.sqrt(met * missed) if met else missed / 2
        if current is not None and current.value and met < current.value < missed:
            rate = min(max(current.value, met * 1.02), missed / 1.02) if met else current.value
            if any(abs(rate / each - 1) < 0.01 for each in unresolved):
                return
        yield from state.open(rate, Purpose.SLO, slo=True)


def _sharpen(state: _State) -> Generator[Probe, Judged, None]:
    """More of the overload where the interval is still wider than asked."""
    for factor in (1.2, 1.25, 1.15):
        found = capacity(state.made)
        if found is None or found.half <= state.limits.precision * found.value or not state.can_afford():
            return
        yield from state.open(factor * found.value, Purpose.BEYOND, width=state.limits.precision)


def _sustain(state: _State) -> Generator[Probe, Judged, None]:
    """At the lower end of the interval the server must hold; when it does not, step back and say so."""
    for _ in range(2):
        found = capacity(state.made)
        if found is None or not state.can_afford():
            return
        rate = min(found.value if found.low is None else found.low, found.value * (1 - state.limits.precision))
        judged = yield from state.open(rate, Purpose.SUSTAIN, longer=2.0)
        if judged.verdict != "unstable":
            return
        state.notes.append(f"The sustain run at {format_number(rate)} req/s did not hold: stepping back.")


def _answer(state: _State, problem: str) -> Answer:
    found = capacity(state.made)
    opened = [(p, j) for p, j in state.made if p.kind is Kind.OPEN and j.counts]
    answer = Answer(notes=state.notes, problem=problem)
    answer.stable = found
    answer.tokens = peak_tokens(state.made)
    if found is not None and found.high is not None:
        answer.knee = knee(state.made, found)
        if state.slo is not None:
            answer.goodput = goodput(state.made, found)
    held = [p.level for p, j in opened if j.verdict == "stable"]
    answer.sustained = max(held, default=None)
    return answer
