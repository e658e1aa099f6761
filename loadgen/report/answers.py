"""The figures that answer a sweep's question, and what the two ends of each mean: an interval, or two rates tested.

Nothing is computed here: a rate at which the server was never saturated is said to be "or more", not a limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loadgen.report.reading import Point, at, estimate, interval, metric, percent_of_confidence, say, say_range, words

_RATE = "req/s"


@dataclass(frozen=True, slots=True)
class Answer:
    """A figure to be shown large: its label, itself, how sure it is, what it means."""

    label: str
    value: str
    detail: str
    meaning: str


def answers(summary: Any, points: Sequence[Point]) -> list[Answer]:
    """What `saturation` says; for a single run without it, the figures of the run."""
    found = [_stable_rate(summary), _goodput_rate(summary), _knee(summary), _peak(summary)]
    known = [answer for answer in found if answer is not None]
    if known or len(points) != 1:
        return known
    shown = [(line, metric(points[0], line[0])) for line in _OF_A_RUN]
    return [
        Answer(label, say(value, unit), _confidence(interval(points[0], key), unit, points[0]), meaning)
        for (key, label, unit, meaning), value in shown
        if value is not None
    ]


_OF_A_RUN = (
    ("achieved_rate", "Achieved", _RATE, "requests completed per second"),
    ("p99_ttft_ms", "TTFT p99", "ms", "99 of 100 requests had their first token by then"),
    ("p99_tpot_ms", "TPOT p99", "ms", "99 of 100 requests wrote a token at least this fast"),
    ("output_throughput", "Output throughput", "tok/s", "output tokens per second"),
)


def saturation_column(summary: Any) -> tuple[float, float, str] | None:
    """(low, high, label) of the request rates between which the server saturates; None when it never did."""
    value, low, high = estimate(at(summary, "saturation", "max_stable_rate"))
    if value is None or (high is None and low is not None):
        return None
    if low is None or high is None:
        return value, value, f"saturates at {say(value, _RATE)}"
    if _is_tested(summary):
        return low, high, f"saturates between {say_range(low, high, _RATE).replace(' to ', ' and ')}"
    return low, high, f"saturates at {say(value, _RATE)}"


def _is_tested(summary: Any) -> bool:
    """Whether the ends are rates that were tested, and not a confidence interval."""
    return "tested" in words(summary, "saturation", "max_stable_rate", "method")


def _confidence(bounds: tuple[float | None, float | None] | None, unit: str, level_of: Any) -> str:
    if bounds is None or bounds[0] is None or bounds[1] is None:
        return ""
    return f"{percent_of_confidence(level_of)} CI {say_range(bounds[0], bounds[1], unit)}"


def _stable_rate(summary: Any) -> Answer | None:
    value, low, high = estimate(at(summary, "saturation", "max_stable_rate"))
    label, meaning = "Highest stable rate", "above it the queue grows without end"
    if value is None:
        return None if high is None else Answer(label, f"< {say(high, _RATE)}", "saturated there already", meaning)
    if low is not None and high is None:
        return Answer(label, f"≥ {say(value, _RATE)}", "stable at every rate tested", "go higher to find the limit")
    if _is_tested(summary):
        return Answer(label, say(value, _RATE), f"stable there, saturated at {say(high, _RATE)}", meaning)
    return Answer(label, say(value, _RATE), _confidence((low, high), _RATE, summary), meaning)


def _goodput_rate(summary: Any) -> Answer | None:
    value, low, high = estimate(at(summary, "saturation", "max_goodput_rate"))
    label, meaning = "Highest rate within the SLO", "every limit of the SLO still holds"
    if value is None and low is not None and high is not None:
        return Answer(label, say_range(low, high, _RATE), "not settled: too little was seen", meaning)
    if not value:  # 0: missed at every rate that was tried
        return None if high is None else Answer(label, f"< {say(high, _RATE)}", "missed there already", meaning)
    if low is not None and high is None:
        return Answer(label, f"≥ {say(value, _RATE)}", "held at every rate tested", meaning)
    if low == value:
        return Answer(label, say(value, _RATE), f"held there, missed at {say(high, _RATE)}", meaning)
    return Answer(label, say(value, _RATE), _confidence((low, high), _RATE, summary), meaning)


def _knee(summary: Any) -> Answer | None:
    value, low, high = estimate(at(summary, "saturation", "knee_rate"))
    if value is None:
        return None
    detail = "" if low is None or high is None else f"somewhere in {say_range(low, high, _RATE)}"
    return Answer("Knee", say(value, _RATE), detail, "from here on latency rises steeply")


def _peak(summary: Any) -> Answer | None:
    value, low, high = estimate(at(summary, "saturation", "peak_output_throughput"))
    if value is None:
        return None
    detail = _confidence((low, high), "tok/s", summary)
    return Answer("Peak output throughput", say(value, "tok/s"), detail, "the most that was seen at any rate")
