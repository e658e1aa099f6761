"""The ways in which sources write a time, a duration, a name and a number of tokens: never through a float.

One by one, and a column at a time where Arrow can; what is neither is refused with its line.
"""

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loadgen.trace.reading import TOKENS_MAX, Head, refuse
from loadgen.trace.table import UNKNOWN, Int64s, column
from loadgen.units import NS_PER_S

NS_MAX = 2**62  # what no clock of ours shows
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\d*\s*(Z|UTC|[+-]\d\d:?\d\d)?")
_WHOLE_MAX = 19  # digits
_ISO_WHOLE = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.]\d{1,9})?(Z|[+-]\d\d:?\d\d)?$"
# A number's size tells its unit: seconds until the year 5138, then ms, µs, ns since 1970.
_UNITS = ((Decimal(10) ** 11, 9), (Decimal(10) ** 14, 6), (Decimal(10) ** 17, 3), (Decimal(NS_MAX), 0))


def instant_ns(head: Head, line: int, value: Any, name: str) -> int:
    """A moment in ns since 1970: ISO 8601 (without a zone: UTC), or a number of s, ms, µs or ns. Never a float."""
    if isinstance(value, str):
        if (ns := iso_ns(value)) is not None:
            return ns
        number = _number(value)
        value = value if number is None else number
    if isinstance(value, Decimal):
        if value.is_finite() and value >= 0:
            for bound, digits in _UNITS:
                if value < bound:
                    return int(value.scaleb(digits).to_integral_value())
    elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value < NS_MAX:
        return value * int(next(10**digits for bound, digits in _UNITS if value < bound))
    return refuse(head.path, line, f"{name} is no time" if value is not None else f"{name} is missing")


def instants_ns(head: Head, lines: Sequence[int], values: Sequence[Any], name: str) -> Int64s:
    """`instant_ns` of a column; what no clock shows is ±NS_MAX."""
    found = isos_ns(values)
    if found is None:
        found = _epochs_ns(values)
    if found is None:
        each = (instant_ns(head, line, value, name) for line, value in zip(lines, values, strict=True))
        found = np.array([max(-NS_MAX, min(ns, NS_MAX)) for ns in each], np.int64)
    return found


def spans_ns(
    head: Head,
    lines: Sequence[int],
    began: Sequence[Any],
    ended: Sequence[Any],
    names: tuple[str, str],
    *,
    ends_after: bool = False,
) -> tuple[Int64s, Int64s]:
    """(starts, durations) of two columns of moments with the names that the source gives them.

    An end is None where it is not told: the duration is unknown then, and where the end comes before the start, unless
    `ends_after`, by which that is refused. Raises BadInputError with the line."""
    starts, durations = instants_ns(head, lines, began, names[0]), column(len(lines))
    told = np.flatnonzero([each is not None for each in ended])
    if len(told) < len(lines):
        ended, lines = [ended[k] for k in told.tolist()], [lines[k] for k in told.tolist()]
    ends = instants_ns(head, lines, ended, names[1])
    took = ends - starts[told]
    if ends_after and (took < 0).any():
        refuse(head.path, int(lines[int(np.argmax(took < 0))]), "it ends before it starts")
    durations[told] = np.where((took >= 0) & (ends < NS_MAX), took, UNKNOWN)
    return starts, durations


def isos_ns(values: Sequence[Any]) -> Int64s | None:
    """`iso_ns` of a column, by Arrow, which is thirty times as fast; None where they are not all of one plain form."""
    if len(values) and str(values[0])[4:5] != "-":
        return None  # seen at a glance: numbers, most often
    try:
        texts = pa.array(values, pa.string())
        if texts.null_count or not pc.all(pc.match_substring_regex(texts, _ISO_WHOLE)).as_py():
            return None
        zoned = len(texts) and re.search(r"(Z|[+-]\d\d:?\d\d)$", str(texts[0])[19:])
        moments = texts.cast(pa.timestamp("ns", "UTC" if zoned else None))
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        return None  # another way of writing it, or several
    return np.asarray(moments.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)


def _epochs_ns(values: Sequence[Any]) -> Int64s | None:
    """Whole numbers since 1970, each of the unit that its size tells; None where one is none of ours."""
    found = _wholes(values)
    if found is None or not len(found) or found.min() < 0:
        return None
    bounds = [int(bound) for bound, _ in _UNITS]
    scale = np.array([10**digits for _, digits in _UNITS])[np.searchsorted(bounds[:-1], found, "right")]
    return found * scale if (found < NS_MAX // scale).all() else None


def _wholes(values: Sequence[Any]) -> Int64s | None:
    """A column of whole numbers, or of texts that are all such; null is −1. None where it is anything else."""
    kinds = set(map(type, values)) - {type(None)}
    try:
        if kinds == {str}:
            texts = pa.array(values, pa.string())
            longest = pc.max(pc.binary_length(texts)).as_py()
            if longest > _WHOLE_MAX or not pc.all(pc.ascii_is_decimal(texts)).as_py():
                return None
            found = texts.cast(pa.int64())
        elif kinds <= {int}:  # no truth values, which Arrow would take, and no fractions, which it would cut
            found = pa.array(values, pa.int64())
        else:
            return None
    except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError):
        return None
    return np.asarray(found.fill_null(UNKNOWN).to_numpy(zero_copy_only=False), np.int64)


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text) if len(text) < 40 else None
    except ArithmeticError:
        return None


def iso_ns(text: str) -> int | None:
    """ISO 8601 as ns since 1970, None where it is none; digits below the ns are cut."""
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    second = _second(match[1], match[2], match[4] or "Z")
    return None if second is None else second * NS_PER_S + int((match[3] or "0").ljust(9, "0"))


def _second(day: str, time: str, zone: str) -> int | None:
    hour, minute, second = int(time[:2]), int(time[3:5]), int(time[6:])
    began = _days(day)
    if began is None or hour > 23 or minute > 59 or second > 59:
        return None
    ahead = 0 if zone in ("Z", "UTC") else 60 * int(zone[1:3]) + int(zone[-2:])
    return 86_400 * began + 3_600 * hour + 60 * (minute - (ahead if zone[0] == "+" else -ahead)) + second


@lru_cache(maxsize=4096)
def _days(day: str) -> int | None:
    """`2024-05-10` in days since 1970; None where no calendar has it."""
    try:
        return date(int(day[:4]), int(day[5:7]), int(day[8:])).toordinal() - _EPOCH_DAY
    except ValueError:
        return None


def count(head: Head, line: int, value: Any, name: str) -> int:
    """A number of tokens, however it is written; −1 for none, null or a negative one. Raises BadInputError."""
    if value is None:
        return UNKNOWN
    if type(value) is int and 0 <= value <= TOKENS_MAX:
        return value
    if isinstance(value, str):
        value = _number(value)
    if value is None or isinstance(value, bool):
        return UNKNOWN
    if isinstance(value, int) and value <= TOKENS_MAX:
        return max(value, UNKNOWN)
    if isinstance(value, (int, Decimal)):
        if not Decimal(value).is_finite():
            return UNKNOWN
        if value == int(value) and value <= TOKENS_MAX:
            return max(int(value), UNKNOWN)
    return refuse(head.path, line, f"{name} {str(value)[:30]} is no number of tokens")


def counts(head: Head, lines: Sequence[int], values: Sequence[Any], name: str) -> Int64s:
    """`count` of a column."""
    found = _wholes(values)
    if found is None or found.max(initial=0) > TOKENS_MAX:
        each = [count(head, line, value, name) for line, value in zip(lines, values, strict=True)]
        found = np.array(each, np.int64)
    return np.maximum(found, UNKNOWN)


def seconds_ns(value: Any, digits: int = 9) -> int:
    """A duration in units of 10^digits ns; −1 where it is none."""
    if type(value) is int and 0 <= value < 10**15:
        return int(value * 10**digits)
    if isinstance(value, str):
        value = _number(value)
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        number = Decimal(value)
        if number.is_finite() and 0 <= number < 10**15:
            return int(number.scaleb(digits).to_integral_value())
    return UNKNOWN


def durations_ns(values: Sequence[Any], digits: int = 9) -> Int64s:
    """`seconds_ns` of a column."""
    found = _wholes(values)
    if found is None or found.max(initial=0) >= NS_MAX // 10**digits:
        exact = (seconds_ns(value, digits) for value in values)
        return np.array([ns if ns < NS_MAX else UNKNOWN for ns in exact], np.int64)
    return np.where(found >= 0, found * 10**digits, UNKNOWN)


def names(values: Sequence[Any]) -> Any:
    """A column of names as Arrow's strings; what is no text is written as one."""
    try:
        return pa.array(values, pa.string())
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.array([each if each is None else str(each) for each in values], pa.string())


def texts(values: list[str | None]) -> list[str | None] | None:
    """The same where there is one among them, else None."""
    return values if values.count(None) < len(values) else None


def mapping(value: Any) -> dict[str, Any]:
    """A JSON object, also one written into a string; anything else is empty."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return {}
        if isinstance(value, list):
            return {"messages": value}
    return value if isinstance(value, dict) else {}
