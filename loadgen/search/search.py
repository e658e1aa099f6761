"""The search itself, as a generator: it yields probes, is sent judgements, and returns its answer.

1. a ladder of closed loops, 1, 2, 4 … in flight, until the throughput stops growing: the plateau is a first capacity
2. beyond it, an open loop that overloads the server: what it completes then is its capacity, measured directly
3. inside, open loops: one that must be stable, bisection where it is not; two more show where the latency bends
4. at the answer, a longer run that must hold
5. with an SLO, open loops at the best estimate of the highest rate within it, until that is narrow enough

It is deterministic: fed the same judgements it asks for the same probes, so an interrupted search is resumed by feeding
it what was measured before. It must never look at a clock; the budget is the sum of the probes' own durations.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass, field

from loadgen.analysis.slo import Slo
from loadgen.search import words
from loadgen.search.asking import INSIDE, PART, Limits, State
from loadgen.search.estimates import (
    Pairs,
    Rate,
    agree,
    bracket,
    capacity,
    collapses,
    most_completed,
    open_probes,
    peak_tokens,
    saturated,
)
from loadgen.search.knee import knee
from loadgen.search.ladder import again, climb
from loadgen.search.probe import Judged, Kind, Probe, Purpose
from loadgen.search.within import FEW, goodput, seen
from loadgen.units import NS_PER_S, format_number

BEYOND = 1.3  # times the most completed: overloaded for certain, and the batch is full before the window begins
GROWING = 2 * BEYOND  # times the most completed, where the climb ended before the plateau: it may be one doubling off
RAISE = 1.5  # times a rate that did not overload the server for certain; more where the climb ended early
BACK, HELD = 0.7, 6  # steps down from where the client was the limit, and how many
ABOVE, BELOW = 1.12, 0.8  # times the capacity: certainly decided, soon
INSIDE_LEAST = 0.03  # of the budget: its latency is wanted too
BELOW_KEPT = 0.25  # of the budget, from the first overload
BENDS = (0.5, 0.65)  # times the capacity: where latency rises, the knee of most servers is near
SUSTAIN_RUNS = 3  # it fails, it fails again, and the answer that was stepped back to
SUSTAIN = 0.05  # of the budget, at least; twice that at most
SLO_PARTS, SLO_LEAST = 3.0, 0.06  # a probe has a third of what is left, and no less than this of the budget
RELAXATIONS = 6.0  # times 1 / (capacity · (1 − load)²): so long a queue remembers that it began empty
NEAR = 0.75  # of the capacity: where most servers' SLO holds, or is missed not by far
SLO_REQUESTS = 60  # in the window of a probe: fewer say nothing of an SLO
WINDOW = 4 / 3  # of a probe's time the first quarter is not judged
BISECTIONS, SLO_PROBES = 8, 16

__all__ = ["Answer", "Limits", "Pairs", "Probing", "answer_of", "search"]

Probing = Generator[Probe, Judged, "Answer"]


@dataclass(slots=True)
class Answer:
    """What was found; None for what was not. `notes` say, in order, what was decided and why."""

    stable: Rate | None = None
    goodput: Rate | None = None
    knee: Rate | None = None
    tokens: Rate | None = None
    plateau: Probe | None = None
    problem: str = ""  # what could not be found, why, and what would settle it
    sustained: float | None = None  # the highest rate that certainly held
    notes: list[str] = field(default_factory=list)


def search(limits: Limits, slo: Slo | None = None, made: Pairs | None = None) -> Probing:
    """The whole search. Send it the judgement of each probe that it yields; the answer is the generator's value.

    `made`: what another version's search has seen already; this one goes on from there.
    """
    return (yield from _search(State(limits, slo, list(made or []))))


def _search(state: State) -> Probing:
    grows = False
    if not most_completed(state.made):
        grows = yield from climb(state)
        if not grows and most_completed(state.made):
            yield from again(state)
    if most_completed(state.made):
        yield from _beyond(state, GROWING if grows else BEYOND)
        yield from _inside(state)
        yield from _sharpen(state)
        yield from _sustain(state)
        if state.slo is not None:
            yield from _within_slo(state)
    return _answer(state)


def answer_of(made: Pairs, limits: Limits, slo: Slo | None = None) -> Answer:
    """What these probes, in their order, have shown so far: for a search that was cut short, or another version's."""
    state = State(limits, slo)
    asking = _search(state)
    try:
        asked = next(asking)
        for probe, judged in made:
            if probe != asked:
                return _answer(State(limits, slo, made, [words.OTHER]))
            asked = asking.send(judged)
    except StopIteration as end:
        answer: Answer = end.value
        return answer
    state.notes.append(words.CUT)
    return _answer(state)


def _beyond(state: State, factor: float) -> Generator[Probe, Judged, None]:
    """Overload it, with more than it was ever seen to complete: raise the rate until it certainly falls behind."""
    rate = factor * most_completed(state.made)
    while state.can_afford() and not saturated(state.made):
        estimate = most_completed(state.made)
        judged = yield from _overload(state, rate, estimate, PART)
        if judged.problem:
            if rate <= ABOVE * estimate:
                yield from _held(state, rate)
                return
            rate = ABOVE * estimate
        elif not saturated(state.made):
            state.notes.append(f"{format_number(rate)} req/s is {judged.verdict or 'unresolved'}: no overload.")
            rate *= factor * RAISE if factor > BEYOND else RAISE


def _held(state: State, rate: float) -> Generator[Probe, Judged, None]:
    """What the server keeps up with as far as this client reaches."""
    for _ in range(HELD):
        rate *= BACK
        if not state.can_afford():
            return
        judged = yield from state.open(rate, Purpose.INSIDE)
        if judged.counts and judged.verdict == "stable":
            return


def _overload(state: State, rate: float, estimate: float, part: float) -> Generator[Probe, Judged, Judged]:
    """No longer than until the queue that it builds is all that this client can have in flight."""
    most_ns = state.limits.in_flight_max / max(rate - estimate, 1e-9) * NS_PER_S
    if not saturated(state.made):  # whether it keeps up below is to be seen too
        most_ns = min(most_ns, max(state.left_ns - BELOW_KEPT * state.limits.budget_ns, 2 * state.shortest_ns))
    width = part * state.limits.precision
    return (yield from state.open(rate, Purpose.BEYOND, at_most_ns=most_ns, width=width))


def _inside(state: State) -> Generator[Probe, Judged, None]:
    """Certainly below; when that is not stable, or more than the capacity is, bisect between what is known."""
    found = capacity(state.made)
    if found is None or not saturated(state.made) or not state.can_afford():
        return
    if collapses(state.made):
        rate = 0.9 * max(j.throughput.value for p, j in state.made if p.purpose is Purpose.PLATEAU and j.throughput)
        state.notes.append(words.collapse(rate))
        yield from state.open(rate, Purpose.INSIDE)
    yield from _below(state, BELOW * found.value)
    for _ in range(BISECTIONS):
        low, high = bracket(state.made)
        now = capacity(state.made)
        if now is None or not state.can_afford() or (low >= 0.99 * BELOW * now.value and low < now.value):
            break
        if low and high / low < 1 + 2 * state.limits.precision:
            break
        high = min(high, now.value) if low < now.value else high
        yield from _below(state, math.sqrt(low * high) if low else high / 2)
    for share in BENDS:
        now = capacity(state.made)
        if now is None or not saturated(state.made) or not state.can_afford():
            return
        yield from _below(state, share * now.value)


def _below(state: State, rate: float) -> Generator[Probe, Judged, None]:
    """One probe of the rate; the last that can be afforded has all the time that is left."""
    budget_ns, free_ns = state.limits.budget_ns, state.free_ns
    most_ns = INSIDE * budget_ns if free_ns - INSIDE * budget_ns > state.shortest_ns else free_ns
    yield from state.open(rate, Purpose.INSIDE, at_least_ns=INSIDE_LEAST * budget_ns, at_most_ns=most_ns)


def _sharpen(state: State) -> Generator[Probe, Judged, None]:
    """More of the overload where the interval is still wider than asked."""
    for factor in (1.2, 1.25, 1.15):
        found = capacity(state.made)
        if found is None or not saturated(state.made) or not state.can_afford():
            return
        if found.half <= state.limits.precision * found.value:
            return
        rate = max(factor * found.value, ABOVE * most_completed(state.made))  # a speed that wanders was higher before
        yield from _overload(state, rate, found.value, 1.0)


def _sustain(state: State) -> Generator[Probe, Judged, None]:
    """At the lower end of the interval the server must hold. When it does not, once more; then step back and say so."""
    if not saturated(state.made):
        return
    least_ns = SUSTAIN * state.limits.budget_ns
    for _ in range(SUSTAIN_RUNS):
        found = capacity(state.made)
        if found is None or not state.can_afford():
            return
        rate = min(found.low or found.value, found.value * (1 - state.limits.precision))
        judged = yield from state.open(rate, Purpose.SUSTAIN, at_least_ns=least_ns, at_most_ns=2 * least_ns)
        if judged.verdict != "unstable":
            return
        state.notes.append(f"The sustain run at {format_number(rate)} req/s did not hold.")


def _within_slo(state: State) -> Generator[Probe, Judged, None]:
    """Probe at the best estimate of the highest rate within the SLO until that is as narrow as asked."""
    single = next((j for p, j in state.made if p.kind is Kind.CLOSED and p.level == 1 and j.counts), None)
    limits = state.limits
    for number in range(SLO_PROBES):
        found = _bound(state.made)
        if found is None or not found.value or state.left_ns < state.shortest_ns:
            return
        within = goodput(state.made, found)
        if not number and single is not None and single.slo_verdict == "missed":
            rate = FEW * found.value  # one at a time missed it already: hardly anything may still be within
        elif within is None or not seen(state.made):
            rate = NEAR * _upper(state.made, found.value)  # nothing is known yet: from near the capacity downward
        elif within.half <= limits.precision * within.value or within.value == 0:
            return
        else:
            tried = min(p.level for p, j in open_probes(state.made) if j.slo)  # below it little is known: no long step
            rate = min(max(within.value, FEW * found.value, tried / 2), (1 - limits.precision) * found.value)
        enough_ns = _long_enough_ns(state, rate)
        if state.left_ns < enough_ns:
            return
        part_ns = max(state.left_ns / SLO_PARTS, SLO_LEAST * limits.budget_ns, enough_ns)
        part_ns = part_ns if 2 * part_ns < state.left_ns else state.left_ns
        rest_ns = RELAXATIONS / (found.value * (1 - rate / found.value) ** 2) * NS_PER_S
        yield from state.open(rate, Purpose.SLO, at_least_ns=min(rest_ns, part_ns), at_most_ns=part_ns)


def _bound(made: Pairs) -> Rate | None:
    """What bounds the rate within the SLO: the capacity; where that is not known, the most a closed loop completed."""
    closed = [j.throughput for p, j in made if p.kind is Kind.CLOSED and j.counts and j.throughput and not j.unsteady]
    best = max(closed, key=lambda each: each.value, default=None)
    plateau = None if best is None else Rate(best.value, best.low, best.high, "closed loop")
    return capacity(made) or plateau


def _upper(made: Pairs, found: float) -> float:
    """What the highest rate within the SLO is not above: the capacity, what fell behind, and what a closed loop missed
    it with, where requests come more evenly than in an open one."""
    behind = [p.level for p, j in open_probes(made) if j.verdict == "unstable"]
    missed = [
        j.throughput.value for p, j in made if p.kind is Kind.CLOSED and j.slo_verdict == "missed" and j.throughput
    ]
    return min([found, *behind, *missed])


def _long_enough_ns(state: State, rate: float) -> float:
    """The shortest probe of which an SLO can be judged at all."""
    return max(state.shortest_ns, WINDOW * (state.settle_ns + SLO_REQUESTS / rate * NS_PER_S))


def _answer(state: State) -> Answer:
    made = state.made
    found = capacity(made)
    answer = Answer(stable=found, tokens=peak_tokens(made), notes=state.notes)
    answer.plateau = next((p for p, j in made if p.purpose is Purpose.PLATEAU and j.counts), None)
    answer.sustained = bracket(made)[0] or None
    if not agree(saturated(made)) and not collapses(made):
        answer.notes.append(words.changes(saturated(made)))
    if found is not None:
        answer.knee = knee(made, found) if saturated(made) else None
    bound = _bound(made)
    if state.slo is not None and bound is not None:
        answer.goodput = goodput(made, bound)
    answer.problem = words.problem(made, found, answer.goodput, state.slo, state.limits.budget_ns)
    return answer
