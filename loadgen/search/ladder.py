"""The ladder: closed loops, 1, 2, 4 … in flight, until the throughput stops growing. It cannot overload a server."""

from collections.abc import Generator

from loadgen.search import words
from loadgen.search.asking import LADDER_SHARE, PART, PROBE_SHARE, State
from loadgen.search.probe import Judged, Kind, Probe, Purpose
from loadgen.units import NS_PER_S

GROWTH = 1.10  # a rung whose throughput is for certain not 10 % above the one before has reached the plateau
LINEAR = 0.85  # a rung that gives this share of level · X(1) is far from the plateau: the next is 4 times as high
RUNG_WIDTH = 0.06
SETTLE = 1.5  # mean latencies before the window of an open loop begins


def climb(state: State) -> Generator[Probe, Judged, float | None]:
    """Climb until the throughput stops growing; returns the plateau in requests/s."""
    level, before, single, best = 1, 0.0, 0.0, 0.0
    limits, notes = state.limits, state.notes
    share_ns = limits.budget_ns * LADDER_SHARE
    rung_ns = share_ns / 4
    while True:
        left_ns = share_ns - (limits.budget_ns - state.left_ns)
        at_most = max(limits.shortest_ns, min(rung_ns, left_ns))
        judged = yield from state.ask(
            Probe(Kind.CLOSED, level, Purpose.LADDER, limits.shortest_ns, at_most, width=RUNG_WIDTH)
        )
        if not judged.counts or judged.throughput is None:
            notes.append(words.rung_says_nothing(level, judged))
            hopeful = not judged.problem and (judged.completed or not judged.failed) and not best
            if not hopeful or level >= limits.in_flight_max or share_ns <= limits.budget_ns - state.left_ns:
                return best or None
            level, rung_ns = min(4 * level, limits.in_flight_max), 2 * rung_ns  # more at once complete more, later
            continue
        rate, latency = judged.throughput, judged.latency_s
        if latency is not None and (not state.settle_ns or rate.value > 1.1 * best):
            # the latency where the throughput still grew: that of a full server without a queue
            state.settle_ns = SETTLE * latency.value * NS_PER_S
        best = max(best, rate.value)
        single = single or rate.value
        if judged.unsteady:
            notes.append(f"{level} in flight: {judged.unsteady}; it does not say where the plateau is.")
        elif before and rate.high < GROWTH * before:
            notes.append(words.plateau(level, rate.value, before))
            return best
        if level >= limits.in_flight_max:
            notes.append(f"{level} in flight is the most this client was allowed; the throughput still grew.")
            return best
        if share_ns <= limits.budget_ns - state.left_ns:
            notes.append(f"{level} in flight: the ladder's share of the budget is spent.")
            return best
        before = rate.value
        linear = level > 1 and rate.value > LINEAR * level * single
        level = min(level * (4 if linear else 2), limits.in_flight_max)


def again(state: State) -> Generator[Probe, Judged, None]:
    """Twice the last rung, afresh: that rung was chosen for not growing, so its own figure leans downward."""
    highest = max(probe.level for probe, judged in state.made if judged.counts)
    level = min(2 * highest, state.limits.in_flight_max)
    at_most = max(state.limits.shortest_ns, state.limits.budget_ns * PROBE_SHARE / 2)
    width = PART * state.limits.precision
    yield from state.ask(Probe(Kind.CLOSED, level, Purpose.PLATEAU, state.limits.shortest_ns, at_most, width=width))
