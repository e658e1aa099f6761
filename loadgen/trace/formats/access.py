"""Access logs: nginx's (and Apache's) combined form, Envoy's default text and JSON. They know when, not what.

nginx writes at the END, in whole seconds: the start is found only where $request_time is logged. Lines that are no
entry, and requests that ask no model, are dropped and counted. Bytes are not tokens: without token fields the lengths
are unknown, unless the caller says how many bytes to take for a token.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from loadgen.trace.assemble import Choices, assemble
from loadgen.trace.gather import Gathered
from loadgen.trace.reading import TOKENS_MAX, Head, pieces_of_lines
from loadgen.trace.table import UNKNOWN, Survey, Trace
from loadgen.trace.written import count, iso_ns, seconds_ns
from loadgen.units import NS_PER_MS

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
_TIME = re.compile(r"(?:\b(?:rt|request_time)[=:]\s*|(?:^|\s|\"))\"?(\d+\.\d{3})(?=\"|\s|$|,)")
_LENGTH = re.compile(r"\b(?:rl|request_length)[=:]\s*\"?(\d+)")
_ENVOY = re.compile(
    r'\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)\] "([A-Z]+) (\S+) [^"]*" (\d{3}) \S+ '
    r'(?:[^\s"]+ [^\s"]+ "[^"]*" )?(\d+|-) (\d+|-) (\d+|-) .*'
)
_MODELS = re.compile(
    r"(?:completions?|responses|messages|generate(?:_stream)?|invocations|:(?:stream)?generatecontent)$", re.IGNORECASE
)
_INPUTS = ("gen_ai.usage.input_tokens", "genai_tokens_input", "llm_input_token", "input_tokens")
_OUTPUTS = ("gen_ai.usage.output_tokens", "genai_tokens_output", "llm_output_token", "output_tokens")
_MODEL_NAMES = ("gen_ai.request.model", "genai_model_name", "model")
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
    gathered, untimed = Gathered(head, survey), 0
    for line, text in _lines(gathered):
        match = _COMBINED.fullmatch(text)
        end_ns = _stamp_ns(match[1]) if match else None
        if match is None or end_ns is None:
            gathered.drop(NOT_AN_ENTRY)
            continue
        if not _asks(gathered, match[2], match[3]):
            continue
        rest = match[6].split('"', 4)[-1] if match[6].count('"') >= 4 else match[6]  # behind referer and agent
        took = _TIME.search(rest)
        length = _LENGTH.search(rest) if choices.bytes_per_token is not None else None
        duration_ns = int(took[1].replace(".", "")) * NS_PER_MS if took and len(took[1]) < 16 else UNKNOWN
        untimed += took is None
        gathered.add(
            line,
            end_ns - max(duration_ns, 0),
            duration_ns=duration_ns,
            status=int(match[4]),
            input_tokens=_tokens(length[1] if length else None, choices),
        )
    survey.oddities.append("The log has whole seconds: what came within one second is in no order.")
    if untimed:
        survey.oddities.append(
            f"Entries without $request_time, whose time is that of the END: {untimed:,}. Log it to know the start."
        )
    return _finish(gathered, choices)


@lru_cache(maxsize=4096)
def _stamp_ns(text: str) -> int | None:
    """`16/Nov/2023:18:15:46 +0100` in ns since 1970; None where no calendar has it."""
    month = _MONTHS.get(text[3:6])
    return None if month is None else iso_ns(f"{text[7:11]}-{month:02d}-{text[:2]} {text[12:20]}{text[21:]}")


def load_envoy(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Requests to a model are kept. Raises BadInputError where there is none."""
    survey.format = "Envoy"
    gathered = Gathered(head, survey, names=("start_time", ""))
    for line, text in _lines(gathered):
        match = _ENVOY.fullmatch(text)
        if match is not None:
            if _asks(gathered, match[2], match[3]):
                gathered.add_said(
                    line,
                    match[1],
                    input_tokens=_tokens(match[5], choices),
                    duration_ns=seconds_ns(match[7], 6),
                    status=int(match[4]),
                )
            continue
        entry = _envoy(text)
        if entry is None:
            gathered.drop(NOT_AN_ENTRY)
        elif _asks(gathered, str(entry.get("method", "POST")), str(entry.get("path", entry.get("x-envoy-path", "")))):
            sizes = [count(head, line, _any(entry, names), "tokens") for names in (_INPUTS, _OUTPUTS)]
            status = count(head, line, entry.get("response_code"), "response_code")
            received = entry.get("bytes_received")
            gathered.add_said(
                line,
                entry.get("start_time"),
                input_tokens=sizes[0] if sizes[0] >= 0 else _tokens(received, choices),
                output_tokens=sizes[1],
                duration_ns=seconds_ns(entry.get("duration"), 6),
                status=status if 0 <= status <= 999 else 0,
                model=_any(entry, _MODEL_NAMES),
                session=entry.get("session_id", entry.get("x-session-id")),
            )
    return _finish(gathered, choices)


def _lines(gathered: Gathered) -> Iterator[tuple[int, str]]:
    for number, piece in pieces_of_lines(gathered.head.path):
        for line, text in enumerate(piece.split(b"\n"), number):
            if text.strip():
                gathered.survey.rows_read += 1
                yield line, text.decode(errors="replace").rstrip("\r")


def _envoy(text: str) -> dict[str, Any] | None:
    """An entry of Envoy's JSON; None where the line is none."""
    if text.startswith("{"):
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
        return found if isinstance(found, dict) and set(found) >= _ENVOY_KEYS else None
    return None


def _any(entry: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((entry[name] for name in names if entry.get(name) not in (None, "", "-")), None)


@lru_cache(maxsize=4096)
def asks_model(method: str, path: str) -> bool:
    """Whether a request is one for text, by its method and path."""
    return method == "POST" and _MODELS.search(path.partition("?")[0].rstrip("/")) is not None


def _asks(gathered: Gathered, method: str, path: str) -> bool:
    asks = asks_model(method, path)
    if not asks:
        gathered.drop(NO_MODEL)
    return asks


def _tokens(size: Any, choices: Choices) -> int:
    """Bytes of a request as tokens, where the caller said how."""
    if choices.bytes_per_token is None or not str(size).isdigit() or len(str(size)) > 15:
        return UNKNOWN
    return min(max(1, round(int(str(size)) / choices.bytes_per_token)), TOKENS_MAX)


def _finish(gathered: Gathered, choices: Choices) -> Trace:
    known = sum(each >= 0 for each in gathered.input_tokens)
    if known and choices.bytes_per_token is not None:
        gathered.survey.oddities.append(f"Input tokens are a guess: {choices.bytes_per_token:g} bytes each.")
    elif not known and gathered.at_ns:
        gathered.survey.oddities.append("Lengths in tokens are not in the log.")
    return assemble(gathered.draft(), gathered.survey, choices)
