"""What a search found, told: a row per probe for the reader who checks, the four rates as plain JSON, and sentences.

It computes nothing that the search has not; whatever is not known is said to be not known, with what would settle it.
"""

from typing import Any

from loadgen.analysis.sequential import Interval
from loadgen.search.estimates import Rate
from loadgen.search.journal import Entry
from loadgen.search.probe import Judged, Kind, Probe, Purpose
from loadgen.search.search import Answer
from loadgen.units import NS_PER_S, format_duration, format_number

PURPOSES = {
    Purpose.LADDER: "climb: does it complete more?",
    Purpose.PLATEAU: "the plateau, afresh",
    Purpose.BEYOND: "overload: what it can do",
    Purpose.INSIDE: "below: does it keep up?",
    Purpose.SLO: "the highest rate within the SLO",
    Purpose.SUSTAIN: "hold the answer for longer",
}


def row(number: int, entry: Entry) -> dict[str, Any]:
    """One line of the probe table, in plain JSON types; rates per second, times in s."""
    probe, judged = entry.probe, entry.judged
    return {
        "number": number,
        "run": entry.run,
        "loop": probe.kind.value,
        "level": probe.level,
        "purpose": probe.purpose.value,
        "why": PURPOSES[probe.purpose],
        "criterion": criterion(probe),
        "requests": judged.requests,
        "completed": judged.completed,
        "failed": judged.failed,
        "cost_s": judged.duration_ns / NS_PER_S,
        "window": {"start_s": judged.start_ns / NS_PER_S, "end_s": judged.end_ns / NS_PER_S},
        "throughput": _ends(judged.throughput),
        "output_throughput": _ends(judged.tokens),
        "deficit": _ends(judged.deficit),
        "latency_s": _ends(judged.latency_s),
        "in_flight": judged.in_flight,
        "littles_law": judged.littles,
        "verdict": judged.verdict,
        "slo_verdict": judged.slo_verdict,
        "slo": [each.as_dict() for each in judged.slo],
        "counts": judged.counts,
        "problem": judged.problem,
        "discarded": entry.discarded,
    }


def criterion(probe: Probe) -> str:
    """What ends the probe, in words."""
    parts = []
    if probe.decide:
        parts.append("certainly stable or certainly not")
    if probe.slo:
        parts.append("the SLO certainly met or missed")
    if probe.width is not None:
        parts.append(f"throughput known to ±{format_number(100 * probe.width)} %")
    return f"{', '.join(parts) or 'its time'}; {format_duration(probe.at_most_ns)} at most"


def note(probe: Probe, judged: Judged | None) -> str:
    """One line for who watches: what the probe is for, and what is known by now."""
    where = f"{probe.in_words()}: {PURPOSES[probe.purpose]}"
    if judged is None or judged.throughput is None:
        return where
    said = [f"{format_number(judged.throughput.value)} ± {format_number(judged.throughput.half())} req/s completed"]
    said += [word for word in (judged.verdict, judged.slo_verdict and f"SLO {judged.slo_verdict}") if word]
    return f"{where}; {', '.join(said)}"


def rates(answer: Answer, entries: list[Entry]) -> dict[str, Any]:
    """summary["saturation"] without its reason. `stable`, `saturated`: the rates tested on both sides of the answer."""
    opened = [e for e in entries if e.probe.kind is Kind.OPEN and e.judged.counts]
    unstable = [e.probe.level for e in opened if e.judged.verdict == "unstable"]
    above = min(unstable, default=None)
    below = [e.probe.level for e in opened if e.judged.verdict == "stable" and (above is None or e.probe.level < above)]
    tested = {"stable": max(below, default=None), "saturated": above}
    return {
        "max_stable_rate": {"value": None, "low": None, "high": above} | (_rate(answer.stable) or {}) | tested,
        "max_goodput_rate": _rate(answer.goodput),
        "knee_rate": _rate(answer.knee),
        "peak_output_throughput": _rate(answer.tokens),
        "sustained": answer.sustained,
    }


def _rate(rate: Rate | None) -> dict[str, Any] | None:
    if rate is None:
        return None
    return {"value": rate.value if rate.settled else None, "low": rate.low, "high": rate.high, "method": rate.method}


def _ends(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else interval.as_dict()


def sentences(answer: Answer, reason: str) -> str:
    """The answer in words: the saturation point, else why there is none; `reason` without its full stop."""
    said, found = [answer.problem], answer.stable
    if found is not None and found.high is not None:
        because = f": {reason}" if reason else ""
        said.insert(0, f"Saturates at {_in_words(found, 'req/s')}{because}.")
        if answer.sustained:
            said.append(f"It certainly kept up with {format_number(answer.sustained)} req/s.")
    if answer.goodput is not None and answer.goodput.settled and answer.goodput.value > 0:
        said.append(f"The SLO holds up to {_in_words(answer.goodput, 'req/s')}.")
    if answer.knee is not None:
        said.append(f"From about {format_number(answer.knee.value)} req/s on, latency rises faster than the load.")
    if answer.tokens is not None:
        said.append(f"The most output seen is {_in_words(answer.tokens, 'tok/s')}.")
    return " ".join(each for each in said if each)


def _in_words(rate: Rate, unit: str) -> str:
    if rate.low is None or rate.high is None:
        return f"{format_number(rate.value)} {unit}"
    return f"{format_number(rate.value)} {unit} (95 % CI {format_number(rate.low)} to {format_number(rate.high)})"
