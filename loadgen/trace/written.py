"""The ways in which sources write a time, a duration and a number of tokens: never through a float.

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
from loadgen.trace.table import UNKNOWN
from loadgen.units import NS_PER_S

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\d*\s*(Z|UTC|[+-]\d\d:?\d\d)?")
_ISO_WHOLE = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.]\d{1,9})?(Z|[+-]\d\d:?\d\d)?$"
# A number's size tells its unit: seconds until the year 5138, then ms, µs, ns since 1970.
_UNITS = ((Decimal(10) ** 11, 9), (Decimal(10) ** 14, 6), (Decimal(10) ** 17, 3), (Decimal(2) ** 62, 0))


def instant_ns(head: Head, line: int, value: Any, name: str) -> int:
    """A moment in ns since 1970: ISO 8601 (without a zone: UTC), or a number of s, ms, µs or ns. Never a float."""
    if isinstance(value, str):
        if (ns := iso_ns(value)) is not None:
            return ns
        value = _number(value)
    if isinstance(value, Decimal):
        if value.is_finite() and value >= 0:
            for bound, digits in _UNITS:
                if value < bound:
                    return int(value.scaleb(digits).to_integral_value())
    elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62:
        return value * int(next(10**digits for bound, digits in _UNITS if value < bound))
    return refuse(head.path, line, f"{name} is no time" if value is not None else f"{name} is missing")


def instants_ns(head: Head, lines: Sequence[int], values: Sequence[Any], name: str) -> list[int]:
    """`instant_ns` of a column."""
    found = isos_ns(values)
    if found is not None:
        return found
    return [instant_ns(head, line, value, name) for line, value in zip(lines, values, strict=True)]


def isos_ns(values: Sequence[Any]) -> list[int] | None:
    """`iso_ns` of a column, by Arrow, which is twenty times as fast; None where they are not all of one plain form."""
    try:
        texts = pa.array(values, pa.string())
        if texts.null_count or not pc.all(pc.match_substring_regex(texts, _ISO_WHOLE)).as_py():
            return None
        zoned = len(texts) and re.search(r"(Z|[+-]\d\d:?\d\d)$", str(texts[0])[19:])
        moments = texts.cast(pa.timestamp("ns", "UTC" if zoned else None))
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        return None  # another way of writing it, or several
    found: list[int] = moments.cast(pa.int64()).to_pylist()
    return found


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


def counts(head: Head, lines: Sequence[int], values: Sequence[Any], name: str) -> list[int]:
    """`count` of a column; where all are whole numbers, Arrow looks them through."""
    if set(map(type, values)) <= {int, type(None)}:  # Arrow would cut what is no whole number
        try:
            found = np.asarray(pa.array(values, pa.int64()).fill_null(UNKNOWN))
        except OverflowError:
            found = np.array([TOKENS_MAX + 1])
        if not len(found) or found.max() <= TOKENS_MAX:
            known: list[int] = np.maximum(found, UNKNOWN).tolist()
            return known
    return [count(head, line, value, name) for line, value in zip(lines, values, strict=True)]


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
