"""JSON as typed rows, some megabytes at a time: JSONL, one array of objects, or one object with a list under a key.

A row is a msgspec Struct of the fields that its format reads; what else stands in the object is passed over and never
becomes an object of Python's. Fractions are Decimals. What does not fit is refused with its line, or its place in the
list.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec

from loadgen.trace.reading import BYTE_ORDER_MARK, Head, guarded, open_bytes, pieces_of_lines, refuse

_AT_ONCE = 1 << 11  # rows: with their objects about what a processor's cache holds
_BROKEN = (msgspec.DecodeError, RecursionError, ValueError, ArithmeticError)  # UnicodeDecodeError is a ValueError
T = TypeVar("T")
Pieces = Iterator[tuple[Sequence[int], list[T]]]


def json_rows(path: Path, kind: type[T], *, first: int = 1, torn: list[int] | None = None) -> Pieces[T]:
    """(lines, rows) of a JSONL file from line `first`; empty lines are passed over.

    A last line without its end that cannot be read is put into `torn` where that is given. Raises BadInputError.
    """
    decoder = msgspec.json.Decoder(kind, float_hook=Decimal)
    for numbers, text in pieces_of_lines(path):
        if numbers[0] < first:  # only the first piece holds the head
            text = b"".join(text.split(b"\n", first - numbers[0])[first - numbers[0] :])
            numbers = range(min(first, numbers.stop), numbers.stop)
        try:
            rows = decoder.decode_lines(text)
        except _BROKEN:
            yield _one_by_one(path, decoder, numbers, text, torn)
        else:
            lines: Sequence[int] = numbers
            if len(rows) != len(lines):
                lines = [place for place, line in zip(numbers, text.split(b"\n"), strict=False) if line.strip()]
            if len(lines) == len(rows):
                yield lines, rows
            else:  # objects that go on over lines, or several in one
                yield _one_by_one(path, decoder, numbers, text, torn)


def _one_by_one(
    path: Path, decoder: msgspec.json.Decoder[T], numbers: range, text: bytes, torn: list[int] | None
) -> tuple[Sequence[int], list[T]]:
    places, rows = [], []
    for place, line in zip(numbers, text.split(b"\n"), strict=False):
        if not line.strip():
            continue
        try:
            rows.append(decoder.decode(line))
            places.append(place)
        except _BROKEN as error:
            if torn is None or place != numbers[-1] or text.endswith(b"\n"):
                _refuse_json(path, place, error)
            torn.append(place)
    return places, rows


def record_rows(head: Head, kind: type[T], *keys: str) -> Pieces[T]:
    """(lines, rows) of JSONL; (places from 1, rows) of an array, or of the list under a key of the one object there is.

    What is not JSONL is held as bytes at once, as rows a piece at a time. Raises BadInputError."""
    if _is_jsonl(head, keys):
        yield from json_rows(head.path, kind)
        return
    with open_bytes(head.path) as file:
        data = guarded(head.path, file.read).removeprefix(BYTE_ORDER_MARK)
    try:
        found: list[msgspec.Raw] = _listed(data, keys)
    except _BROKEN as error:
        _refuse_json(head.path, 1, error)
    yield from decoded(head.path, kind, found, range(1, len(found) + 1))


def decoded(path: Path, kind: type[T], raws: Sequence[msgspec.Raw], lines: Sequence[int]) -> Pieces[T]:
    """(lines, rows) of JSON that has been cut apart, a piece at a time. Raises BadInputError."""
    decoder = msgspec.json.Decoder(kind, float_hook=Decimal)
    for start in range(0, len(raws), _AT_ONCE):
        places, rows = lines[start : start + _AT_ONCE], list[T]()
        try:
            for raw in raws[start : start + _AT_ONCE]:
                rows.append(decoder.decode(raw))
        except _BROKEN as error:
            _refuse_json(path, places[len(rows)], error)
        yield places, rows


def told(rows: Sequence[Any], names: Iterable[str]) -> list[Any]:
    """A column: what the first of several fields that is neither null nor empty says, else null or empty."""
    return first_told(list(map(attrgetter(name), rows)) for name in names)


def first_told(columns: Iterable[list[Any]]) -> list[Any]:
    """The same of columns; of them no more are asked for than are needed."""
    rest = iter(columns)
    found = next(rest)
    while not all(found) and (None in found or "" in found) and (more := next(rest, None)) is not None:
        nothing = found.count(None) == len(found)
        found = more if nothing else [m if f is None or f == "" else f for f, m in zip(found, more, strict=True)]
    return found


def _is_jsonl(head: Head, keys: Sequence[str]) -> bool:
    """Whether the first line is a whole object, and not one that holds the records under one of the keys."""
    if head.record:
        return not set(keys) & set(head.record)
    try:
        return isinstance(msgspec.json.decode(head.line), dict)
    except _BROKEN:  # a line longer than the head, or none
        first = re.match(rb'\s*\{\s*"([^"]*)"', head.line)
        return b"\n" not in head.data and first is not None and first[1].decode(errors="replace") not in keys


def _listed(data: bytes, keys: Sequence[str]) -> list[msgspec.Raw]:
    """The records of a document, each as the bytes that it is."""
    if not data.lstrip().startswith(b"{"):
        return msgspec.json.decode(data, type=list[msgspec.Raw])
    held = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    lists = (held[key] for key in keys if key in held and bytes(memoryview(held[key])[:1]) == b"[")
    found = next(lists, None)
    return [msgspec.Raw(data)] if found is None else msgspec.json.decode(found, type=list[msgspec.Raw])


def _refuse_json(path: Path, place: int, error: Exception) -> NoReturn:
    refuse(path, place, str(error).replace("`", "'").replace(" - at '$.", " at '") or "not JSON")
