"""Requests collected one by one, for sources that are records and not columns: exports, spans, logs.

It knows the ways in which such sources write a time and a number, and keeps count of what is dropped, and why.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loadgen.trace.assemble import Draft
from loadgen.trace.reading import TOKENS_MAX, Head, guarded, open_bytes, pieces_of_lines, refuse
from loadgen.trace.table import UNKNOWN, Int64s, Survey
from loadgen.units import NS_PER_S

_NS_MAX = 2**62
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_SETTLED_AT_ONCE = 1 << 16
FAILED = 500  # the status of what a source calls failed without a number
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\d*\s*(Z|UTC|[+-]\d\d:?\d\d)?")
_ISO_WHOLE = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.]\d{1,9})?(Z|[+-]\d\d:?\d\d)?$"
# A number's size tells its unit: seconds until the year 5138, then ms, µs, ns since 1970.
_UNITS = ((Decimal(10) ** 11, 9), (Decimal(10) ** 14, 6), (Decimal(10) ** 17, 3), (Decimal(2) ** 62, 0))


@dataclass(slots=True)
class Gathered:
    """What has been collected so far; `draft` makes columns of it."""

    head: Head
    survey: Survey
    at_ns: list[int] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    input_tokens: list[int] = field(default_factory=list)
    output_tokens: list[int] = field(default_factory=list)
    duration_ns: list[int] = field(default_factory=list)
    session: list[str | None] = field(default_factory=list)
    model: list[str] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    text: list[str | None] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)  # when the last ones began and ended, in the words of the source
    until: list[Any] = field(default_factory=list)
    names: tuple[str, str] = ("the time", "the end")  # the source's, of the two
    ends_after: bool = False  # an end before its start is an error, not an unknown duration

    def add(
        self,
        line: int,
        at_ns: int,
        *,
        input_tokens: int = UNKNOWN,
        output_tokens: int = UNKNOWN,
        duration_ns: int = UNKNOWN,
        session: Any = None,
        model: Any = "",
        status: int = 200,
        text: str | None = None,
    ) -> None:
        """One request more."""
        self.at_ns.append(at_ns)
        self.row.append(line)
        self.input_tokens.append(input_tokens)
        self.output_tokens.append(output_tokens)
        self.duration_ns.append(duration_ns if 0 <= duration_ns < _NS_MAX else UNKNOWN)
        self.session.append(str(session) if session not in (None, "") else None)
        self.model.append(model if isinstance(model, str) else "")
        self.status.append(status)
        self.text.append(text)

    def add_said(self, line: int, said: Any, until: Any = None, **rest: Any) -> None:
        """One request more, from and to moments as the source writes them; `until` is None where it tells no end.

        A source has all its requests by this or all by `add`: the words are made numbers a column at a time.
        """
        self.add(line, 0, **rest)
        self.said.append(said)
        self.until.append(until)
        if len(self.said) >= _SETTLED_AT_ONCE:
            self.settle()

    def settle(self) -> None:
        """Make numbers of the moments that were said. Raises BadInputError with the line."""
        if not self.said:
            return
        first = len(self.at_ns) - len(self.said)
        rows = self.row[first:]
        self.at_ns[first:] = starts = instants_ns(self.head, rows, self.said, self.names[0])
        ended = [place for place, until in enumerate(self.until) if until is not None]
        ends = [self.until[place] for place in ended]
        for place, end_ns in zip(
            ended, instants_ns(self.head, [rows[k] for k in ended], ends, self.names[1]), strict=True
        ):
            took_ns = end_ns - starts[place]
            if took_ns < 0 and self.ends_after:
                refuse(self.head.path, rows[place], "it ends before it starts")
            self.duration_ns[first + place] = took_ns if 0 <= took_ns < _NS_MAX else UNKNOWN
        self.said, self.until = [], []

    def drop(self, reason: str) -> None:
        """One record is no request to replay."""
        self.survey.dropped[reason] = self.survey.dropped.get(reason, 0) + 1

    def draft(self, *, in_order: bool = False, absolute: bool = True) -> Draft:
        """The columns; raises BadInputError for a time that no clock shows."""
        self.settle()
        return Draft(
            at_ns=self._times(),
            row=np.array(self.row, np.int64),
            input_tokens=np.array(self.input_tokens, np.int64),
            output_tokens=np.array(self.output_tokens, np.int64),
            duration_ns=np.array(self.duration_ns, np.int64),
            status=np.array(self.status, np.int64),
            session=self.session if any(each is not None for each in self.session) else None,
            model=self.model,
            texts=self.text if any(each is not None for each in self.text) else None,
            in_order=in_order,
            absolute=absolute,
        )

    def _times(self) -> Int64s:
        try:
            found = np.array(self.at_ns, np.int64)
        except OverflowError:
            found = np.array([max(-_NS_MAX, min(each, _NS_MAX)) for each in self.at_ns], np.int64)
        if (wrong := np.abs(found) >= _NS_MAX).any():
            refuse(self.head.path, self.row[int(np.argmax(wrong))], "the time is out of range")
        return found


def records(head: Head, *keys: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number from 1, object) of a file that is JSONL, one array of objects, or one object with a list under a key.

    The number is the line in JSONL, else the place in the list. Fractions are Decimals, never floats."""
    path = head.path
    try:
        by_line = isinstance(msgspec.json.decode(head.line), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        by_line = False
    decoder = msgspec.json.Decoder(float_hook=Decimal)
    if by_line and not (keys and set(keys) & set(head.record)):
        for number, text in pieces_of_lines(path):
            for place, line in enumerate(text.split(b"\n"), number):
                if line.strip():
                    yield place, _object(head, decoder, place, line)
        return
    with open_bytes(path) as file:
        data = guarded(path, file.read)
    found = _decoded(head, decoder, 1, data)
    if isinstance(found, dict):
        found = next((found[key] for key in keys if isinstance(found.get(key), list)), [found])
    if not isinstance(found, list):
        refuse(path, 1, "neither an object nor a list of objects")
    for place, each in enumerate(found, 1):
        if not isinstance(each, dict):
            refuse(path, place, "the record is no JSON object")
        yield place, each


def _object(head: Head, decoder: msgspec.json.Decoder[Any], place: int, line: bytes) -> dict[str, Any]:
    found = _decoded(head, decoder, place, line)
    if not isinstance(found, dict):
        refuse(head.path, place, "no JSON object")
    return found


def _decoded(head: Head, decoder: msgspec.json.Decoder[Any], place: int, data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, ArithmeticError) as error:
        refuse(head.path, place, f"no JSON ({str(error)[:80]})")


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
    """`instant_ns` of a column; where all are ISO 8601 of one form, Arrow reads them, twenty times as fast."""
    try:
        texts = pa.array(values, pa.string())
        if pc.all(pc.match_substring_regex(texts, _ISO_WHOLE)).as_py():
            kind = (
                pa.timestamp("ns", "UTC") if str(texts[0])[-1:] == "Z" or "+" in str(texts[0]) else pa.timestamp("ns")
            )
            found: list[int] = texts.cast(kind).cast(pa.int64()).to_pylist()
            if texts.null_count == 0:
                return found
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        pass  # another way of writing it, or several
    return [instant_ns(head, line, value, name) for line, value in zip(lines, values, strict=True)]


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


def seconds_ns(value: Any, digits: int = 9) -> int:
    """A duration in units of 10^digits ns; −1 where it is none."""
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
