"""A sweep's summary, and its answer in words: what the last screen says before it shows a table.

Honest about its ends: a sweep that never saturated, or was never stable, says so and says what to do next.
"""

from typing import Any

from loadgen.analysis.faithful import in_words
from loadgen.analysis.findings import Code
from loadgen.analysis.saturation import Point, compared, is_stable, is_untold, rate_of, saturation
from loadgen.analysis.verdict import VERDICTS
from loadgen.units import NS_PER_MS, format_duration, format_number

SCHEMA = 1


def sweep_summary(points: list[Point], header: dict[str, Any]) -> dict[str, Any]:
    """`summary.json` of a sweep: `header` (tool, target, dataset, seed, started, slo) with points and saturation."""
    points = compared(points)
    found = saturation(points, (header.get("target") or {}).get("engine"))
    return {"schema": SCHEMA, "kind": "sweep"} | header | {"points": points, "saturation": found}


def answer(summary: dict[str, Any]) -> str:
    """One to three sentences: where it saturates and why, what latency is below that, what the SLO allows."""
    points, found = summary["points"], summary["saturation"]
    if not points:
        return "Nothing was measured."
    if "replay" in points[0]:
        return f"{in_words(points[0]['replay'])} {_point_sentence(points[0])}"
    limited = [each for each in points if each["verdict"] == "CLIENT_LIMITED"]
    if found is None:
        if len(limited) == len(points):
            return "This machine was the limit at every rate, so nothing can be said about the server."
        return _point_sentence(points[-1])
    untold = sorted((each for each in points if is_untold(each)), key=rate_of)
    sentences = [_saturation_sentence(found, untold), _untold_sentence(untold)]
    sentences.append(_goodput_sentence(found.get("max_goodput_rate")))
    stable = [each for each in points if is_stable(each) and rate_of(each) <= (_stable_rate(found) or 0.0)]
    if stable:
        best = max(stable, key=rate_of)
        sentences += [_latency_sentence(best), _efficiency_sentence(best)]
    if limited:
        rates = ", ".join(format_number(rate_of(each)) for each in limited)
        sentences.append(f"At {rates} req/s this machine was the limit; those points do not count.")
    return " ".join(each for each in sentences if each)


def _stable_rate(found: dict[str, Any]) -> float | None:
    rate: float | None = found["max_stable_rate"]["stable"]
    return rate


def _saturation_sentence(found: dict[str, Any], untold: list[Point]) -> str:
    rate, reason = found["max_stable_rate"], found["reason"]
    if rate["saturated"] is None:
        if rate["value"] is None:
            return "" if untold else f"No saturation point was found: {reason}. Run longer, or lower the rates."
        return f"Not saturated: {reason}.{'' if untold else ' Sweep higher to find the limit.'}"
    if rate["value"] is None:
        return f"Saturated already at {format_number(rate['saturated'])} req/s: {reason}. Sweep lower."
    value, between = format_number(rate["value"]), ""
    if rate["method"].startswith("completions"):
        between = f" (95 % CI {format_number(rate['low'])} to {format_number(rate['high'])})"
    elif rate["low"] is not None and rate["high"] is not None:
        between = f" or more (stable there, saturated at {format_number(rate['high'])})"
    sentence = f"Saturates at {value} req/s{between}: {reason}."
    return sentence if rate["stable"] is not None else f"{sentence} No rate tested was stable: sweep lower."


def _untold_sentence(untold: list[Point]) -> str:
    """Of which rates nothing is known, why, and how long a run would tell."""
    if not untold:
        return ""
    rates = ", ".join(format_number(rate_of(each)) for each in untold)
    said = next(each for each in untold[-1]["findings"] if each["code"] == Code.SHORT_RUN)
    return f"Whether the server keeps up with {rates} req/s cannot be told. {said['seen']} {said['try_next']}"


def _goodput_sentence(rate: dict[str, Any] | None) -> str:
    if rate is None:
        return ""
    if rate["value"] is None:
        return f"The SLO is missed even at {format_number(rate['high'])} req/s."
    beyond = "" if rate["high"] is None else f", not at {format_number(rate['high'])}"
    return f"The SLO holds up to {format_number(rate['value'])} req/s{beyond}."


def _point_sentence(point: Point) -> str:
    """A single run: its latency, and before it why that is not to be trusted, when it is not."""
    if point["verdict"] == "VALID" or not point["findings"]:
        return f"{_latency_sentence(point)} {_efficiency_sentence(point)}".strip()
    fault = point["verdict"].replace("_", " ").capitalize()
    codes = VERDICTS[point["verdict"]][1] if point["verdict"] in VERDICTS else frozenset()
    reason = next((each for each in point["findings"] if each["code"] in codes), point["findings"][0])
    return f"{fault}: {reason['seen']} {_latency_sentence(point)}"


def _efficiency_sentence(point: Point) -> str:
    found = point.get("efficiency")
    return f"There it uses {found['sentence']}." if found else ""


def _latency_sentence(point: Point) -> str:
    rate = rate_of(point)
    where = f"At {format_number(rate)} req/s" if rate != float("inf") else "With all requests at once"
    for name, key in (("p99", "p99_ttft_ms"), ("median", "median_ttft_ms")):
        value = point[key]
        if value is not None and key not in point["indicative"]:
            return f"{where} {name} TTFT is {format_duration(value * NS_PER_MS)}."
    median, whole = point["median_ttft_ms"], point.get("median_e2el_ms")
    if median is None and whole is not None:  # whole answers have no first token
        return f"{where} median E2EL is {format_duration(whole * NS_PER_MS)}."
    if median is None:
        return f"{where} no request completed."
    return f"{where} median TTFT is about {format_duration(median * NS_PER_MS)}, from {point['completed']} requests."
