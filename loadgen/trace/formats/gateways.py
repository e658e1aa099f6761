"""Exports of LLM gateways: LiteLLM, Langfuse and Helicone; JSONL or one array. One function a gateway, one table.

What a gateway answered from its own cache never reached a model and is dropped; so is what is no generation.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.gather import FAILED, together
from loadgen.trace.jsonrows import record_rows, told
from loadgen.trace.messages import prompt_text
from loadgen.trace.reading import Head
from loadgen.trace.table import Int64s, Survey, Trace, column
from loadgen.trace.written import count, counts, durations_ns, instants_ns, mapping, names, spans_ns, texts

_STARTS, _PYTHONIC = ("startTime", "endTime"), ("start_time", "end_time")
_MS_DIGITS = 6
_GENERATES = ("completion", "responses", "messages", "generate")
_NO_CACHE = "00000000-0000-0000-0000-000000000000"
_LIST = "data"  # the key of the records where they stand in one object
_NOTHING = (None, "", "{}", "[]")
_BRIEF = 40


class LiteLLM(msgspec.Struct, gc=False):
    """StandardLoggingPayload, or a row of SpendLogs, as far as it is read."""

    call_type: Any = None
    cache_hit: Any = None
    startTime: Any = None  # noqa: N815 (theirs)
    endTime: Any = None  # noqa: N815
    prompt_tokens: Any = None
    completion_tokens: Any = None
    session_id: Any = None
    trace_id: Any = None
    model: Any = None
    status: Any = None
    messages: Any = None


def _litellm_dropped(row: LiteLLM) -> str | None:
    kind = row.call_type or "completion"
    if not (kind == "acompletion" or any(word in str(kind) for word in _GENERATES)):
        return f"call_type {str(kind)[:_BRIEF]}"
    return "answered from the gateway's cache" if row.cache_hit and str(row.cache_hit).lower() == "true" else None


def _litellm(head: Head, lines: Sequence[int], rows: list[LiteLLM]) -> Draft:
    starts, ends = ([getattr(row, name) for row in rows] for name in _STARTS)
    at_ns, duration_ns = spans_ns(head, lines, starts, ends, _STARTS)
    return Draft(
        at_ns=at_ns,
        row=np.array(lines, np.int64),
        input_tokens=counts(head, lines, [row.prompt_tokens for row in rows], "prompt_tokens"),
        output_tokens=counts(head, lines, [row.completion_tokens for row in rows], "completion_tokens"),
        duration_ns=duration_ns,
        session=names([row.session_id or row.trace_id for row in rows]),
        model=names([row.model for row in rows]),
        status=np.array([FAILED if row.status == "failure" else 200 for row in rows], np.int64),
        texts=texts([_text(row.messages) for row in rows]),
    )


class Langfuse(msgspec.Struct, gc=False):
    """An observation, in the names of the export and of the API, as far as it is read."""

    type: Any = None
    start_time: Any = None
    startTime: Any = None  # noqa: N815 (theirs)
    end_time: Any = None
    endTime: Any = None  # noqa: N815
    usage_details: Any = None
    usageDetails: Any = None  # noqa: N815
    usage: Any = None
    prompt_tokens: Any = None
    promptTokens: Any = None  # noqa: N815
    completion_tokens: Any = None
    completionTokens: Any = None  # noqa: N815
    session_id: Any = None
    sessionId: Any = None  # noqa: N815
    trace_id: Any = None
    traceId: Any = None  # noqa: N815
    provided_model_name: Any = None
    model: Any = None
    level: Any = None
    input: Any = None


def _langfuse_dropped(row: Langfuse) -> str | None:
    return None if row.type == "GENERATION" else f"type {str(row.type)[:_BRIEF]}"


def _langfuse(head: Head, lines: Sequence[int], rows: list[Langfuse]) -> Draft:
    """The tokens of the prompt are all whose name says input, cached ones too."""
    starts, ends = told(rows, ("start_time", "startTime")), told(rows, ("end_time", "endTime"))
    at_ns, duration_ns = spans_ns(head, lines, starts, ends, _PYTHONIC)
    usages = [mapping(row.usage_details or row.usageDetails or row.usage) for row in rows]
    return Draft(
        at_ns=at_ns,
        row=np.array(lines, np.int64),
        input_tokens=_sums(head, lines, usages, "input", told(rows, ("prompt_tokens", "promptTokens"))),
        output_tokens=_sums(head, lines, usages, "output", told(rows, ("completion_tokens", "completionTokens"))),
        duration_ns=duration_ns,
        session=names(told(rows, ("session_id", "sessionId", "trace_id", "traceId"))),
        model=names(told(rows, ("provided_model_name", "model"))),
        status=np.array([FAILED if row.level == "ERROR" else 200 for row in rows], np.int64),
        texts=texts([_text(row.input) for row in rows]),
    )


class Helicone(msgspec.Struct, gc=False):
    """A request, as far as it is read."""

    request_created_at: Any = None
    cache_enabled: Any = None
    cache_reference_id: Any = None
    response_status: Any = None
    prompt_tokens: Any = None
    prompt_cache_read_tokens: Any = None
    prompt_cache_write_tokens: Any = None
    provider: Any = None
    request_properties: Any = None
    properties: Any = None
    completion_tokens: Any = None
    delay_ms: Any = None
    latency: Any = None
    session_id: Any = None
    request_model: Any = None
    model: Any = None
    request_body: Any = None


def _helicone_dropped(row: Helicone) -> str | None:
    cached = row.cache_enabled is True and row.cache_reference_id not in (None, "", _NO_CACHE)
    return "answered from the gateway's cache" if cached else None


def _helicone(head: Head, lines: Sequence[int], rows: list[Helicone]) -> Draft:
    """Anthropic's prompt_tokens leave the cached ones out."""
    inputs = counts(head, lines, [row.prompt_tokens for row in rows], "prompt_tokens")
    for place, row in enumerate(rows):
        if row.provider is not None and inputs[place] >= 0 and str(row.provider).upper() == "ANTHROPIC":
            cached = (row.prompt_cache_read_tokens, row.prompt_cache_write_tokens)
            inputs[place] += sum(max(0, count(head, lines[place], each, "prompt_cache tokens")) for each in cached)
    status = counts(head, lines, [row.response_status for row in rows], "response_status")
    properties = [mapping(row.request_properties or row.properties) for row in rows]
    sessions = [each.get("Helicone-Session-Id") or row.session_id for each, row in zip(properties, rows, strict=True)]
    return Draft(
        at_ns=instants_ns(head, lines, [row.request_created_at for row in rows], "request_created_at"),
        row=np.array(lines, np.int64),
        input_tokens=inputs,
        output_tokens=counts(head, lines, [row.completion_tokens for row in rows], "completion_tokens"),
        duration_ns=durations_ns(told(rows, ("delay_ms", "latency")), _MS_DIGITS),
        session=names(sessions),
        model=names(told(rows, ("request_model", "model"))),
        status=np.where((status >= 100) & (status <= 599), status, np.where(status >= 0, FAILED, 200)),
        texts=texts([_text(row.request_body) for row in rows]),
    )


@dataclass(frozen=True, slots=True)
class Gateway:
    """The keys that tell it, a record, why one is dropped, what makes columns of many."""

    keys: frozenset[str]
    kind: type[msgspec.Struct]
    dropped: Callable[[Any], str | None]
    read: Callable[[Head, Sequence[int], Any], Draft]


GATEWAYS: dict[str, Gateway] = {
    "LiteLLM": Gateway(
        frozenset({"startTime", "prompt_tokens", "completion_tokens"}), LiteLLM, _litellm_dropped, _litellm
    ),
    "Langfuse": Gateway(frozenset({"type", "start_time", "trace_id"}), Langfuse, _langfuse_dropped, _langfuse),
    "Langfuse (API)": Gateway(frozenset({"type", "startTime", "traceId"}), Langfuse, _langfuse_dropped, _langfuse),
    "Helicone": Gateway(frozenset({"request_created_at"}), Helicone, _helicone_dropped, _helicone),
}


def matches(head: Head) -> bool:
    return _gateway(head) is not None


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Generations are kept. Raises BadInputError with the line or the number of the record."""
    name = survey.format = _gateway(head) or ""
    gateway = GATEWAYS[name]
    pieces = []
    for lines, rows in record_rows(head, gateway.kind, _LIST):
        survey.rows_read += len(rows)
        reasons = [gateway.dropped(row) for row in rows]
        kept = [place for place, reason in enumerate(reasons) if reason is None]
        if len(kept) < len(rows):
            for reason, times in Counter(reasons).items():
                survey.drop(reason or "", 0 if reason is None else times)
            lines, rows = [lines[place] for place in kept], [rows[place] for place in kept]
        pieces.append(gateway.read(head, lines, rows))
    return assemble(together(pieces), survey, choices)


def _gateway(head: Head) -> str | None:
    """By the keys of the first object, wherever in its array it stands."""
    seen = set(head.record)
    if (not seen or _LIST in seen) and head.data.lstrip()[:1] in (b"[", b"{"):
        seen = {key for each in GATEWAYS.values() for key in each.keys if f'"{key}"'.encode() in head.data}
    return next((name for name, each in GATEWAYS.items() if each.keys <= seen), None)


def _sums(head: Head, lines: Sequence[int], usages: list[dict[str, Any]], part: str, otherwise: list[Any]) -> Int64s:
    """Per row all counts whose name has `part` in it, together; where there is none, what is told otherwise."""
    total, known = column(len(lines), 0), np.zeros(len(lines), np.bool_)
    for name in sorted({each for form in set(map(tuple, usages)) for each in form if part in each}):
        found = counts(head, lines, [usage.get(name) for usage in usages], name)
        total, known = total + np.maximum(found, 0), known | (found >= 0)
    rest = np.flatnonzero(~known)
    if len(rest):
        lines, otherwise = [lines[k] for k in rest.tolist()], [otherwise[k] for k in rest.tolist()]
        total[rest] = counts(head, lines, otherwise, part)
    return total


def _text(held: Any) -> str | None:
    """A prompt as messages, as a request body, or either of them written into a string."""
    if not held or held in _NOTHING:
        return None
    found = mapping(held) or {"prompt": held}
    return prompt_text(found if {"messages", "prompt", "input"} & set(found) else {"prompt": found})
