"""Where the server saturates, from the points of a sweep: the highest stable rate, the knee, the peak, and the reason.

Points where the client was the limit say nothing about the server and never count. A point is saturated when it has
that finding; stable when its verdict finds no fault with server or steadiness. A load that ended before the server had
filled is neither, unless a lower rate tells. Nothing is extrapolated: where a sweep has never been above or below
capacity, that end of the interval is None.
"""

import math
from typing import Any

import numpy as np

from loadgen.analysis.crowding import Gave, crowding
from loadgen.analysis.findings import Code
from loadgen.analysis.reasons import is_refusing, limits, reason_of
from loadgen.analysis.sample import Floats
from loadgen.units import format_number

KNEE_POINTS_MIN = 5
KNEE_BEND = 0.05  # a curve that one line fits this well (root mean square, 5 %) has no knee
KNEE_GAIN = 0.5  # the bent line must leave at most this share of the straight one's squared error

Point = dict[str, Any]


def saturation(points: list[Point], engine: str | None = None) -> dict[str, Any] | None:
    """summary["saturation"]; None when no point with a finite rate can be used.

    `engine`: who serves, where its gauges do not say it; for what to try.
    """
    usable = sorted((each for each in points if _counts(each)), key=rate_of)
    if not usable:
        return None
    cut = _cut(usable)
    stable = [each for each in usable[:cut] if is_stable(each)]
    saturated = [each for each in usable[cut:] if is_saturated(each)]
    reason, found = _reason(stable, saturated, engine)
    return {
        "max_stable_rate": _max_stable_rate(stable, saturated),
        "max_goodput_rate": _max_goodput_rate(usable),
        "knee_rate": _knee_rate(usable),
        "peak_output_throughput": _peak(points, "output_throughput"),
        "reason": reason,
        "limits": found,
    }


def rate_of(point: Point) -> float:
    """The rate asked if it is one number, else (a curve, a closed loop) the rate offered; infinite for all at once."""
    asked = point.get("request_rate")
    if isinstance(asked, int | float):
        return float(asked)
    return math.inf if asked == "inf" else float(point.get("offered_rate") or math.inf)


def is_saturated(point: Point) -> bool:
    """The backlog grows without end, or would, if the server did not refuse what it cannot take."""
    return any(each["code"] == Code.SATURATED for each in point["findings"]) or is_refusing(point)


def is_stable(point: Point) -> bool:
    doubtful = any(each["code"] == Code.MAYBE_SATURATED for each in point["findings"])
    return point["verdict"] in ("VALID", "TOO_FEW_SAMPLES") and not is_saturated(point) and not doubtful


def is_short(point: Point) -> bool:
    """The load ended before the server had filled: what was completed then, and how fast, is not what it would be."""
    return any(each["code"] == Code.SHORT_RUN for each in point["findings"])


def is_untold(point: Point) -> bool:
    """Too short to tell whether the server keeps up, and no lower rate tells it either."""
    return point["verdict"] == "NOT_STEADY" and is_short(point) and not is_saturated(point)


def compared(points: list[Point]) -> list[Point]:
    """The same points; one that was too short to tell is found saturated where a stable point below shows it.

    What it shows: that no number in flight would give the tokens that are asked for (crowding.py).
    """
    stable = sorted((each for each in points if _counts(each) and is_stable(each)), key=rate_of, reverse=True)
    return [_with_evidence(each, stable) if _counts(each) and is_untold(each) else each for each in points]


def _with_evidence(point: Point, stable: list[Point]) -> Point:
    high = (point["confidence"].get("output_throughput") or (0.0, math.inf))[1]
    high = max(high, point["whole_run"].get("output_throughput") or 0.0)
    many = Gave(point["effective_concurrency"], point["output_throughput"], 0.0, high)
    for each in stable:
        interval = each["confidence"].get("output_throughput")
        if rate_of(each) >= rate_of(point) or not interval:
            continue
        few = Gave(each["effective_concurrency"], each["output_throughput"], *interval)
        found = crowding(few, many, few.tokens_per_s * point["offered_rate"] / each["offered_rate"])
        if found is not None:
            said = found.finding(f", at {format_number(rate_of(each))} req/s,").as_dict()
            return point | {"findings": [said, *point["findings"]]}
    return point


def _cut(usable: list[Point]) -> int:
    """Stable below, saturated from here on, with the fewest points on the wrong side; the lower place of equals.

    A steadiness test errs once in a hundred: one odd point must not overrule its neighbours on both sides.
    """
    costs = [sum(map(is_saturated, usable[:cut])) + sum(map(is_stable, usable[cut:])) for cut in range(len(usable) + 1)]
    return costs.index(min(costs))


def _counts(point: Point) -> bool:
    flat = isinstance(point.get("request_rate"), int | float) and math.isfinite(rate_of(point))
    return flat and point["verdict"] != "CLIENT_LIMITED"


def _max_stable_rate(stable: list[Point], saturated: list[Point]) -> dict[str, Any]:
    """`value` with [low, high] and the `method` behind them; `stable`, `saturated`: the rates tested on both sides."""
    below = rate_of(stable[-1]) if stable else None
    above = rate_of(saturated[0]) if saturated else None
    tested = {"stable": below, "saturated": above}
    capacity = _capacity(saturated)
    if capacity is None:
        return {"value": below, "low": below, "high": above, "method": "highest stable rate tested"} | tested
    value, low, high = (min(max(each, below or 0.0), above or math.inf) for each in capacity)
    if below is not None and not low < high:  # the server completes less when overloaded than it did below
        return {"value": below, "low": below, "high": above, "method": "highest stable rate tested"} | tested
    return {"value": value, "low": low, "high": high, "method": "completions of the saturated points"} | tested


def _capacity(saturated: list[Point]) -> tuple[float, float, float] | None:
    """Completions/s of the saturated points: the lowest of them, pooled with those whose interval overlaps its own."""
    known = [(p["achieved_rate"], p["confidence"].get("achieved_rate")) for p in saturated if not is_short(p)]
    known = [(rate, interval) for rate, interval in known if rate and interval and interval[1] > interval[0]]
    if not known:
        return None
    low, high = known[0][1]
    alike = [(rate, interval) for rate, interval in known if interval[0] <= high and interval[1] >= low]
    rates = np.array([rate for rate, _ in alike])
    halves = np.array([(interval[1] - interval[0]) / 2 for _, interval in alike])
    weights = 1 / halves**2
    value, half = float(rates @ weights / weights.sum()), float(1 / np.sqrt(weights.sum()))
    return value, value - half, value + half


def _max_goodput_rate(usable: list[Point]) -> dict[str, Any] | None:
    """The highest rate within the SLO, below the first that breaks it; None without an SLO."""
    judged = [each for each in usable if each.get("slo") and each["slo"]["met"] is not None]
    judged = [each for each in judged if not (each["slo"]["met"] and is_short(each))]  # met by a server not yet full
    if not judged:
        return None
    broken = next((rate_of(each) for each in judged if not each["slo"]["met"]), None)
    within = [rate_of(each) for each in judged if each["slo"]["met"] and (broken is None or rate_of(each) < broken)]
    best = max(within, default=None)
    return {"value": best, "low": best, "high": broken}


def _peak(points: list[Point], key: str) -> dict[str, Any] | None:
    known = [each for each in points if each.get(key) is not None and each["verdict"] != "CLIENT_LIMITED"]
    if not known:
        return None
    best = max(known, key=lambda each: float(each[key]))
    low, high = best["confidence"].get(key) or (None, None)
    return {"value": best[key], "low": low, "high": high}


def _knee_rate(usable: list[Point]) -> dict[str, Any] | None:
    """Where the latency curve bends: two segments through log(mean E2EL) against log(rate), continuous at the knee.

    None with fewer than five points, when the bend is not upward, or when one line does nearly as well. `low` and
    `high` are the rates tested on both sides of it.
    """
    known = [each for each in usable if each["mean_e2el_ms"] and not is_short(each)]
    rates = np.log(np.array([rate_of(each) for each in known]))
    latencies = np.log(np.array([each["mean_e2el_ms"] for each in known]))
    if len(rates) < KNEE_POINTS_MIN or np.ptp(rates) == 0:
        return None
    straight = _fit(rates, latencies, None)[0]
    places = np.linspace(rates[1], rates[-2], 101)
    fits = [_fit(rates, latencies, place) for place in places]
    best = min(range(len(fits)), key=lambda k: fits[k][0])
    error, bend = fits[best]
    if bend <= 0 or straight < KNEE_BEND**2 * len(known) or error > KNEE_GAIN * straight:
        return None
    place = places[best]
    below = max(rate_of(each) for each in known[:-1] if math.log(rate_of(each)) <= place + 1e-9)
    above = min(rate_of(each) for each in known[1:] if math.log(rate_of(each)) >= place - 1e-9)
    return {"value": math.exp(place), "low": below, "high": above}


def _fit(x: Floats, y: Floats, knee: float | None) -> tuple[float, float]:
    """(squared error, change of slope at the knee) of the best line, bent at `knee`."""
    columns = [np.ones_like(x), x] + ([] if knee is None else [np.maximum(x - knee, 0.0)])
    design = np.stack(columns, axis=1)
    solution = np.linalg.lstsq(design, y, rcond=None)[0]
    return float(((design @ solution - y) ** 2).sum()), 0.0 if knee is None else float(solution[2])


def _reason(stable: list[Point], saturated: list[Point], engine: str | None) -> tuple[str, list[dict[str, str]]]:
    """(one clause from evidence without its full stop, the limits behind it as findings)."""
    if not saturated:
        if not stable:
            return "no rate tested was stable, and none was plainly above capacity", []
        return f"the server kept up at the rates tested, up to {format_number(rate_of(stable[-1]))} req/s", []
    light = stable[0] if stable else None
    return reason_of(saturated[0], light, engine), limits(saturated[0], light, engine)
