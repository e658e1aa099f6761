"""Requests collected one by one, for sources that are records and not columns: exports, spans, logs.

It keeps count of what is dropped, and why; how such sources write a time and a number is known to `written`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np

from loadgen.trace.assemble import Draft
from loadgen.trace.reading import Head, guarded, open_bytes, pieces_of_lines, refuse
from loadgen.trace.table import UNKNOWN, Int64s, Survey
from loadgen.trace.written import instants_ns

_NS_MAX = 2**62
_SETTLED_AT_ONCE = 1 << 16
FAILED = 500  # the status of what a source calls failed without a number


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

    def extend(
        self,
        lines: Sequence[int],
        said: list[Any],
        until: list[Any] | None = None,
        *,
        input_tokens: list[int],
        output_tokens: list[int],
        session: list[Any],
        model: list[Any],
        status: list[int],
        text: list[str | None],
        duration_ns: list[int] | None = None,
    ) -> None:
        """`add_said` of many, as columns."""
        n = len(lines)
        self.at_ns += [0] * n
        self.row += lines
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        self.duration_ns += duration_ns or [UNKNOWN] * n
        self.session += [str(each) if each not in (None, "") else None for each in session]
        self.model += [each if isinstance(each, str) else "" for each in model]
        self.status += status
        self.text += text
        self.said, self.until = said, until or [None] * n
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
        ends_ns = instants_ns(self.head, [rows[place] for place in ended], ends, self.names[1])
        for place, end_ns in zip(ended, ends_ns, strict=True):
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


def by_line(head: Head, *keys: str) -> bool:
    """Whether it is JSONL: the first line is an object, and not one that holds the records under one of the keys."""
    try:
        found = msgspec.json.decode(head.line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(found, dict) and not set(keys) & set(head.record)


def records(head: Head, *keys: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number from 1, object) of a file that is JSONL, one array of objects, or one object with a list under a key.

    The number is the line in JSONL, else the place in the list. Fractions are Decimals, never floats."""
    path = head.path
    decoder = msgspec.json.Decoder(float_hook=Decimal)
    if by_line(head, *keys):
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
