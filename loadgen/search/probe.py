"""What the search asks for and what it is told: a probe, and the judgement of what was seen during one.

A judgement is made again at every look while the probe runs, by the same function that judges the whole of it at the
end, so that nothing is decided twice in two ways. Pure: whoever drives the probe owns clock and sockets.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from loadgen.analysis.attainment import Attainment, attainments
from loadgen.analysis.observed import Observed, arrived, progressed
from loadgen.analysis.returning import Stretches, returns
from loadgen.analysis.sample import Bools, Floats
from loadgen.analysis.sequential import FINE, Interval, batch_mean, stability
from loadgen.analysis.slo import Slo
from loadgen.search.filling import renewed_ns
from loadgen.units import NS_PER_S

FAILED_MAX = 0.01  # a larger share of failures is not an accident: what fails was not served
FINER = (1, 2, 4)  # times FINE batches, where the backlog is followed
FAR = 0.87  # of what an overload completed: so much less is not overloaded, however badly the former is known
OVERLOAD_MIN = 0.15  # of what arrives is left behind, in an overload that was meant as one
LOOK_GROWTH = 1.25  # each look comes when this much more has been seen
LATENCIES_MIN = 8
COMPLETIONS_MIN = 20  # fewer say nothing about a spread
UNJUDGED = 0.25  # of a probe's time, its first part
SKIPPED = 2.0  # of an overload the window is no shorter than what is not judged, while there is time
TURNS = 3.0  # mean latencies that a closed loop takes to forget that all began together
LITTLE_MAX = 0.15  # in a steady window Little's law holds to this


class Kind(StrEnum):
    CLOSED = "closed"
    OPEN = "open"


class Purpose(StrEnum):
    """Why a probe is made; for the reader of the probe table."""

    LADDER = "ladder"
    PLATEAU = "plateau"
    BEYOND = "beyond"
    INSIDE = "inside"
    SLO = "slo"
    SUSTAIN = "sustain"


@dataclass(frozen=True, slots=True)
class Workload:
    """The mean prompt and answer of the whole workload: what the requests of one probe happened to be is set off."""

    input_tokens: float
    output_tokens: float


@dataclass(frozen=True, slots=True)
class Probe:
    """A run to be made.

    level        requests in flight (closed) or requests/s (open)
    settle_ns    open: the window begins no earlier; a closed loop finds its own from its latencies
    at_least_ns  no look before; at_most_ns  the end, decided or not
    width        ends when half the interval of the throughput is at most this share of it; None: not asked
    steady_ns    that is not believed before, however narrow it is: a machine's speed wanders for seconds
    decide       ends when stable or unstable;  slo  ends when the SLO is met or missed for certain
    against      ends when the throughput is certainly above this, or certainly below; None: not asked
    completed    requests/s that the server certainly completed when it was overloaded; 0: not known
    """

    kind: Kind
    level: float
    purpose: Purpose
    at_least_ns: float
    at_most_ns: float
    settle_ns: float = 0.0
    width: float | None = None
    decide: bool = False
    slo: bool = False
    against: float | None = None
    completed: float = 0.0
    steady_ns: float = 0.0

    @property
    def far(self) -> bool:
        """Whether the server can certainly do far more than is asked."""
        return self.kind is Kind.OPEN and self.level < FAR * self.completed

    def next_look_ns(self, until_ns: float) -> float:
        """When to look again after a look at `until_ns` (0: the first)."""
        return min(self.at_most_ns, max(self.at_least_ns, until_ns * LOOK_GROWTH))

    def in_words(self) -> str:
        return f"{self.level:.0f} in flight" if self.kind is Kind.CLOSED else f"{self.level:.4g} req/s"


@dataclass(frozen=True, slots=True)
class Judged:
    """What a probe says. Rates are per second, over the window; None where there was too little to say anything.

    throughput   requests completed, little by little, with the lengths' luck set off
    tokens       output tokens/s
    deficit      1 − completed / arrived: the share of what arrives that is left behind
    latency_s    mean time in the system of those that were due in the window
    littles      in flight / (throughput · latency): near 1 in a steady window
    verdict      open: stable, unstable or unresolved; closed: ""
    problem      why it must not count: the client's fault; "" when it counts
    """

    requests: int
    completed: int
    failed: int
    duration_ns: float
    start_ns: float
    end_ns: float
    throughput: Interval | None = None
    tokens: Interval | None = None
    deficit: Interval | None = None
    latency_s: Interval | None = None
    littles: float | None = None
    in_flight: float | None = None
    verdict: str = ""
    slo: tuple[Attainment, ...] = ()
    problem: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)  # the run's point, where there is one

    @property
    def counts(self) -> bool:
        return not self.problem and self.throughput is not None

    @property
    def unsteady(self) -> str:
        """Why a closed loop's window is not steady; "" when it is, and for open loops, which have their verdict."""
        if self.verdict or self.littles is None or abs(self.littles - 1) <= LITTLE_MAX:
            return ""
        return f"Little's law is off by {100 * (self.littles - 1):+.0f} %, so the window was not steady"

    @property
    def slo_verdict(self) -> str:
        """`met`, `missed`, `unresolved`, or "" without an SLO; a server that falls behind meets none for long."""
        verdicts = {each.verdict for each in self.slo}
        if not verdicts:
            return ""
        if "missed" in verdicts or self.verdict == "unstable":
            return "missed"
        return "unresolved" if "unresolved" in verdicts else "met"


def judge(probe: Probe, seen: Observed, workload: Workload, slo: Slo | None = None) -> Judged:
    """The judgement of a probe from what was seen up to `seen.until_ns`."""
    done = seen.done
    settle_ns, shortest_ns = probe.settle_ns, 1.5 * probe.settle_ns
    if probe.kind is Kind.CLOSED and done.any():
        settle_ns = float(seen.age_ns[done].mean())
        shortest_ns = TURNS * settle_ns
    start_ns, end_ns = max(UNJUDGED * seen.until_ns, settle_ns), seen.until_ns
    if probe.purpose is Purpose.BEYOND:
        renewed = renewed_ns(seen)
        if seen.until_ns < probe.at_most_ns:
            shortest_ns = max(shortest_ns, SKIPPED * renewed)
        start_ns = max(start_ns, min(renewed, end_ns / SKIPPED))
    inside = seen.start_ns > start_ns
    completed = int((done & (np.nan_to_num(seen.last_ns) > start_ns)).sum())
    failed = int(seen.failed.sum())
    base = Judged(len(seen), int(done.sum()), failed, seen.until_ns, start_ns, end_ns)
    if completed < COMPLETIONS_MIN or end_ns <= shortest_ns:
        return base
    edges_ns = np.linspace(start_ns, end_ns, FINE + 1)
    seconds = (end_ns - start_ns) / FINE / NS_PER_S
    progress = progressed(seen, edges_ns, np.ones(len(seen)))
    wanders = probe.purpose in (Purpose.BEYOND, Purpose.PLATEAU)
    throughput = batch_mean(progress / seconds, _controls(seen, edges_ns, workload, seconds), wanders=wanders)
    tokens = batch_mean(progressed(seen, edges_ns, seen.output_tokens) / seconds)
    latency = _latency(seen, inside & ~seen.failed)
    in_flight = _in_flight(seen, start_ns, end_ns)
    deficit, verdict = None, ""
    if probe.kind is Kind.OPEN:
        arrivals = arrived(seen, edges_ns)
        deficit = batch_mean((arrivals - _served(seen, edges_ns, progress)) / max(1.0, float(arrivals.mean())))
        verdict = stability(deficit)
        if verdict == "unresolved" and _returns(probe, seen, edges_ns, workload, latency):
            verdict = "stable"
    return Judged(
        base.requests,
        base.completed,
        failed,
        seen.until_ns,
        start_ns,
        end_ns,
        throughput,
        tokens,
        deficit,
        latency,
        _littles(seen, start_ns, in_flight, throughput),
        in_flight,
        verdict,
        attainments(slo, seen, inside) if slo else (),
    )


def is_enough(probe: Probe, judged: Judged) -> bool:
    """Whether the probe has what it was made for, or can no longer get it."""
    if judged.throughput is None:
        return probe.purpose is Purpose.LADDER and _is_hopeless(probe, judged)
    if judged.unsteady:
        return False
    if probe.purpose is Purpose.BEYOND and _is_no_overload(judged):
        return True  # it says nothing of the capacity, however closely it is known
    if judged.end_ns < probe.steady_ns:
        return False
    if probe.against is not None and judged.throughput.low < probe.against < judged.throughput.high:
        return False
    if probe.width is not None and judged.throughput.half() > probe.width * judged.throughput.value:
        return False
    if probe.decide and judged.verdict == "unresolved":
        return False
    return not (probe.slo and judged.slo_verdict in ("unresolved", ""))


def _is_no_overload(judged: Judged) -> bool:
    """Whether it is certain that hardly anything is left behind."""
    deficit = judged.deficit
    return judged.verdict == "stable" or (deficit is not None and deficit.high < OVERLOAD_MIN)


def _is_hopeless(probe: Probe, judged: Judged) -> bool:
    """Whether there will be too few answers to count; what is in flight is half done by now."""
    ended = (judged.completed + probe.level / 2) / judged.duration_ns
    return ended * (1 - UNJUDGED) * probe.at_most_ns < COMPLETIONS_MIN


def _controls(seen: Observed, edges_ns: Floats, workload: Workload, seconds: float) -> Floats:
    """float64[FINE, 2]: how much longer than usual the answers and prompts were, in requests/s; 0 on average."""
    known = [
        progressed(seen, edges_ns, lengths / mean - 1) / seconds
        for lengths, mean in ((seen.output_tokens, workload.output_tokens), (seen.input_tokens, workload.input_tokens))
        if mean > 0 and float(np.ptp(lengths)) > 0
    ]
    return np.stack(known, axis=1) if known else np.empty((FINE, 0))


def _returns(probe: Probe, seen: Observed, edges_ns: Floats, workload: Workload, latency: Interval | None) -> bool:
    """Whether the backlog returns to its level, by batches as short as an answer but no shorter."""
    if latency is None:
        return False
    span_s = float(edges_ns[-1] - edges_ns[0]) / NS_PER_S
    turns = span_s / latency.value
    count = FINE * max(part for part in FINER if part == 1 or turns > FINE * part)
    edges_ns = np.linspace(edges_ns[0], edges_ns[-1], count + 1)
    served = _served(seen, edges_ns, progressed(seen, edges_ns, np.ones(len(seen))))
    luck = progressed(seen, edges_ns, seen.output_tokens / max(workload.output_tokens, 1.0) - 1)
    expected = probe.level * span_s / count
    return returns(Stretches(arrived(seen, edges_ns), served, luck, expected, turns, probe.far))


def _served(seen: Observed, edges_ns: Floats, progress: Floats) -> Floats:
    """float64[len(edges) − 1]: what left the server between successive edges; failures too, where accidents."""
    accidents = float(seen.failed.sum()) <= FAILED_MAX * len(seen)
    return progress + _failures(seen, edges_ns) if accidents else progress


def _failures(seen: Observed, edges_ns: Floats) -> Floats:
    """float64[len(edges) − 1]: how many failed between successive edges."""
    return np.histogram(seen.last_ns[seen.failed], edges_ns)[0].astype(np.float64)


def _latency(seen: Observed, rows: Bools) -> Interval | None:
    """Mean latency in s; what still runs counts with its age, so under overload it is the least it can be."""
    ages_s = seen.age_ns[rows] / NS_PER_S
    if len(ages_s) < LATENCIES_MIN:
        return None
    if len(ages_s) < FINE:
        return Interval(float(ages_s.mean()), float(ages_s.std(ddof=1)) / len(ages_s) ** 0.5, len(ages_s) - 1)
    usable = len(ages_s) // FINE * FINE
    return batch_mean(ages_s[:usable].reshape(FINE, -1).mean(axis=1))


def _in_flight(seen: Observed, start_ns: float, end_ns: float) -> float:
    ends_ns = np.where(np.isnan(seen.last_ns), end_ns, seen.last_ns)
    spent = np.clip(ends_ns, start_ns, end_ns) - np.clip(seen.start_ns, start_ns, end_ns)
    return float(spent.sum()) / (end_ns - start_ns)


def _littles(seen: Observed, start_ns: float, in_flight: float, rate: Interval) -> float | None:
    """In flight over throughput times the latency of those that ended in the window."""
    ended = seen.done & (np.nan_to_num(seen.last_ns) > start_ns)
    if not ended.any() or rate.value <= 0:
        return None
    return in_flight / (rate.value * float(seen.age_ns[ended].mean()) / NS_PER_S)
