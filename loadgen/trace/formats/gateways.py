"""Exports of LLM gateways: LiteLLM, Langfuse and Helicone; JSONL or one array. One function a gateway, one table.

What a gateway answered from its own cache never reached a model and is dropped; so is what is no generation.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from loadgen.trace.assemble import Choices, assemble
from loadgen.trace.gather import FAILED, Gathered, by_line, records
from loadgen.trace.messages import prompt_text
from loadgen.trace.reading import Head, json_rows
from loadgen.trace.table import Survey, Trace
from loadgen.trace.written import count, counts, mapping, seconds_ns

_MS_DIGITS = 6
_GENERATES = ("completion", "responses", "messages", "generate")
_NO_CACHE = "00000000-0000-0000-0000-000000000000"
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


def _litellm(gathered: Gathered, lines: Sequence[int], rows: list[LiteLLM]) -> None:
    head = gathered.head
    gathered.extend(
        lines,
        [row.startTime for row in rows],
        [row.endTime for row in rows],
        input_tokens=counts(head, lines, [row.prompt_tokens for row in rows], "prompt_tokens"),
        output_tokens=counts(head, lines, [row.completion_tokens for row in rows], "completion_tokens"),
        session=[row.session_id or row.trace_id for row in rows],
        model=[row.model for row in rows],
        status=[FAILED if row.status == "failure" else 200 for row in rows],
        text=[_text(row.messages) for row in rows],
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


def _langfuse(gathered: Gathered, lines: Sequence[int], rows: list[Langfuse]) -> None:
    """The tokens of the prompt are all whose name says input, cached ones too."""
    usages = [mapping(row.usage_details or row.usageDetails or row.usage) for row in rows]
    inputs = [row.promptTokens if row.prompt_tokens is None else row.prompt_tokens for row in rows]
    outputs = [row.completionTokens if row.completion_tokens is None else row.completion_tokens for row in rows]
    gathered.extend(
        lines,
        [row.start_time or row.startTime for row in rows],
        [row.end_time or row.endTime for row in rows],
        input_tokens=_sums(gathered.head, lines, usages, "input", inputs),
        output_tokens=_sums(gathered.head, lines, usages, "output", outputs),
        session=[row.session_id or row.sessionId or row.trace_id or row.traceId for row in rows],
        model=[row.provided_model_name or row.model for row in rows],
        status=[FAILED if row.level == "ERROR" else 200 for row in rows],
        text=[_text(row.input) for row in rows],
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


def _helicone(gathered: Gathered, lines: Sequence[int], rows: list[Helicone]) -> None:
    """Anthropic's prompt_tokens leave the cached ones out."""
    head = gathered.head
    inputs = counts(head, lines, [row.prompt_tokens for row in rows], "prompt_tokens")
    for place, row in enumerate(rows):
        if row.provider is not None and inputs[place] >= 0 and str(row.provider).upper() == "ANTHROPIC":
            cached = (row.prompt_cache_read_tokens, row.prompt_cache_write_tokens)
            inputs[place] += sum(max(0, count(head, lines[place], each, "prompt_cache tokens")) for each in cached)
    statuses = counts(head, lines, [row.response_status for row in rows], "response_status")
    properties = [mapping(row.request_properties or row.properties) for row in rows]
    gathered.extend(
        lines,
        [row.request_created_at for row in rows],
        input_tokens=inputs,
        output_tokens=counts(head, lines, [row.completion_tokens for row in rows], "completion_tokens"),
        duration_ns=[seconds_ns(row.latency if row.delay_ms is None else row.delay_ms, _MS_DIGITS) for row in rows],
        session=[told.get("Helicone-Session-Id") or row.session_id for told, row in zip(properties, rows, strict=True)],
        model=[row.request_model or row.model for row in rows],
        status=[each if 100 <= each <= 599 else FAILED if each >= 0 else 200 for each in statuses],
        text=[_text(row.request_body) for row in rows],
    )


@dataclass(frozen=True, slots=True)
class Gateway:
    """The keys that tell it, its names of start and end, a record, why one is dropped, what makes columns of many."""

    keys: frozenset[str]
    moments: tuple[str, str]
    kind: type[msgspec.Struct]
    dropped: Callable[[Any], str | None]
    read: Callable[[Gathered, Sequence[int], Any], None]


_STARTS, _PYTHONIC = ("startTime", "endTime"), ("start_time", "end_time")
GATEWAYS: dict[str, Gateway] = {
    "LiteLLM": Gateway(
        frozenset({"startTime", "prompt_tokens", "completion_tokens"}), _STARTS, LiteLLM, _litellm_dropped, _litellm
    ),
    "Langfuse": Gateway(
        frozenset({"type", "start_time", "trace_id"}), _PYTHONIC, Langfuse, _langfuse_dropped, _langfuse
    ),
    "Langfuse (API)": Gateway(
        frozenset({"type", "startTime", "traceId"}), _STARTS, Langfuse, _langfuse_dropped, _langfuse
    ),
    "Helicone": Gateway(
        frozenset({"request_created_at"}), ("request_created_at", ""), Helicone, _helicone_dropped, _helicone
    ),
}


def matches(head: Head) -> bool:
    return _gateway(head) is not None


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Generations are kept. Raises BadInputError with the line or the number of the record."""
    name = survey.format = _gateway(head) or ""
    gateway = GATEWAYS[name]
    gathered = Gathered(head, survey, names=gateway.moments)
    for lines, rows in _pieces(head, gateway.kind):
        survey.rows_read += len(rows)
        reasons = [gateway.dropped(row) for row in rows]
        for reason in reasons:
            if reason is not None:
                gathered.drop(reason)
        kept = [place for place, reason in enumerate(reasons) if reason is None]
        whole = len(kept) == len(rows)
        gateway.read(
            gathered,
            lines if whole else [lines[place] for place in kept],
            rows if whole else [rows[place] for place in kept],
        )
    return assemble(gathered.draft(), survey, choices)


def _pieces(head: Head, kind: type[msgspec.Struct]) -> Iterator[tuple[Sequence[int], list[Any]]]:
    """(lines, rows) of JSONL some megabytes at a time, of an array all at once."""
    if by_line(head, "data"):
        yield from json_rows(head.path, kind)
    else:
        found = list(records(head, "data"))
        names = kind.__struct_fields__
        yield (
            [place for place, _ in found],
            [kind(**{name: held[name] for name in names if name in held}) for _, held in found],
        )


def _gateway(head: Head) -> str | None:
    """By the keys of the first object, wherever in its array it stands."""
    seen = set(head.record)
    if not seen and head.data.lstrip()[:1] in (b"[", b"{"):
        seen = {key for each in GATEWAYS.values() for key in each.keys if f'"{key}"'.encode() in head.data}
    return next((name for name, each in GATEWAYS.items() if each.keys <= seen), None)


def _sums(head: Head, lines: Sequence[int], usages: list[dict[str, Any]], part: str, otherwise: list[Any]) -> list[int]:
    """Per row all counts whose name has `part` in it, together; where there is none, what is told otherwise."""
    found = counts(head, lines, [usage.get(part) for usage in usages], part)
    for place, usage in enumerate(usages):
        names = [name for name in usage if part in str(name)]
        if names != [part]:
            known = [each for name in names if (each := count(head, lines[place], usage[name], name)) >= 0]
            found[place] = sum(known) if known else count(head, lines[place], otherwise[place], part)
        elif found[place] < 0:
            found[place] = count(head, lines[place], otherwise[place], part)
    return found


def _text(held: Any) -> str | None:
    """A prompt as messages, as a request body, or either of them written into a string."""
    if not held or held in _NOTHING:
        return None
    found = mapping(held) or {"prompt": held}
    return prompt_text(found if {"messages", "prompt", "input"} & set(found) else {"prompt": found})
