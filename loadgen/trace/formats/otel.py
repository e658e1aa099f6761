"""OpenTelemetry spans of model calls (GenAI semantic conventions): OTLP JSON, or flattened spans; arrays or lines.

An agent's or a gateway's span that holds another model call is the same call seen from outside, and is dropped; so is
what is no model call. Older names of the token counts are read too.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.gather import FAILED, kept, together
from loadgen.trace.jsonrows import decoded, record_rows, told
from loadgen.trace.messages import prompt_text
from loadgen.trace.reading import Head
from loadgen.trace.table import UNKNOWN, Int64s, Survey, Trace, column
from loadgen.trace.written import counts, mapping, names, spans_ns, texts

Bools = npt.NDArray[np.bool_]

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
_TEXTS = ("gen_ai.input.messages", "gen_ai.prompt", "gen_ai.prompt.0.content", "input.value")
_CALLS = ("chat", "text_completion", "generate_content", "completion", "llm", "LLM", "")  # names of operations
_MARKS = (b'"resourceSpans"', b'"startTimeUnixNano"', b'"gen_ai.', b'"parent_span_id"')
_DEPTH_MAX = 100  # from a call up to one that holds it; ends circles too


class Scope(msgspec.Struct, gc=False):
    """OTLP's inner nest."""

    spans: list[msgspec.Raw] | None = None


class Resource(msgspec.Struct, gc=False):
    """OTLP's outer nest."""

    scopeSpans: list[Scope] | None = None  # noqa: N815 (theirs)


class Value(msgspec.Struct, gc=False):
    """OTLP's typed value, of the types that tell something here."""

    stringValue: Any = None  # noqa: N815 (theirs)
    intValue: Any = None  # noqa: N815
    doubleValue: Any = None  # noqa: N815


class Attribute(msgspec.Struct, gc=False):
    """OTLP's pair."""

    key: str
    value: Value | str | int | float | bool | None = None


class Span(msgspec.Struct, gc=False):
    """A span as far as it is read, in the names of OTLP and of Python; or a record that holds spans."""

    spanId: Any = None  # noqa: N815 (theirs)
    span_id: Any = None
    parentSpanId: Any = None  # noqa: N815
    parent_span_id: Any = None
    traceId: Any = None  # noqa: N815
    trace_id: Any = None
    startTimeUnixNano: Any = None  # noqa: N815
    start_time: Any = None
    endTimeUnixNano: Any = None  # noqa: N815
    end_time: Any = None
    status: Any = None
    attributes: dict[str, Any] | list[Attribute] | None = None
    resourceSpans: list[Resource] | None = None  # noqa: N815
    scopeSpans: list[Scope] | None = None  # noqa: N815
    spans: list[msgspec.Raw] | None = None


@dataclass(frozen=True, slots=True)
class _Family:
    """Of the spans of a piece: their ids and their parents' (Arrow's strings), and which are calls of a model."""

    ids: Any
    parents: Any
    call: Bools


def matches(head: Head) -> bool:
    return head.data.lstrip()[:1] in (b"{", b"[") and any(mark in head.data for mark in _MARKS)


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Spans of model calls are kept. Raises BadInputError with line or number."""
    survey.format = "OpenTelemetry"
    families, pieces = [], []
    for lines, spans in _spans(head):
        family, piece = _piece(head, lines, spans)
        families.append(family)
        pieces.append(piece)
    draft = together(pieces)
    call = np.concatenate([np.zeros(0, np.bool_), *(family.call for family in families)])
    repeated, parent = _places(families)
    end_ns = column(len(call))
    assert draft.duration_ns is not None
    end_ns[call] = np.where(draft.duration_ns >= 0, draft.at_ns + draft.duration_ns, UNKNOWN)
    outer = _outer(parent, call & ~repeated, end_ns)
    survey.rows_read = len(call)
    survey.drop("a span with an id that was there before", np.count_nonzero(repeated))
    survey.drop("no model call", np.count_nonzero(~call & ~repeated))
    survey.drop("holds another model call", np.count_nonzero(outer))
    return assemble(kept(draft, ~(repeated | outer)[call]), survey, choices)


def _spans(head: Head) -> Iterator[tuple[Sequence[int], list[Span]]]:
    """(lines, spans), also out of OTLP's nest."""
    for lines, rows in record_rows(head, Span):
        if not any(told(rows, ("resourceSpans", "scopeSpans", "spans"))):
            yield lines, rows
            continue
        nests = [_nested(row) for row in rows]
        flat = [k for k, nest in enumerate(nests) if nest is None]
        if flat:
            yield [lines[k] for k in flat], [rows[k] for k in flat]
        inside = [(line, raw) for line, nest in zip(lines, nests, strict=True) for raw in nest or ()]
        yield from decoded(head.path, Span, [raw for _, raw in inside], [line for line, _ in inside])


def _nested(row: Span) -> list[msgspec.Raw] | None:
    """The spans in a record; None where it is one itself."""
    if row.spans is not None:
        return row.spans
    if row.scopeSpans is None and row.resourceSpans is None:
        return None
    scopes = [*(row.scopeSpans or []), *(scope for each in row.resourceSpans or [] for scope in each.scopeSpans or [])]
    return [span for scope in scopes for span in scope.spans or []]


def _piece(head: Head, lines: Sequence[int], spans: list[Span]) -> tuple[_Family, Draft]:
    held = [span.attributes for span in spans]
    attributes = [each if isinstance(each, dict) else _attributes(each or []) for each in held]
    operations = map(_by("gen_ai.operation.name"), attributes)
    calls = [
        (operation is None or operation in _CALLS) and something not in (None, "")
        for operation, something in zip(operations, told(attributes, _TOLD, _by), strict=True)
    ]
    family = _Family(
        ids=names([each or None for each in told(spans, ("spanId", "span_id"))]),
        parents=names([each or None for each in told(spans, ("parentSpanId", "parent_span_id"))]),
        call=np.array(calls, np.bool_),
    )
    if not all(calls):
        places = np.flatnonzero(family.call).tolist()
        lines, spans = [lines[k] for k in places], [spans[k] for k in places]
        attributes = [attributes[k] for k in places]
    return family, _draft(head, lines, spans, attributes)


def _draft(head: Head, lines: Sequence[int], spans: list[Span], attributes: list[dict[str, Any]]) -> Draft:
    starts = told(spans, ("startTimeUnixNano", "start_time"))
    ends = [each if each and each != "0" else None for each in told(spans, ("endTimeUnixNano", "end_time"))]
    starts_ns, durations_ns = spans_ns(head, lines, starts, ends, ("the start", "the end"), ends_after=True)
    status = counts(head, lines, list(map(_by("http.response.status_code"), attributes)), "the status")
    wrong = [_failed(span.status) if span.status else False for span in spans]
    wrong = [one or bool(other) for one, other in zip(wrong, map(_by("error.type"), attributes), strict=True)]
    sessions = told(attributes, _SESSIONS, _by)
    if not all(sessions):
        traces = told(spans, ("traceId", "trace_id"))
        sessions = [session or trace for session, trace in zip(sessions, traces, strict=True)]
    return Draft(
        at_ns=starts_ns,
        row=np.array(lines, np.int64),
        input_tokens=counts(head, lines, told(attributes, _INPUTS, _by), "the prompt's length"),
        output_tokens=counts(head, lines, told(attributes, _OUTPUTS, _by), "the answer's length"),
        duration_ns=durations_ns,
        status=np.where((status >= 100) & (status <= 599), status, np.where(wrong, FAILED, 200)),
        session=names(sessions),
        model=names(told(attributes, _MODELS, _by)),
        texts=texts([_text(each) if each else None for each in told(attributes, _TEXTS, _by)]),
    )


def _by(name: str) -> Callable[[dict[str, Any]], Any]:
    return methodcaller("get", name)


def _attributes(held: list[Attribute]) -> dict[str, Any]:
    """OTLP's pairs as a plain object."""
    found: dict[str, Any] = {}
    for each in held:
        value = each.value
        if isinstance(value, Value):
            number = value.doubleValue if value.intValue is None else value.intValue
            value = number if value.stringValue is None else value.stringValue
        found[each.key] = value
    return found


def _failed(status: Any) -> bool:
    return isinstance(status, dict) and status.get("code") in (2, "STATUS_CODE_ERROR", "ERROR")


def _text(held: Any) -> str | None:
    return prompt_text(mapping(held) or {"prompt": held})


def _places(families: Sequence[_Family]) -> tuple[Bools, Int64s]:
    """Of all spans: whether the id was there before, and the place of the parent, −1 for none in the file."""
    ids = pa.chunked_array([each.ids for each in families], pa.string()).combine_chunks().dictionary_encode()
    parents = pa.chunked_array([each.parents for each in families], pa.string())
    number, above = (
        np.asarray(each.fill_null(UNKNOWN).to_numpy(zero_copy_only=False), np.int64)
        for each in (ids.indices, pc.index_in(parents, ids.dictionary).combine_chunks())
    )
    place = np.arange(len(number))
    first = np.full(len(ids.dictionary) + 1, UNKNOWN)  # the last is for what has no id, or no parent
    first[number[::-1]] = place[::-1]  # of several, the last assignment stays
    first[-1] = UNKNOWN
    return (number >= 0) & (first[number] != place), first[above]


def _outer(parent: Int64s, call: Bools, end_ns: Int64s) -> Bools:
    """Calls that have another call below them while they run; an unknown end is later than any."""
    outer = np.zeros(len(parent), np.bool_)
    inner = np.flatnonzero(call & (end_ns >= 0))
    above = parent[inner]
    for _ in range(_DEPTH_MAX):
        inner, above = inner[above >= 0], above[above >= 0]
        if not len(inner):
            break
        within = (end_ns[above] < 0) | (end_ns[inner] <= end_ns[above])
        outer[above[within & call[above] & (above != inner)]] = True
        above = parent[above]
    return outer
