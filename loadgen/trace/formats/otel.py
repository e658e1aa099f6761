"""OpenTelemetry spans of model calls (GenAI semantic conventions): OTLP JSON, or flattened spans; arrays or lines.

An agent's or a gateway's span that holds another model call is the same call seen from outside, and is dropped; so is
what is no model call. Older names of the token counts are read too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.gather import FAILED, kept, together
from loadgen.trace.jsonrows import decoded, first_told, record_rows, told
from loadgen.trace.messages import prompt_text
from loadgen.trace.reading import Head
from loadgen.trace.table import UNKNOWN, Int64s, Survey, Trace, column
from loadgen.trace.written import counts, mapping, names, spans_ns, texts

Bools = npt.NDArray[np.bool_]
T = TypeVar("T")

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
_OPERATION, _STATUS, _ERROR = "gen_ai.operation.name", "http.response.status_code", "error.type"
_CALLS = ("chat", "text_completion", "generate_content", "completion", "llm", "LLM", "", None)  # names of operations
_MARKS = (b'"resourceSpans"', b'"startTimeUnixNano"', b'"gen_ai.', b'"parent_span_id"')
_READ = (_OPERATION, *_TOLD, *_SESSIONS, *_TEXTS, _STATUS, _ERROR)
_DEPTH_MAX = 100  # from a call up to one that holds it; ends circles too


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
    """A span as far as it is read, in the names of OTLP and of Python."""

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


class Scope(msgspec.Struct, Generic[T], gc=False):
    """OTLP's inner nest; T is a Span, or the bytes of one."""

    spans: list[T] | None = None


class Resource(msgspec.Struct, Generic[T], gc=False):
    """OTLP's outer nest."""

    scopeSpans: list[Scope[T]] | None = None  # noqa: N815 (theirs)


class Record(Span, Generic[T], gc=False):
    """What stands in a file: a span, or a record that holds spans."""

    resourceSpans: list[Resource[T]] | None = None  # noqa: N815 (theirs)
    scopeSpans: list[Scope[T]] | None = None  # noqa: N815
    spans: list[T] | None = None


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


def _spans(head: Head) -> Iterator[tuple[Sequence[int], list[Any]]]:
    """(lines, spans), also out of OTLP's nest.

    Out of lines like a first one that the head holds, they are read with their nest; out of a longer line, or of a
    document without lines, a piece at a time, so that never all of them are objects at once."""
    kind: type[Record[Any]] = Record[Span] if head.record else Record[msgspec.Raw]
    for lines, rows in record_rows(head, kind):
        nests = list(map(_nested, rows))
        flat = [k for k, nest in enumerate(nests) if nest is None]
        if flat:
            yield [lines[k] for k in flat], [rows[k] for k in flat]
        places = [line for line, nest in zip(lines, nests, strict=True) for _ in nest or ()]
        inside = [each for nest in nests for each in nest or ()]
        yield from [(places, inside)] if head.record and inside else decoded(head.path, Span, inside, places)


def _nested(row: Record[Any]) -> list[Any] | None:
    """The spans in a record's nests; None where it has none, and is a span itself."""
    if row.spans is None and row.scopeSpans is None and row.resourceSpans is None:
        return None
    scopes = [*(row.scopeSpans or []), *(scope for each in row.resourceSpans or [] for scope in each.scopeSpans or [])]
    return [*(row.spans or []), *(span for scope in scopes for span in scope.spans or [])]


def _piece(head: Head, lines: Sequence[int], spans: list[Span]) -> tuple[_Family, Draft]:
    columns = _columns([span.attributes for span in spans])
    calls = [
        something is not None and something != "" and operation in _CALLS
        for operation, something in zip(columns[_OPERATION], _of(columns, _TOLD), strict=True)
    ]
    family = _Family(
        ids=names([each or None for each in told(spans, ("spanId", "span_id"))]),
        parents=names([each or None for each in told(spans, ("parentSpanId", "parent_span_id"))]),
        call=np.array(calls, np.bool_),
    )
    if not all(calls):
        lines, spans = list(compress(lines, calls)), list(compress(spans, calls))
        columns = {name: list(compress(held, calls)) for name, held in columns.items()}
    return family, _draft(head, lines, spans, columns)


def _draft(head: Head, lines: Sequence[int], spans: list[Span], columns: dict[str, list[Any]]) -> Draft:
    starts = told(spans, ("startTimeUnixNano", "start_time"))
    ends = [each if each and each != "0" else None for each in told(spans, ("endTimeUnixNano", "end_time"))]
    starts_ns, durations_ns = spans_ns(head, lines, starts, ends, ("the start", "the end"), ends_after=True)
    status = counts(head, lines, columns[_STATUS], "the status")
    wrong = np.array([bool(span.status) and _failed(span.status) for span in spans], np.bool_)
    wrong |= np.array(list(map(bool, columns[_ERROR])), np.bool_)
    sessions = _of(columns, _SESSIONS)
    if not all(sessions):
        traces = told(spans, ("traceId", "trace_id"))
        sessions = [session or trace for session, trace in zip(sessions, traces, strict=True)]
    return Draft(
        at_ns=starts_ns,
        row=np.array(lines, np.int64),
        input_tokens=counts(head, lines, _of(columns, _INPUTS), "the prompt's length"),
        output_tokens=counts(head, lines, _of(columns, _OUTPUTS), "the answer's length"),
        duration_ns=durations_ns,
        status=np.where((status >= 100) & (status <= 599), status, np.where(wrong, FAILED, 200)),
        session=names(sessions),
        model=names(_of(columns, _MODELS)),
        texts=texts([_text(each) if each else None for each in _of(columns, _TEXTS)]),
    )


def _columns(rows: Sequence[dict[str, Any] | list[Attribute] | None]) -> dict[str, list[Any]]:
    """What each attribute that is read says in each row, out of plain objects and of OTLP's pairs; null where nothing.

    Of several with the same name in a row, the last one counts. No plain object is made of each row: 0.5 s a million.
    """
    columns: dict[str, list[Any]] = {name: [None] * len(rows) for name in _READ}
    find = columns.get
    for place, held in enumerate(rows):
        if isinstance(held, dict):
            for name, value in held.items():
                if (found := find(name)) is not None:
                    found[place] = value
            continue
        for each in held or ():
            if (found := find(each.key)) is not None:
                value = each.value
                if isinstance(value, Value):
                    number = value.doubleValue if value.intValue is None else value.intValue
                    value = number if value.stringValue is None else value.stringValue
                found[place] = value
    return columns


def _of(columns: dict[str, list[Any]], several: Sequence[str]) -> list[Any]:
    return first_told(columns[name] for name in several)


def _failed(status: Any) -> bool:
    return isinstance(status, dict) and status.get("code") in (2, "STATUS_CODE_ERROR", "ERROR")


def _text(held: Any) -> str | None:
    return prompt_text(mapping(held) or {"prompt": held})


def _places(families: Sequence[_Family]) -> tuple[Bools, Int64s]:
    """Of all spans: whether the id was there before, and the place of the parent, −1 for none in the file."""
    both = [*(each.ids for each in families), *(each.parents for each in families)]
    known = pa.chunked_array(both, pa.string()).combine_chunks().dictionary_encode()
    numbers = np.asarray(known.indices.fill_null(UNKNOWN).to_numpy(zero_copy_only=False), np.int64)
    number, above = np.split(numbers, 2)
    place = np.arange(len(number))
    first = np.full(len(known.dictionary) + 1, UNKNOWN)  # the last is for what has no id, or no parent
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
