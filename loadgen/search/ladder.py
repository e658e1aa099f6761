"""The ladder: closed loops, 1, 2, 4 … in flight, until the throughput stops growing. It cannot overload a server.

Where the plateau is, and not how high: a rung ends as soon as it has certainly grown or certainly not. One that cannot
see enough answers in its time ends at once for a rung with more in flight; one that sees enough of them, but none of
their turns, is made again for longer. Only the plateau or the budget ends the climb.
"""

from collections.abc import Generator

from loadgen.search import words
from loadgen.search.asking import GROWTH, PART, PROBE_SHARE, RUNG_SHARE, State
from loadgen.search.probe import COMPLETIONS_MIN, UNJUDGED, Judged, Kind, Probe, Purpose
from loadgen.units import NS_PER_S

LINEAR = 0.85  # a rung that gives this share of what as many alone would is far from the plateau: 4 times as high next
ROOM = 8.0  # answers of the rung before, one after the other: what twice as many need for their turns, and some more
SINGLE_WIDTH = 0.06  # of one in flight: where the latency curve begins


def climb(state: State) -> Generator[Probe, Judged, bool]:
    """Climb until the throughput stops growing; returns whether it still grew when the budget ended."""
    limits, notes = state.limits, state.notes
    level, best, alone = 1, 0.0, 0.0  # alone: throughput per request in flight, where they hardly share anything
    at_most = limits.budget_ns * RUNG_SHARE
    while True:
        at_most = max(limits.shortest_ns, min(at_most, state.climb_ns))
        width = SINGLE_WIDTH if level == 1 else None
        against = GROWTH * best if best else None
        judged = yield from state.ask(
            Probe(Kind.CLOSED, level, Purpose.LADDER, limits.shortest_ns, at_most, width=width, against=against)
        )
        if judged.problem or (judged.failed and not judged.completed):
            notes.append(words.rung_says_nothing(level, judged))
            return False
        highest = level >= limits.in_flight_max
        step = 2
        if judged.throughput is None:
            notes.append(words.rung_says_nothing(level, judged))
            seen = (1 - UNJUDGED) * judged.completed >= COMPLETIONS_MIN
            step = 1 if seen or highest else 4  # more at once complete more, later
        else:
            rate = judged.throughput
            if judged.unsteady:
                notes.append(f"{level} in flight: {judged.unsteady}; it does not say where the plateau is.")
            elif best and rate.high < GROWTH * best:
                notes.append(words.plateau(level, rate.value, best))
                return False
            if highest:
                notes.append(f"{level} in flight is the most this client was allowed; the throughput still grew.")
                return False
            if alone and rate.value > LINEAR * level * alone and level > 1:
                step = 4
            best, alone = max(best, rate.value), alone or rate.value / level
        stay_ns = _stay_ns(level, judged)
        at_most = max(limits.budget_ns * RUNG_SHARE, ROOM * stay_ns)
        if state.climb_ns < max(limits.shortest_ns, ROOM / 2 * stay_ns):
            notes.append(f"{level} in flight: the climb's share of the budget is spent; the throughput still grew.")
            return True
        level = min(step * level, limits.in_flight_max)


def _stay_ns(level: float, judged: Judged) -> float:
    """How long answers take, by Little's law; where too few ended, the least that it can be."""
    if judged.throughput is not None:
        return level / judged.throughput.value * NS_PER_S
    return level * judged.duration_ns / (judged.completed + level)


def again(state: State) -> Generator[Probe, Judged, None]:
    """Twice the last rung, where there is time for it, afresh: that rung was chosen for not growing, so its own figure
    leans downward.
    """
    limits = state.limits
    highest, judged = max(((p.level, j) for p, j in state.made if j.counts), key=lambda each: each[0])
    at_most = max(limits.shortest_ns, limits.budget_ns * PROBE_SHARE / 2)
    level = min(2 * highest if ROOM * _stay_ns(highest, judged) < at_most else highest, limits.in_flight_max)
    width = PART * limits.precision
    yield from state.ask(Probe(Kind.CLOSED, level, Purpose.PLATEAU, limits.shortest_ns, at_most, width=width))
