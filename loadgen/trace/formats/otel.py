"""OpenTelemetry spans of model calls (GenAI semantic conventions): OTLP JSON, or flattened spans; arrays or lines.

An agent's or a gateway's span that holds another model call is the same call seen from outside, and is dropped; so is
what is no model call. Older names of the token counts are read too.
"""

from collections.abc import Iterator
from typing import Any

from loadgen.trace.assemble import Choices, assemble
from loadgen.trace.gather import FAILED, Gathered, records
from loadgen.trace.messages import prompt_text
from loadgen.trace.reading import Head
from loadgen.trace.table import Survey, Trace
from loadgen.trace.written import count, mapping

_INPUTS = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.usage.prompt_tokens",
    "llm.token_count.prompt",
)
_OUTPUTS = (
    *("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    *("llm.usage.completion_tokens", "llm.token_count.completion"),
)
_SESSIONS = ("gen_ai.conversation.id", "session.id", "exgentic.session.id", "langfuse.session.id")
_MODELS = ("gen_ai.request.model", "gen_ai.response.model", "llm.model_name")
_TOLD = (*_MODELS, *_INPUTS, *_OUTPUTS)  # by a call to a model, at least one of them
_CALLS = ("chat", "text_completion", "generate_content", "completion", "llm", "LLM", "")  # names of operations
_MARKS = (b'"resourceSpans"', b'"startTimeUnixNano"', b'"gen_ai.', b'"parent_span_id"')


def matches(head: Head) -> bool:
    return head.data.lstrip()[:1] in (b"{", b"[") and any(mark in head.data for mark in _MARKS)


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Spans of model calls are kept. Raises BadInputError with line or number."""
    survey.format = "OpenTelemetry"
    gathered = Gathered(head, survey, names=("the start", "the end"), ends_after=True)
    spans: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {}
    for line, span in _spans(head):
        survey.rows_read += 1
        name = str(span.get("spanId", span.get("span_id", survey.rows_read)))
        if name in spans:
            gathered.drop("a span with an id that was there before")
            continue
        spans[name] = (line, span, _attributes(span.get("attributes")))
    calls = {name for name, (_, _, attributes) in spans.items() if _is_call(attributes)}
    outer = _outer(spans, calls)
    for name, (line, span, attributes) in spans.items():
        if name not in calls:
            gathered.drop("no model call")
        elif name in outer:
            gathered.drop("holds another model call")
        else:
            _add(gathered, line, span, attributes)
    return assemble(gathered.draft(), survey, choices)


def _spans(head: Head) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, span), also out of OTLP's nest."""
    for line, record in records(head, "spans", "resourceSpans"):
        if "resourceSpans" in record:
            nests = _list(record["resourceSpans"])
        elif "scopeSpans" in record:
            nests = [record]
        else:
            yield from (
                ((line, each) for each in _list(record["spans"]) if isinstance(each, dict))
                if ("spans" in record)
                else [(line, record)]
            )
            continue
        for nest in nests:
            for scope in _list(nest.get("scopeSpans") if isinstance(nest, dict) else None):
                for each in _list(scope.get("spans") if isinstance(scope, dict) else None):
                    if isinstance(each, dict):
                        yield line, each


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _attributes(held: Any) -> dict[str, Any]:
    """OTLP's list of keys and typed values, or a plain object, as a plain object."""
    if isinstance(held, dict):
        return held
    found = {}
    for each in _list(held):
        if isinstance(each, dict) and isinstance(each.get("key"), str):
            value = each.get("value")
            found[each["key"]] = next(iter(value.values()), None) if isinstance(value, dict) else value
    return found


def _is_call(attributes: dict[str, Any]) -> bool:
    if str(attributes.get("gen_ai.operation.name", "")) not in _CALLS:
        return False
    return _first(attributes, _TOLD) is not None


def _first(attributes: dict[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:  # of every span: no generator for it
        value = attributes.get(name)
        if value is not None and value != "":
            return value
    return None


def _outer(spans: dict[str, tuple[int, dict[str, Any], dict[str, Any]]], calls: set[str]) -> set[str]:
    """Calls that have another call below them while they run."""
    outer = set()
    for name in calls:
        end = _end(spans[name][1])
        above, steps = _parent(spans[name][1]), 0
        while above in spans and steps < 100 and above not in outer:
            if above in calls and above != name and end is not None and end <= (_end(spans[above][1]) or end):
                outer.add(above)
            above, steps = _parent(spans[above][1]), steps + 1
    return outer


def _parent(span: dict[str, Any]) -> str:
    return str(span.get("parentSpanId", span.get("parent_span_id")) or "")


def _end(span: dict[str, Any]) -> str | None:
    """The end as text that sorts like the time within one file."""
    end = span.get("endTimeUnixNano", span.get("end_time"))
    return None if end is None else str(end).rjust(32, "0")


def _add(gathered: Gathered, line: int, span: dict[str, Any], attributes: dict[str, Any]) -> None:
    head = gathered.head
    end = span.get("endTimeUnixNano", span.get("end_time"))
    status = count(head, line, attributes.get("http.response.status_code"), "the status")
    code = span.get("status", {}).get("code") if isinstance(span.get("status"), dict) else None
    failed = attributes.get("error.type") or code in (2, "STATUS_CODE_ERROR", "ERROR")
    text = _first(attributes, ("gen_ai.input.messages", "gen_ai.prompt", "gen_ai.prompt.0.content", "input.value"))
    gathered.add_said(
        line,
        span.get("startTimeUnixNano", span.get("start_time")),
        None if end in ("", "0", 0) else end,
        input_tokens=count(head, line, _first(attributes, _INPUTS), "the prompt's length"),
        output_tokens=count(head, line, _first(attributes, _OUTPUTS), "the answer's length"),
        session=_first(attributes, _SESSIONS) or span.get("traceId", span.get("trace_id")),
        model=_first(attributes, _MODELS),
        status=status if 100 <= status <= 599 else FAILED if failed else 200,
        text=prompt_text(mapping(text) or {"prompt": text}) if text is not None else None,
    )
