"""The only place where seconds, milliseconds, sizes and rates meet text. Inside, a time is an int of nanoseconds."""

import math
import re
from itertools import pairwise

from loadgen.errors import BadInputError

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
NS_PER_US = 1_000

_DURATION_UNITS_NS = {"ns": 1, "us": NS_PER_US, "µs": NS_PER_US, "ms": NS_PER_MS, "s": NS_PER_S, "m": 60 * NS_PER_S}
_DURATION_UNITS_NS |= {"min": 60 * NS_PER_S, "h": 3600 * NS_PER_S, "": NS_PER_S}
_DURATION_NS_MAX = 10 * 365 * 24 * 3600 * NS_PER_S
_COUNT_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-zµ]*)\s*", re.IGNORECASE)


def parse_duration_ns(text: str) -> int:
    """Turn `500ms`, `30s`, `2m`, `1h30m` or a bare number of seconds into ns. Raises BadInputError."""
    parts = list(_NUMBER_AND_UNIT.finditer(text))
    units_ns = [_DURATION_UNITS_NS.get(part[2].lower(), 0) for part in parts]
    several = len(parts) > 1  # from the largest unit to the smallest, each with its name
    in_order = all(large > small > 0 for large, small in pairwise(units_ns)) and all(part[2] for part in parts)
    if "".join(part[0] for part in parts) != text or not all(units_ns) or not parts or (several and not in_order):
        raise BadInputError(f"'{text}' is not a duration.", "Write a number with a unit: 500ms, 30s, 2m, 1h30m.")
    duration_ns = sum(float(part[1]) * unit_ns for part, unit_ns in zip(parts, units_ns, strict=True))
    if duration_ns > _DURATION_NS_MAX:
        raise BadInputError(f"'{text}' is too long a duration.", "Ten years are enough.")
    return round(duration_ns)


def parse_count(text: str) -> int:
    """Turn `8k`, `1.5M` or `300` into a whole number (k = 1000). Raises BadInputError."""
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if match is None or match[2].lower() not in _COUNT_UNITS:
        raise BadInputError(f"'{text}' is not a whole number.", "Write 300, 8k or 1.5M (k = 1000).")
    value = round(float(match[1]) * _COUNT_UNITS[match[2].lower()], 9)  # 16.1k is 16,100 to the reader
    if not value < 1e18 or value != int(value):
        raise BadInputError(f"'{text}' is not a whole number.", "Write 300, 8k or 1.5M (k = 1000).")
    return int(value)


def ns_to_ms(ns: float) -> float:
    return ns / NS_PER_MS


def ns_to_s(ns: float) -> float:
    return ns / NS_PER_S


def s_to_ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def format_duration(ns: float) -> str:
    """A duration as a person would say it: `20.1 ms`, `1.24 s`, `2 m 05 s`."""
    if not math.isfinite(ns):
        return "—"
    if abs(ns) >= 120 * NS_PER_S:
        minutes, seconds = divmod(round(ns / NS_PER_S), 60)
        return f"{minutes} m {seconds:02d} s"
    for unit, size in (("s", NS_PER_S), ("ms", NS_PER_MS), ("µs", NS_PER_US)):
        if abs(ns) >= size:
            return f"{format_number(ns / size)} {unit}"
    return f"{ns:.0f} ns"


def format_number(value: float) -> str:
    """Three significant digits, thousands with a comma, no exponent: `22.6`, `0.041`, `25,600`; 0 below 10⁻⁹."""
    if not math.isfinite(value):
        return "—"
    if abs(value) < 1e-9:  # what is left of a subtraction
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
