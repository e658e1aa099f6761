"""Exports of LLM gateways: LiteLLM, Langfuse and Helicone; JSONL or one array. One function a gateway, one table.

What a gateway answered from its own cache never reached a model and is dropped; so is what is no generation.
"""

from collections.abc import Callable
from typing import Any

from loadgen.trace.assemble import Choices, assemble
from loadgen.trace.gather import FAILED, Gathered, count, mapping, records, seconds_ns
from loadgen.trace.messages import prompt_text
from loadgen.trace.reading import Head
from loadgen.trace.table import Survey, Trace

_MS_DIGITS = 6
_GENERATES = ("completion", "responses", "messages", "generate")
Record = dict[str, Any]


def _litellm(gathered: Gathered, line: int, record: Record) -> None:
    """StandardLoggingPayload, or a row of SpendLogs."""
    head, kind = gathered.head, str(record.get("call_type") or "completion")
    if not any(word in kind for word in _GENERATES):
        return gathered.drop(f"call_type {kind[:40]}")
    if str(record.get("cache_hit")).lower() == "true":
        return gathered.drop("answered from the gateway's cache")
    return gathered.add_said(
        line,
        record.get("startTime"),
        record.get("endTime"),
        input_tokens=count(head, line, record.get("prompt_tokens"), "prompt_tokens"),
        output_tokens=count(head, line, record.get("completion_tokens"), "completion_tokens"),
        session=record.get("session_id") or record.get("trace_id"),
        model=record.get("model"),
        status=FAILED if record.get("status") == "failure" else 200,
        text=_text(record.get("messages")),
    )


def _langfuse(gathered: Gathered, line: int, record: Record) -> None:
    """An observation; the tokens of the prompt are all whose name says input, cached ones too."""
    head = gathered.head
    if record.get("type") != "GENERATION":
        return gathered.drop(f"type {str(record.get('type'))[:40]}")
    usage = mapping(record.get("usage_details", record.get("usageDetails", record.get("usage"))))
    return gathered.add_said(
        line,
        record.get("start_time", record.get("startTime")),
        record.get("end_time", record.get("endTime")),
        input_tokens=_sum(head, line, usage, "input", record.get("prompt_tokens", record.get("promptTokens"))),
        output_tokens=_sum(
            head, line, usage, "output", record.get("completion_tokens", record.get("completionTokens"))
        ),
        session=record.get("session_id", record.get("sessionId")) or record.get("trace_id", record.get("traceId")),
        model=record.get("provided_model_name") or record.get("model"),
        status=FAILED if record.get("level") == "ERROR" else 200,
        text=_text(record.get("input")),
    )


def _helicone(gathered: Gathered, line: int, record: Record) -> None:
    """A request; Anthropic's prompt_tokens leave the cached ones out."""
    head = gathered.head
    if record.get("cache_enabled") is True and record.get("cache_reference_id") not in (None, "", _NO_CACHE):
        return gathered.drop("answered from the gateway's cache")
    status = count(head, line, record.get("response_status"), "response_status")
    tokens = count(head, line, record.get("prompt_tokens"), "prompt_tokens")
    if tokens >= 0 and str(record.get("provider")).upper() == "ANTHROPIC":
        cached = (record.get("prompt_cache_read_tokens"), record.get("prompt_cache_write_tokens"))
        tokens += sum(max(0, count(head, line, each, "prompt_cache tokens")) for each in cached)
    properties = mapping(record.get("request_properties", record.get("properties")))
    return gathered.add_said(
        line,
        record.get("request_created_at"),
        input_tokens=tokens,
        output_tokens=count(head, line, record.get("completion_tokens"), "completion_tokens"),
        duration_ns=seconds_ns(record.get("delay_ms", record.get("latency")), _MS_DIGITS),
        session=properties.get("Helicone-Session-Id") or record.get("session_id"),
        model=record.get("request_model") or record.get("model"),
        status=status if 100 <= status <= 599 else FAILED if status >= 0 else 200,
        text=_text(record.get("request_body")),
    )


_NO_CACHE = "00000000-0000-0000-0000-000000000000"
# name → (keys that tell it, its names of start and end, what reads a record)
GATEWAYS: dict[str, tuple[frozenset[str], tuple[str, str], Callable[[Gathered, int, Record], None]]] = {
    "LiteLLM": (frozenset({"startTime", "prompt_tokens", "completion_tokens"}), ("startTime", "endTime"), _litellm),
    "Langfuse": (frozenset({"type", "start_time", "trace_id"}), ("start_time", "end_time"), _langfuse),
    "Langfuse (API)": (frozenset({"type", "startTime", "traceId"}), ("startTime", "endTime"), _langfuse),
    "Helicone": (frozenset({"request_created_at"}), ("request_created_at", ""), _helicone),
}


def matches(head: Head) -> bool:
    return _gateway(head) is not None


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Generations are kept. Raises BadInputError with the line or the number of the record."""
    name = survey.format = _gateway(head) or ""
    _, names, read = GATEWAYS[name]
    gathered = Gathered(head, survey, names=names)
    for line, record in records(head, "data"):
        survey.rows_read += 1
        read(gathered, line, record)
    return assemble(gathered.draft(), survey, choices)


def _gateway(head: Head) -> str | None:
    """By the keys of the first object, wherever in its array it stands."""
    seen = set(head.record)
    if not seen and head.data.lstrip()[:1] in (b"[", b"{"):
        seen = {key for keys, _, _ in GATEWAYS.values() for key in keys if f'"{key}"'.encode() in head.data}
    return next((name for name, (keys, _, _) in GATEWAYS.items() if keys <= seen), None)


def _sum(head: Head, line: int, usage: Record, part: str, otherwise: Any) -> int:
    found = [count(head, line, value, key) for key, value in usage.items() if part in str(key)]
    known = [each for each in found if each >= 0]
    return sum(known) if known else count(head, line, otherwise, part)


def _text(held: Any) -> str | None:
    """A prompt as messages, as a request body, or either of them written into a string."""
    if not held:
        return None
    found = mapping(held) or {"prompt": held}
    return prompt_text(found if {"messages", "prompt", "input"} & set(found) else {"prompt": found})
