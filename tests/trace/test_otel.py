"""Spans say the same however they are written: OTLP's nest in lines or one document, typed pairs or plain objects."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from invariants import check
from sources import lines

from loadgen.errors import BadInputError
from loadgen.trace.load import load_trace
from loadgen.trace.table import Trace

ZERO = 1_760_000_000_000_000_000
INPUTS, OLDER, OUTPUTS = "gen_ai.usage.input_tokens", "llm.token_count.prompt", "gen_ai.usage.output_tokens"
SAID = st.fixed_dictionaries(
    {},
    optional={
        "gen_ai.operation.name": st.sampled_from(["chat", "", "execute_tool", None]),
        "gen_ai.request.model": st.sampled_from(["m", "n", "é", ""]),
        INPUTS: st.none() | st.integers(0, 10**8),
        OLDER: st.integers(0, 9),
        OUTPUTS: st.integers(0, 9).map(str),
        "session.id": st.sampled_from(["c", "d", 5]),
        "error.type": st.sampled_from(["timeout", ""]),
        "http.response.status_code": st.sampled_from([200, "429", 404.0]),
        "gen_ai.prompt": st.sampled_from(["hi", '[{"role":"user","content":"hi"}]']),
        "gen_ai.request.temperature": st.floats(0, 2),
        "other": st.sampled_from(["x", True]),
    },
)


def typed(value: Any, number: type) -> dict[str, Any]:
    """OTLP's value; whole numbers as texts, which is proto3's way, or as they are."""
    if isinstance(value, bool) or value is None:
        return {"boolValue": value}
    kind = {str: "stringValue", int: "intValue", float: "doubleValue"}[type(value)]
    return {kind: number(value) if kind == "intValue" else value}


def pairs(said: dict[str, Any], number: type = str) -> list[dict[str, Any]]:
    return [{"key": name, "value": typed(value, number)} for name, value in said.items()]


def span(place: int, attributes: Any, **more: Any) -> dict[str, Any]:
    start = ZERO + place * 1_000_000_001
    return {
        "traceId": "t",
        "spanId": f"s{place}",
        "parentSpanId": "",
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + 10**8),
        "attributes": attributes,
        **more,
    }


def nest(*spans: Any) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": spans[:1]}, {"spans": spans[1:]}]}]}


def load_bytes(data: bytes) -> Trace:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.json"
        path.write_bytes(data)
        trace = load_trace(path)
    check(trace)
    return trace


def told(trace: Trace) -> dict[str, Any]:
    """All that does not depend on how many lines the file has."""
    names = ("arrival_ns", "duration_ns", "input_tokens", "output_tokens", "status", "session", "model", "parent")
    columns = {name: getattr(trace, name).tolist() for name in names}
    survey = trace.survey
    return columns | {
        "rest": (trace.models, trace.texts, trace.zero, survey.rows_read, survey.dropped, survey.oddities)
    }


def calls(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What tells of a model or of tokens, and is not told to be something else."""
    names = ("gen_ai.request.model", INPUTS, OLDER, OUTPUTS)
    spoke = [each for each in said if any(each.get(name) not in (None, "") for name in names)]
    return [each for each in spoke if each.get("gen_ai.operation.name") != "execute_tool"]


@given(st.lists(SAID, max_size=8), st.integers(1, 4))
def test_spans_say_the_same_in_every_form(others: list[dict[str, Any]], batch: int) -> None:
    said = [{"gen_ai.request.model": "m", INPUTS: 1}, *others]

    def batches(attributes: list[Any]) -> list[dict[str, Any]]:
        spans = [span(place, each) for place, each in enumerate(attributes)]
        return [nest(*spans[k : k + batch]) for k in range(0, len(spans), batch)]

    texts, numbers = batches([pairs(each) for each in said]), batches([pairs(each, int) for each in said])
    trace = load_bytes(lines(*texts))
    kept = calls(said)
    assert trace.survey.rows_read == len(said)
    assert trace.survey.dropped == ({"no model call": len(said) - len(kept)} if len(kept) < len(said) else {})
    inputs = [each.get(OLDER) if each.get(INPUTS) is None else each[INPUTS] for each in kept]
    assert trace.input_tokens.tolist() == [-1 if each is None else each for each in inputs]
    assert trace.output_tokens.tolist() == [int(each.get(OUTPUTS, -1)) for each in kept]
    for data in (
        lines(*numbers),
        lines(*batches(said)),
        lines(*(span(place, each) for place, each in enumerate(said))),
        json.dumps(texts).encode(),
        json.dumps(numbers, indent=1).encode(),
    ):
        assert told(load_bytes(data)) == told(trace)


def test_of_attributes_with_one_name_the_last_counts() -> None:
    twice = [*pairs({INPUTS: 1, "other": "x"}), *pairs({INPUTS: 7})]
    assert load_bytes(lines(nest(span(0, twice)))).input_tokens.tolist() == [7]


@pytest.mark.parametrize("form", ["lines", "a document"])
@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (span(9, 5), "Expected 'object | array | null', got 'int' at '.*attributes'"),
        (span(9, [{"value": {"stringValue": "m"}}]), r"missing required field 'key' at '.*attributes\[0\]'"),
        (5, "Expected 'object', got 'int'"),
        (None, "Expected 'object', got 'null'"),
        (span(9, pairs({INPUTS: 1}), startTimeUnixNano="noon"), "the start is no time"),
        (span(9, pairs({INPUTS: 1}), endTimeUnixNano="7"), "it ends before it starts"),
        (span(9, pairs({INPUTS: 10**9})), "the prompt's length 1000000000 is no number of tokens"),
    ],
)
def test_a_broken_span_in_a_nest_is_named_by_its_line(form: str, broken: Any, words: str) -> None:
    records = [nest(span(0, pairs({INPUTS: 1}))), nest(span(1, pairs({INPUTS: 1})), broken)]
    data = lines(*records) if form == "lines" else json.dumps(records, indent=1).encode()
    with pytest.raises(BadInputError, match=rf"line 2: .*{words}"):
        load_bytes(data)


@pytest.mark.parametrize("piece", [64, 1 << 20])
def test_a_batch_without_spans_is_no_span(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the file is cut into pieces."""
    monkeypatch.setattr("loadgen.trace.reading._PIECE_BYTES", piece)
    empty: dict[str, Any] = {"resourceSpans": []}
    trace = load_bytes(lines(empty, nest(), nest(span(0, pairs({INPUTS: 1}))), empty))
    assert (trace.survey.rows_read, trace.survey.dropped, trace.row.tolist()) == (1, {}, [3])


def test_a_line_longer_than_the_head_is_read_as_shorter_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    data = lines(*(nest(*(span(k, pairs({INPUTS: k})) for k in range(n, n + 3))) for n in range(0, 9, 3)))
    short = load_bytes(data)
    monkeypatch.setattr("loadgen.trace.reading.HEAD_BYTES", 300)
    long = load_bytes(data)
    assert told(long) == told(short)
    assert long.row.tolist() == short.row.tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_a_record_may_hold_spans_in_several_nests() -> None:
    first, second, third = (span(k, pairs({INPUTS: k + 1})) for k in range(3))
    record = nest(first) | {"scopeSpans": [{"spans": [second]}], "spans": [third]}
    assert load_bytes(lines(record)).input_tokens.tolist() == [1, 2, 3]
