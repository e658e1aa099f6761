"""Access logs: nginx's (and Apache's) combined form, Envoy's default text and JSON. They know when, not what.

nginx writes at the END, in whole seconds: the start is found only where $request_time is logged. Lines that are no
entry, and requests that ask no model, are dropped and counted. Bytes are not tokens: without token fields the lengths
are unknown, unless the caller says how many bytes to take for a token.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.gather import together
from loadgen.trace.reading import TOKENS_MAX, Head, pieces_of_lines
from loadgen.trace.table import UNKNOWN, Int64s, Survey, Trace, column
from loadgen.trace.written import counts, durations_ns, instants_ns, iso_ns, names

_COMBINED = re.compile(
    r"\S+ \S+ .*?\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    r'"([A-Z]+) (\S+)[^"]*" (\d{3}) (\d+|-)(.*)'
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_MS_DIGITS = 6
_TIME = re.compile(r"(?:\b(?:rt|request_time)[=:]\s*|(?:^|\s|\"))\"?(\d+\.\d{3})(?=\"|\s|$|,)")
_LENGTH = re.compile(r"\b(?:rl|request_length)[=:]\s*\"?(\d+)")
_ENVOY = re.compile(
    r'\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)\] "([A-Z]+) (\S+) [^"]*" (\d{3}) \S+ '
    r'(?:[^\s"]+ [^\s"]+ "[^"]*" )?(\d+|-) (?:\d+|-) (\d+|-) .*'
)
_MODELS = re.compile(
    r"(?:completions?|responses|messages|generate(?:_stream)?|invocations|:(?:stream)?generatecontent)$", re.IGNORECASE
)
_INPUTS = ("gen_ai.usage.input_tokens", "genai_tokens_input", "llm_input_token", "input_tokens")
_OUTPUTS = ("gen_ai.usage.output_tokens", "genai_tokens_output", "llm_output_token", "output_tokens")
_MODEL_NAMES = ("gen_ai.request.model", "genai_model_name", "model")
_SESSIONS = ("session_id", "x-session-id")
_ENVOY_KEYS = {"start_time", "response_code", "duration"}
NOT_AN_ENTRY, NO_MODEL = "no entry of the log's form", "asks no model"


def matches_nginx(head: Head) -> bool:
    return any(_COMBINED.fullmatch(line) for line in _first_lines(head))


def matches_envoy(head: Head) -> bool:
    return set(head.record) >= _ENVOY_KEYS or any(_ENVOY.fullmatch(line) for line in _first_lines(head))


def _first_lines(head: Head) -> list[str]:
    return [line.decode(errors="replace").rstrip("\r") for line in head.data.split(b"\n")[:5]]


def load_nginx(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Requests to a model are kept. Raises BadInputError where there is none."""
    survey.format = "nginx"
    pieces, untimed = [], 0
    for lines, entries in _lines(head, survey):
        rows: list[tuple[int, int, str, str | None, str | None]] = []
        for line, text in zip(lines, entries, strict=True):
            match = _COMBINED.fullmatch(text)
            end_ns = _stamp_ns(match[1]) if match else None
            if match is None or end_ns is None:
                survey.drop(NOT_AN_ENTRY)
            elif not asks_model(match[2], match[3]):
                survey.drop(NO_MODEL)
            else:
                rest = match[6].split('"', 4)[-1] if match[6].count('"') >= 4 else match[6]  # behind referer and agent
                took = _TIME.search(rest)
                length = _LENGTH.search(rest) if choices.bytes_per_token is not None else None
                took_ms = took and took[1].replace(".", "")
                rows.append((line, end_ns, match[4], took_ms, length and length[1]))
        numbers, ends_ns, status, took_ms, sizes = _columns(rows, 5)
        durations = durations_ns(took_ms, _MS_DIGITS)
        untimed += list(took_ms).count(None)
        pieces.append(
            Draft(
                at_ns=np.array(ends_ns, np.int64) - np.maximum(durations, 0),
                row=np.array(numbers, np.int64),
                input_tokens=_tokens(sizes, choices),
                output_tokens=column(len(rows)),
                duration_ns=durations,
                status=np.array(status, np.int64),
            )
        )
    survey.oddities.append("The log has whole seconds: what came within one second is in no order.")
    if untimed:
        survey.oddities.append(
            f"Entries without $request_time, whose time is that of the END: {untimed:,}. Log it to know the start."
        )
    return _finish(together(pieces), survey, choices)


@lru_cache(maxsize=4096)
def _stamp_ns(text: str) -> int | None:
    """`16/Nov/2023:18:15:46 +0100` in ns since 1970; None where no calendar has it."""
    month = _MONTHS.get(text[3:6])
    return None if month is None else iso_ns(f"{text[7:11]}-{month:02d}-{text[:2]} {text[12:20]}{text[21:]}")


def load_envoy(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Requests to a model are kept. Raises BadInputError where there is none."""
    survey.format = "Envoy"
    pieces = []
    for lines, entries in _lines(head, survey):
        rows: list[tuple[Any, ...]] = []
        for line, text in zip(lines, entries, strict=True):
            match = _ENVOY.fullmatch(text)
            if match is not None:
                said, method, path, *told = *match.groups(), None, None, None, None
            elif (entry := _envoy(text)) is not None:
                said, method, path, *told = _told(entry)
            else:
                survey.drop(NOT_AN_ENTRY)
                continue
            if asks_model(method, path):
                rows.append((line, said, *told))
            else:
                survey.drop(NO_MODEL)
        pieces.append(_envoys(head, choices, rows))
    return _finish(together(pieces), survey, choices)


def _envoys(head: Head, choices: Choices, rows: list[tuple[Any, ...]]) -> Draft:
    lines, said, status, received, took_ms, inputs, outputs, models, sessions = _columns(rows, 9)
    numbers = counts(head, lines, status, "response_code")
    tokens = counts(head, lines, inputs, "tokens")
    return Draft(
        at_ns=instants_ns(head, lines, said, "start_time"),
        row=np.array(lines, np.int64),
        input_tokens=np.where(tokens >= 0, tokens, _tokens(received, choices)),
        output_tokens=counts(head, lines, outputs, "tokens"),
        duration_ns=durations_ns(took_ms, _MS_DIGITS),
        status=np.where((numbers >= 0) & (numbers <= 999), numbers, 0),
        session=names(sessions),
        model=names(models),
    )


def _lines(head: Head, survey: Survey) -> Iterator[tuple[list[int], list[str]]]:
    """(numbers, texts) of the lines with something in them, some megabytes at a time."""
    for numbers, piece in pieces_of_lines(head.path):
        found = [
            (number, text.rstrip("\r"))
            for number, text in zip(numbers, piece.decode(errors="replace").split("\n"), strict=False)
            if text.strip()
        ]
        survey.rows_read += len(found)
        yield [number for number, _ in found], [text for _, text in found]


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) or [()] * width


def _envoy(text: str) -> dict[str, Any] | None:
    """An entry of Envoy's JSON; None where the line is none."""
    if text.startswith("{"):
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
        return found if isinstance(found, dict) and set(found) >= _ENVOY_KEYS else None
    return None


def _told(entry: dict[str, Any]) -> tuple[Any, ...]:
    """Time, method, path; status, bytes, ms, tokens of prompt and answer, model, session."""
    return (
        entry.get("start_time"),
        str(entry.get("method", "POST")),
        str(entry.get("path", entry.get("x-envoy-path", ""))),
        entry.get("response_code"),
        entry.get("bytes_received"),
        entry.get("duration"),
        *(_any(entry, each) for each in (_INPUTS, _OUTPUTS, _MODEL_NAMES, _SESSIONS)),
    )


def _any(entry: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((entry[name] for name in names if entry.get(name) not in (None, "", "-")), None)


@lru_cache(maxsize=4096)
def asks_model(method: str, path: str) -> bool:
    """Whether a request is one for text, by its method and path."""
    return method == "POST" and _MODELS.search(path.partition("?")[0].rstrip("/")) is not None


def _tokens(sizes: Sequence[Any], choices: Choices) -> Int64s:
    """Bytes of requests as tokens, where the caller said how."""
    per = choices.bytes_per_token
    if per is None:
        return column(len(sizes))
    known = (int(text) if text.isdigit() and len(text) <= 15 else UNKNOWN for text in map(str, sizes))
    return np.array([UNKNOWN if n < 0 else min(max(1, round(n / per)), TOKENS_MAX) for n in known], np.int64)


def _finish(draft: Draft, survey: Survey, choices: Choices) -> Trace:
    known = (draft.input_tokens >= 0).any()
    if known and choices.bytes_per_token is not None:
        survey.oddities.append(f"Input tokens are a guess: {choices.bytes_per_token:g} bytes each.")
    elif not known and len(draft.at_ns):
        survey.oddities.append("Lengths in tokens are not in the log.")
    return assemble(draft, survey, choices)
