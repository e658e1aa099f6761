"""Reads datasets from files: length tables (CSV), custom prompts (JSONL), ShareGPT conversations (JSON).

Rule: a file is read whole and either understood or refused with the line and the reason; nothing is guessed, counted or
drawn here. Apart from `lengths` because a file format is not a choice of rows.
"""

import csv
import io
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import msgspec

from loadgen.errors import BadInputError
from loadgen.workload.distributions import TOKENS_MAX

_R = TypeVar("_R")

HEADER = ("input_tokens", "output_tokens")


class Row(NamedTuple):
    """One request as a file gives it; None where the file does not say."""

    input_tokens: int | None
    output_tokens: int | None
    text: str | None = None


class Conversation(NamedTuple):
    """A ShareGPT conversation: how many turns, who begins, the text of the first two turns ("" where there is none)."""

    turns: int
    speaker: str
    prompt: str
    answer: str


def read_table(path: Path) -> list[Row]:
    """Read a CSV file whose header names input_tokens and output_tokens. Raises BadInputError with the line number."""
    lines = csv.reader(io.StringIO(_text(path)))
    header = [name.strip() for name in next(lines, [])]
    if not set(HEADER) <= set(header):
        raise BadInputError(
            f"Line 1 of {path} does not name the columns {' and '.join(HEADER)}.",
            f"The first line of a length table is '{','.join(HEADER)}'.",
        )
    first, second = (header.index(name) for name in HEADER)
    try:
        rows = [
            Row(_tokens(cells, first, path, lines.line_num), _tokens(cells, second, path, lines.line_num))
            for cells in lines
            if cells
        ]
    except csv.Error as error:
        raise BadInputError(f"Line {lines.line_num} of {path} is not CSV: {error}.") from None
    return _not_empty(rows, path)


def _tokens(cells: list[str], column: int, path: Path, line: int) -> int:
    cell = cells[column].strip() if column < len(cells) else ""
    if not (cell.isascii() and cell.isdigit() and len(cell) <= len(str(TOKENS_MAX)) and 1 <= int(cell) <= TOKENS_MAX):
        raise BadInputError(
            f"Line {line} of {path}: '{cell}' is not a whole number of tokens.",
            f"Each row has two numbers from 1 to {TOKENS_MAX:,}.",
        )
    return int(cell)


_Tokens = Annotated[int, msgspec.Meta(ge=1, le=TOKENS_MAX)]


class _CustomRow(msgspec.Struct):
    prompt: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    input_tokens: _Tokens | None = None
    output_tokens: _Tokens | None = None


_CUSTOM_HINT = 'A row is {"prompt": "…", "output_tokens": 128} (the number may be left out) or both token counts.'


def read_custom(path: Path) -> list[Row]:
    """Read JSONL rows, all with a `prompt` or all with both token counts. Raises BadInputError with the line number."""
    decoder = msgspec.json.Decoder(_CustomRow)
    rows: list[Row] = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found = decoder.decode(line)
        except msgspec.DecodeError as error:
            raise BadInputError(f"Line {number} of {path}: {error}.", _CUSTOM_HINT) from None
        if found.prompt is None and (found.input_tokens is None or found.output_tokens is None):
            raise BadInputError(f"Line {number} of {path} has neither a prompt nor both token counts.", _CUSTOM_HINT)
        if rows and (found.prompt is None) != (rows[0].text is None):
            has = "has no" if found.prompt is None else "has a"
            raise BadInputError(
                f"Line {number} of {path} {has} prompt, unlike the rows before it.",
                "Either every row has a prompt, or none.",
            )
        rows.append(Row(found.input_tokens, found.output_tokens, found.prompt))
    return _not_empty(rows, path)


class _Turn(msgspec.Struct):
    speaker: str | None = msgspec.field(name="from", default=None)
    value: str | None = None


class _Entry(msgspec.Struct):
    conversations: list[_Turn] = []


def read_sharegpt(path: Path) -> list[Conversation]:
    """Read the first two turns of every conversation of a ShareGPT JSON file. Raises BadInputError with the place."""
    try:
        entries = msgspec.json.decode(_text(path), type=list[_Entry])
    except msgspec.DecodeError as error:
        raise BadInputError(
            f"{path} is not a ShareGPT file: {error}.",
            'It is one JSON list of {"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", …}]}.',
        ) from None
    return _not_empty([_conversation(entry.conversations) for entry in entries], path)


def _conversation(turns: list[_Turn]) -> Conversation:
    first, second = (*turns, _Turn(), _Turn())[:2]
    return Conversation(len(turns), first.speaker or "", first.value or "", second.value or "")


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadInputError(f"The dataset {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BadInputError(f"Line {line} of {path} is not UTF-8 text.", "Save the file as UTF-8.") from None


def _not_empty(rows: list[_R], path: Path) -> list[_R]:
    if not rows:
        raise BadInputError(f"{path} has no rows.", "A dataset needs at least one request.")
    return rows
