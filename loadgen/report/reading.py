"""How a report reads a summary: any value may be missing or null, and then it is None, "" or empty, never an error.

Pure look-ups and wording of single values; no layout, so that the terminal and the HTML say the same thing.
"""

import math
from collections.abc import Sequence
from typing import Any

from loadgen.report.words import severity_of
from loadgen.units import NS_PER_MS, format_duration, format_number

NOT_KNOWN = "—"

Point = dict[str, Any]


def at(value: Any, *path: str) -> Any:
    """`value[path[0]][path[1]]…`, None as soon as something is missing."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def number(value: Any, *path: str) -> float | None:
    """The finite number there, else None (also for a truth value, text, NaN or infinity)."""
    found = at(value, *path)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return float(found)


def mapping(value: Any, *path: str) -> dict[str, Any]:
    found = at(value, *path)
    return found if isinstance(found, dict) else {}


def sequence(value: Any, *path: str) -> list[Any]:
    found = at(value, *path)
    return list(found) if isinstance(found, list | tuple) else []


def numbers(value: Any, *path: str) -> list[float | None]:
    """A list of numbers with None where there is none; empty when the list is missing or has no number at all."""
    found = [number(each) for each in sequence(value, *path)]
    return found if any(each is not None for each in found) else []


def words(value: Any, *path: str) -> str:
    """The text there on one line, without control characters (a terminal obeys those); "" when missing."""
    found = at(value, *path)
    if found is None:
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in str(found)).strip()


def points_of(summary: Any) -> list[Point]:
    return [point for point in sequence(summary, "points") if isinstance(point, dict)]


def metric(point: Point, key: str) -> float | None:
    """A figure of a point; the median stands in for a missing `p50_…`."""
    value = number(point, key)
    return number(point, "median_" + key[4:]) if value is None and key.startswith("p50_") else value


def interval(point: Any, key: str) -> tuple[float, float] | None:
    """The confidence interval of a figure, in the figure's unit."""
    bounds = [number(bound) for bound in sequence(point, "confidence", key)]
    if len(bounds) != 2 or bounds[0] is None or bounds[1] is None:
        return None
    return bounds[0], bounds[1]


def estimate(value: Any) -> tuple[float | None, float | None, float | None]:
    """(value, low, high) of a `{"value", "low", "high"}`, or of a bare number."""
    bare = number(value)
    if bare is not None:
        return bare, None, None
    return number(value, "value"), number(value, "low"), number(value, "high")


def percent_of_confidence(point: Any) -> str:
    level = number(point, "confidence", "level")
    return f"{format_number(100 * (0.95 if level is None else level))} %"


def is_indicative(point: Point, key: str) -> bool:
    """Whether a percentile has too few samples to be more than a hint."""
    return key in sequence(point, "indicative")


def saturation_of(point: Point, summary: Any) -> str:
    """ "saturated" past saturation: a finding says so, or the rate is above the answer's whole interval; "maybe
    saturated" where a finding cannot tell; else ""."""
    codes = {words(finding, "code") for finding in sequence(point, "findings")}
    asked, high = number(point, "request_rate"), number(summary, "saturation", "max_stable_rate", "high")
    if "SATURATED" in codes or (asked is not None and high is not None and asked > high):
        return "saturated"
    return "maybe saturated" if "MAYBE_SATURATED" in codes else ""


def say(value: float | None, unit: str = "") -> str:
    """A number and its unit; ms become whatever reads best (`20.1 ms`, `1.24 s`), a share becomes a percentage."""
    if value is None:
        return NOT_KNOWN
    if unit == "ms":
        return "0 ms" if value == 0 else format_duration(value * NS_PER_MS)
    if unit == "share":
        return f"{format_number(100 * value)} %"
    return f"{format_number(value)} {unit}".rstrip()


def sentence(text: str) -> str:
    """The text with a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")


def say_range(low: float, high: float, unit: str = "") -> str:
    """An interval with its unit said once: `21.9 to 23.4 req/s`."""
    first, last = say(low, unit), say(high, unit)
    shared = last.rpartition(" ")[2]
    return f"{first.removesuffix(f' {shared}')} to {last}"


def point_name(point: Point) -> str:
    """What sets this point apart from its neighbours: `8 req/s`, `32 in flight`, `all at once`."""
    rate = number(point, "request_rate")
    cap = number(point, "max_concurrency")
    if rate is not None:
        name = f"{format_number(rate)} req/s"
    elif cap is not None:
        name = f"{format_number(cap)} in flight"
    elif number(point, "batch_size") is not None:
        name = f"batch of {say(number(point, 'batch_size'))}"
    else:
        asked = at(point, "request_rate")
        if isinstance(asked, str) and asked not in ("", "inf"):  # the text of a curve
            return f"{words(point, 'dataset')} {asked}".strip()
        name = "all at once" if asked == "inf" or (isinstance(asked, float) and math.isinf(asked)) else "closed loop"
    dataset = words(point, "dataset")
    return f"{dataset} {name}" if dataset else name


def names_of(points: Sequence[Point]) -> str:
    """The names of several points, unit and dataset said once: `s2s 1, 2, 4 req/s; s2l 1, 2 req/s`."""
    by_dataset: dict[str, list[str]] = {}
    for point in points:
        dataset = words(point, "dataset")
        by_dataset.setdefault(dataset, []).append(point_name(point).removeprefix(f"{dataset} "))
    phrases = []
    for dataset, names in by_dataset.items():
        for unit in (" req/s", " in flight"):
            if all(name.endswith(unit) for name in names):
                names[:-1] = [name.removesuffix(unit) for name in names[:-1]]
        phrases.append(f"{dataset} {', '.join(names)}".strip())
    return "; ".join(phrases)


def group_findings(points: Sequence[Point]) -> list[tuple[dict[str, Any], str]]:
    """Each code once, the gravest first, with its points; told in the words of the point with most in flight, the
    last of several: a search's points stand in the order of its probes."""
    told: dict[str, tuple[float, dict[str, Any]]] = {}
    seen_at: dict[str, list[Point]] = {}
    for point in points:
        for finding in sequence(point, "findings"):
            if isinstance(finding, dict):
                code = words(finding, "code")
                load = number(point, "effective_concurrency") or 0.0
                if code not in told or load >= told[code][0]:
                    told[code] = load, finding
                seen_at.setdefault(code, []).append(point)
    ranked = sorted(told.items(), key=lambda pair: severity_of(words(pair[1][1], "severity")))
    return [(finding, _where(seen_at[code], len(points))) for code, (_, finding) in ranked]


def _where(points: Sequence[Point], total: int) -> str:
    if total == 1:
        return ""
    return "at every point" if len(points) == total else f"at {names_of(points)}"


def target_line(summary: Any) -> str:
    """Base URL, model and engine on one line."""
    parts = [words(summary, "target", key) for key in ("model", "engine", "base_url")]
    return " · ".join(part for part in parts if part)
