"""What a search found, told: a row per probe for the reader who checks, the four rates as plain JSON, and sentences.

It computes nothing that the search has not; whatever is not known is said to be not known, with what would settle it.
"""

from typing import Any

from loadgen.analysis.sequential import Interval
from loadgen.search.estimates import Rate
from loadgen.search.journal import Entry
from loadgen.search.probe import Judged, Kind, Probe, Purpose
from loadgen.search.search import Answer, Limits
from loadgen.units import NS_PER_S, format_duration, format_number

PURPOSES = {
    Purpose.LADDER: "climb until the throughput stops growing",
    Purpose.PLATEAU: "the plateau again, afresh",
    Purpose.BEYOND: "overload it: what it completes then is what it can do",
    Purpose.INSIDE: "below the estimate it must keep up",
    Purpose.SLO: "look for the highest rate within the SLO",
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
    return None if rate is None else {"value": rate.value, "low": rate.low, "high": rate.high, "method": rate.method}


def _ends(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else interval.as_dict()


def sentences(answer: Answer, entries: list[Entry], reason: str, limits: Limits, slo: str) -> str:
    """The answer in words; `reason` without its full stop, `slo` the text of it or ""."""
    said = [_capacity(answer, entries, reason, limits)]
    if slo and answer.stable is not None:
        said.append(_goodput(answer, entries, slo))
    if answer.knee is not None and answer.stable is not None and answer.stable.high is not None:
        said.append(f"From about {format_number(answer.knee.value)} req/s on, waiting grows faster than throughput.")
    if answer.tokens is not None:
        said.append(f"The most output seen is {_with_interval(answer.tokens)} tok/s.")
    return " ".join(each for each in said if each)


def _with_interval(rate: Rate) -> str:
    if rate.low is None or rate.high is None:
        return format_number(rate.value)
    return f"{format_number(rate.value)} (95 % CI {format_number(rate.low)} to {format_number(rate.high)})"


def _capacity(answer: Answer, entries: list[Entry], reason: str, limits: Limits) -> str:
    found, limited = answer.stable, [e for e in entries if e.judged.problem]
    if found is None:
        return _nothing(entries, limited)
    if found.high is not None:
        because = f": {reason}" if reason else ""
        held = f" It held {format_number(answer.sustained)} req/s." if answer.sustained else ""
        return f"Saturates at {_with_interval(found).replace(' (', ' req/s (', 1)}{because}.{held}"
    least = f"Not saturated: the server keeps up with {format_number(found.value)} req/s, and its limit lies higher."
    if limited:
        worst = limited[-1]
        return (
            f"{least} This client is the limit: at {worst.probe.in_words()} {_lower(worst.judged.problem)} "
            "Run loadgen on a faster machine, or nearer to the server, to find it."
        )
    return f"{least} The budget of {format_duration(limits.budget_ns)} was spent: give more with --budget."


def _nothing(entries: list[Entry], limited: list[Entry]) -> str:
    if not entries:
        return "Nothing was measured."
    if limited:
        return f"Nothing can be said about the server: {_lower(limited[0].judged.problem)}"
    last = entries[-1]
    asked, done, failed = last.judged.requests, last.judged.completed, last.judged.failed
    where = f"At {last.probe.in_words()}, {done} of {asked} requests completed in {_seconds(last)}"
    if failed > asked / 2:
        return f"No capacity was found. {where} and {failed} failed: look at the server's log first."
    return f"No capacity was found. {where}, too few to say anything: give more time with --budget."


def _seconds(entry: Entry) -> str:
    return format_duration(entry.judged.end_ns)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _goodput(answer: Answer, entries: list[Entry], slo: str) -> str:
    found = answer.goodput
    if found is None:
        return "How much of that is within the SLO was not settled: give more time with --budget."
    if found.value > 0:
        return f"The SLO holds up to {_with_interval(found).replace(' (', ' req/s (', 1)}."
    tried = [e for e in entries if e.judged.counts and e.judged.slo]
    lowest = min((e for e in tried if e.probe.kind is Kind.OPEN), key=lambda e: e.probe.level, default=None)
    where = "at every rate tried" if lowest is None else f"even at {format_number(lowest.probe.level)} req/s"
    alone = next((e for e in tried if e.probe.kind is Kind.CLOSED and e.probe.level == 1), None)
    if alone is not None and alone.judged.slo_verdict == "missed":
        return (
            f"The SLO ({slo}) is missed {where}, and also with a single request in flight: no rate can meet it, "
            "only a faster server or a wider limit."
        )
    return f"The SLO ({slo}) is missed {where}; sweep lower rates with loadgen sweep to see where it would hold."
