"""The sentences of the search: what could not be found, why, and what would settle it; what was decided on the way."""

from math import ceil

from loadgen.analysis.slo import Slo
from loadgen.search.asking import INSIDE
from loadgen.search.estimates import Pairs, Rate, bracket, most_completed, open_probes, saturated
from loadgen.search.probe import COMPLETIONS_MIN, Judged, Kind
from loadgen.units import NS_PER_S, format_number

ANSWERS = 16.0  # one after the other: a probe that lasts so long has mostly decided whether a backlog returns
CUT = "The search was cut short; this is what it knew by then."
OTHER = "Another version chose these probes, or a part of them; what they show was worked out again."


def rung_says_nothing(level: int, judged: Judged) -> str:
    """Why the ladder ends at a rung that does not count."""
    if judged.problem:
        return f"{level} in flight does not count: {judged.problem}"
    seconds = format_number(judged.duration_ns / NS_PER_S)
    return f"{level} in flight: {judged.completed} requests completed in {seconds} s, too few to say anything."


def plateau(level: int, rate: float, before: float) -> str:
    """Why the ladder ends where it should."""
    return f"{level} in flight: {format_number(rate)} req/s is not 10 % above {format_number(before)}: the plateau."


def collapse(rate: float) -> str:
    """Why a rate above the overloaded completions is tried."""
    return (
        f"Overloaded it completed less than in a closed loop: {format_number(rate)} req/s shows whether it collapses."
    )


def changes(busy: Pairs) -> str:
    """Why the interval is as wide as it is."""
    known = sorted(j.throughput.value for _, j in busy if j.throughput is not None)
    return (
        f"Always busy it completed between {format_number(known[0])} and {format_number(known[-1])} req/s, which is no "
        "luck: its speed changes from probe to probe, and the interval spans all of it."
    )


def problem(made: Pairs, found: Rate | None, within: Rate | None, slo: Slo | None, budget_ns: float) -> str:
    """All that the user has to know before the figures; "" when there is nothing."""
    told = [_capacity_problem(made, found, budget_ns)]
    if slo is not None and any(j.counts for _, j in made):
        told.append(_slo_problem(made, within, slo))
    return " ".join(each for each in told if each)


def _capacity_problem(made: Pairs, found: Rate | None, budget_ns: float) -> str:
    blamed = [(p, j) for p, j in made if j.problem]
    low, high = bracket(made)
    if not any(j.counts for _, j in made):
        return _nothing(made)
    if saturated(made):
        tried = [p.level for p, _ in open_probes(made) if found is not None and p.level < found.value]
        if not low and found is not None:
            below = f"down to {format_number(min(tried))} req/s" if tried else "since there was no time to try one"
            return (
                f"No rate was certainly stable, {below}, although it completes {format_number(found.value)} req/s when "
                f"overloaded: --budget {_enough_s(made, found, budget_ns)}s should settle it."
            )
        return ""
    held = f"it kept up with {format_number(low)} req/s" if low else "no rate was certainly stable"
    if blamed:
        probe, judged = blamed[-1]
        return (
            f"This client could not saturate the server: {held}, and at {probe.in_words()} the client was the limit "
            f"({judged.problem}). More load processes, or a machine of its own for the client, would settle it."
        )
    most = most_completed(made)
    seen = f"; the most that it completed was {format_number(most)} req/s" if most else ""
    if high < float("inf") or open_probes(made):
        return f"The server was never clearly overloaded: {held}{seen}. A longer --budget would settle it."
    return f"The server was never overloaded: {held}{seen}. A longer --budget, or more in flight, would settle it."


def _enough_s(made: Pairs, found: Rate, budget_ns: float) -> int:
    """The budget, s, of which a probe below the capacity gets time to be decided: for so many answers one after the
    other, or twice what did not do. In tens of seconds.
    """
    opened = [(p, j) for p, j in open_probes(made) if j.latency_s is not None]
    lowest = min(opened, key=lambda each: each[0].level, default=None)
    needed_ns = 0.0 if lowest is None or lowest[1].latency_s is None else ANSWERS * lowest[1].latency_s.value * NS_PER_S
    needed_ns = max([needed_ns, *(2 * j.duration_ns for p, j in opened if p.level < found.value)])
    return 10 * ceil(max(budget_ns + needed_ns, needed_ns / INSIDE) / NS_PER_S / 10)


def _nothing(made: Pairs) -> str:
    if not made:
        return "Nothing was measured."
    probe, judged = made[-1]
    if judged.problem:
        return f"Already {probe.in_words()} was too much for this client: {judged.problem}"
    if judged.failed and not judged.completed:
        return f"Nothing completed: all {judged.failed} requests that ended had failed."
    seconds = format_number(sum(j.duration_ns for _, j in made) / NS_PER_S)
    if not any(j.completed for _, j in made):
        return f"Nothing completed in {seconds} s: check that the server answers, or give a longer --budget."
    return (
        f"Only {sum(j.completed for _, j in made)} requests completed in {seconds} s; in one probe it takes more than "
        f"{COMPLETIONS_MIN} to say how fast the server is: give a longer --budget, or shorter answers."
    )


def _slo_problem(made: Pairs, within: Rate | None, slo: Slo) -> str:
    if within is None:
        return f"Whether any rate is within {slo.text} is not known: a longer --budget would settle it."
    if within.settled and within.value > 0:
        return ""
    single = next((j for p, j in made if p.kind is Kind.CLOSED and p.level == 1 and j.counts), None)
    worst = "" if single is None else ", ".join(each.text for each in single.slo if each.verdict == "missed")
    alone = (
        f" One request at a time already misses {worst}: the limit is below what the server can do." if worst else ""
    )
    if not within.settled:
        ends = [format_number(each or 0.0) for each in (within.low, within.high)]
        between = f"between {' and '.join(ends)} req/s" if within.high else f"above {ends[0]} req/s"
        return f"Up to which rate {slo.text} holds is not settled: {between}. A longer --budget would settle it.{alone}"
    lowest = "" if within.high is None else f", down to {format_number(within.high)} req/s"
    return f"No rate tried is within {slo.text}{lowest}.{alone}"
