"""Records of JSON however they stand in a file: lines, an array, under a key, over several lines, OTLP's nest."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from invariants import check
from sources import SOURCES, lines

from loadgen.errors import BadInputError
from loadgen.trace.jsonrows import first_told, record_rows, told
from loadgen.trace.load import load_trace
from loadgen.trace.reading import head_of
from loadgen.trace.table import Trace

ROWS = [
    {"startTime": f"2025-11-13T02:13:2{k}Z", "endTime": None, "prompt_tokens": k, "completion_tokens": 2, "spend": [{}]}
    for k in range(9)
]
FORMS = {
    "lines": lines(*ROWS),
    "an array": json.dumps(ROWS).encode(),
    "an array over lines": b"\xef\xbb\xbf" + json.dumps(ROWS, indent=2).encode(),
    "under a key": json.dumps({"page": {"data": 1}, "data": ROWS}).encode(),
    "under a key over lines": json.dumps({"data": ROWS, "page": 3}, indent=2).encode(),
}


def load_bytes(data: bytes, folder: Path) -> Trace:
    path = folder / "x.json"
    path.write_bytes(data)
    trace = load_trace(path)
    check(trace)
    return trace


def span(name: str, parent: str = "", start: str = "05", end: str = "06", **attributes: object) -> dict[str, Any]:
    return {
        "trace_id": "t",
        "span_id": name,
        "parent_span_id": parent,
        "start_time": f"2026-02-25T10:00:{start}",
        "end_time": f"2026-02-25T10:00:{end}",
        "attributes": attributes or {"gen_ai.request.model": "m"},
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("piece", [64, 1 << 20])
def test_records_are_the_same_in_every_form(
    form: str, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen.trace.reading._PIECE_BYTES", piece)
    monkeypatch.setattr("loadgen.trace.jsonrows._AT_ONCE", 4)
    trace = load_bytes(FORMS[form], tmp_path)
    assert trace.input_tokens.tolist() == list(range(9))
    assert trace.row.tolist() == list(range(1, 10))
    assert trace.survey.rows_read == 9


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("broken", ['"many', "100000001", "1.5", "Infinity"])
def test_a_broken_record_is_named_by_its_place(form: str, broken: str, tmp_path: Path) -> None:
    data = FORMS[form].replace(b'"prompt_tokens": 6', f'"prompt_tokens": {broken}'.encode())
    whole = form != "lines" and broken in ('"many', "Infinity")  # not JSON: no record has a place
    with pytest.raises(BadInputError, match="line 1:" if whole else "line 7: "):
        load_bytes(data, tmp_path)


def test_what_is_no_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="line 2: Expected 'object', got 'int'"):
        load_bytes(json.dumps([ROWS[0], 5]).encode(), tmp_path)


def test_a_first_line_longer_than_the_head_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.trace.reading.HEAD_BYTES", 100)
    assert len(load_bytes(FORMS["lines"], tmp_path)) == 9


def test_what_is_told_first_is_told() -> None:
    def rows(*values: Any) -> list[SimpleNamespace]:
        return [SimpleNamespace(**dict(zip("abc", each, strict=True))) for each in values]

    assert told(rows((1, 2, 3), (None, 2, 3), ("", None, 3), (0, 2, 3)), "abc") == [1, 2, 3, 0]
    assert told(rows((None, 5, 6), (None, None, None)), "abc") == [5, None]
    columns = iter([[1, None], [5, 2], [6, 7]])
    assert first_told(columns) == [1, 2]
    assert next(columns) == [6, 7]  # not asked for


def test_spans_come_in_otlp_lines_as_a_collector_writes_them(tmp_path: Path) -> None:
    first = json.loads(SOURCES["otel"][1])
    second = json.loads(SOURCES["otel"][1].replace(b'"agent"', b'"other agent"').replace(b'"call"', b'"other call"'))
    trace = load_bytes(lines(first, second, span("flat")), tmp_path)
    assert trace.row.tolist() == [1, 2, 3]
    assert trace.survey.rows_read == 7
    assert trace.survey.dropped == {
        "a span with an id that was there before": 1,  # the tool
        "no model call": 1,
        "holds another model call": 2,
    }


def test_a_span_that_holds_a_call_ends_with_or_after_it(tmp_path: Path) -> None:
    """Also where something lies between, and whatever digits the times are written with."""
    nested = [
        span("agent", end="09"),
        span("step", "agent", end="08", tool="search"),
        span("call", "step", end="07.5"),
        span("launcher", end="06"),
        span("launched", "launcher", end="06.000001"),
        span("a", "b"),  # a circle
        span("b", "a", end="07"),
        span("own", "own"),
    ]
    for data in (lines(*nested), json.dumps(nested[::-1]).encode()):
        trace = load_bytes(data, tmp_path)
        assert trace.survey.dropped == {"no model call": 1, "holds another model call": 2}
        names = [nested[row - 1 if data[:1] == b"{" else -row]["span_id"] for row in trace.row.tolist()]
        assert sorted(names) == ["a", "call", "launched", "launcher", "own"]


@pytest.mark.parametrize(
    "held", [{"intValue": "31"}, {"intValue": 31}, {"doubleValue": 31.0}, {"stringValue": "31"}, 31]
)
def test_otlps_values_are_read_in_every_type(held: Any, tmp_path: Path) -> None:
    data = SOURCES["otel"][1].replace(b'{"intValue": "31"}', json.dumps(held).encode())
    assert load_bytes(data, tmp_path).input_tokens.tolist() == [31]


def test_a_list_is_cut_into_pieces_and_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.trace.jsonrows._AT_ONCE", 4)
    path = tmp_path / "x.json"
    path.write_bytes(FORMS["an array"])
    found = list(record_rows(head_of(path), dict[str, Any]))
    assert [list(places) for places, _ in found] == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert [row["prompt_tokens"] for _, rows in found for row in rows] == list(range(9))
