"""A search as it is shown: every decision in the table, the rates in words, on the page and on the terminal."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from loadgen.analysis.sequential import Interval
from loadgen.report.html import render_html
from loadgen.report.live import PlainView
from loadgen.report.search_screen import latency_trail, probes_table
from loadgen.report.text import render_final
from loadgen.search import telling
from loadgen.search.estimates import Rate
from loadgen.search.journal import Entry
from loadgen.search.probe import Judged, Kind, Probe, Purpose
from loadgen.search.search import Answer

S = 1e9


def entry(kind: Kind, level: float, rate: float, verdict: str = "", problem: str = "", latency_s: float = 0.5) -> Entry:
    purpose = Purpose.LADDER if kind is Kind.CLOSED else Purpose.INSIDE
    probe = Probe(kind, level, purpose, 2 * S, 30 * S, width=0.05, decide=kind is Kind.OPEN)
    judged = Judged(
        *(300, 280, 2, 10 * S, 2.5 * S, 10 * S),
        throughput=Interval(rate, rate / 100, 22),
        tokens=Interval(10 * rate, rate / 10, 22),
        deficit=Interval(1 - rate / level, 0.01, 22) if kind is Kind.OPEN else None,
        latency_s=Interval(latency_s, 0.01, 22),
        littles=1.01,
        in_flight=12.0,
        verdict=verdict,
        problem=problem,
    )
    return Entry(f"{kind}-{level:g}", probe, judged, {"first-try": "late"} if problem else {})


ENTRIES = [
    entry(Kind.CLOSED, 1, 2.0),
    entry(Kind.CLOSED, 32, 20.1),
    entry(Kind.OPEN, 26.0, 20.2, "unstable", latency_s=4.0),
    entry(Kind.OPEN, 16.0, 15.9, "stable"),
    entry(Kind.OPEN, 19.0, 18.0, "unresolved", "Requests left late, says <finding>."),
]
ANSWER = Answer(
    stable=Rate(20.2, 19.9, 20.5, "completions"),
    goodput=Rate(17.0, 16.0, 18.0, "fit"),
    knee=Rate(15.0, 13.0, 17.0, "curve"),
    tokens=Rate(202.0, 200.0, 204.0, "probes"),
    sustained=16.0,
    notes=["32 in flight: the plateau."],
)


def summary(answer: Answer = ANSWER, entries: list[Entry] = ENTRIES) -> dict[str, Any]:
    rows = [telling.row(number, each) for number, each in enumerate(entries, 1)]
    points = [
        {"run": row["run"], "probe": row, "findings": [], "verdict": "VALID", "request_rate": None} for row in rows
    ]
    return {
        "kind": "saturate",
        "points": points,
        "probes": rows,
        "notes": answer.notes,
        "saturation": telling.rates(answer, entries) | {"reason": "the batch is full"},
        "answer": telling.sentences(answer, "the batch is full"),
    }


def on_screen(content: dict[str, Any], width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    render_final(content, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_answer_says_the_four_rates() -> None:
    assert telling.sentences(ANSWER, "the batch is full") == (
        "Saturates at 20.2 req/s (95 % CI 19.9 to 20.5): the batch is full. "
        "It certainly kept up with 16 req/s. "
        "The SLO holds up to 17 req/s (95 % CI 16 to 18). "
        "From about 15 req/s on, latency rises faster than the load. "
        "The most output seen is 202 tok/s (95 % CI 200 to 204)."
    )


def test_an_answer_without_a_limit_claims_none() -> None:
    told = telling.sentences(Answer(stable=Rate(8.0, 8.0, None, "tested"), problem="Never overloaded."), "")
    assert told == "Never overloaded."


def test_the_rates_tested_on_both_sides_stand_beside_the_answer() -> None:
    found = telling.rates(ANSWER, ENTRIES)["max_stable_rate"]
    assert (found["stable"], found["saturated"]) == (16.0, 26.0)
    assert telling.rates(Answer(), [])["max_stable_rate"]["value"] is None


def test_the_page_has_a_row_for_every_decision_and_nothing_unescaped() -> None:
    page = render_html(summary())
    table = re.search(r'<table id="probes-table".*?</table>|<table class="figures probes".*?</table>', page, re.DOTALL)
    assert table is not None
    rows = table[0].split("<tr>")[2:]
    assert len(rows) == len(ENTRIES)
    for row, each in zip(rows, ENTRIES, strict=True):
        assert telling.PURPOSES[each.probe.purpose] in row
        assert "throughput known to ±5 %" in row
    assert "Requests left late, says &lt;finding&gt;." in rows[4]
    assert "does not count" in rows[4]
    assert "saturates at 20.2 req/s" in page
    assert "within the SLO up to 17 req/s" in page
    assert "knee at 15 req/s" in page
    assert "Little" in page


def test_a_sweep_has_nothing_of_a_search() -> None:
    page = render_html(summary() | {"kind": "sweep", "probes": []})
    assert "How it was found" not in page


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_the_last_screen_fits(width: int) -> None:
    said = on_screen(summary(), width)
    assert said.startswith("Saturates at 20.2 req/s")
    assert max(map(len, said.splitlines())) <= width
    for number in range(1, len(ENTRIES) + 1):
        assert re.search(rf"^{number} ", said, re.MULTILINE)
    if width >= 100:
        assert "does not count: client-limited" in said


def test_the_trail_is_of_the_open_loops_that_count_by_rate() -> None:
    more = [*ENTRIES, entry(Kind.OPEN, 8.0, 8.0, "stable", latency_s=0.4)]
    assert latency_trail(summary(entries=more)) == "latency ▁▂█ from 8 to 26 req/s; 4 s at the highest"
    assert latency_trail(summary()) == ""


def test_a_pipe_gets_a_line_a_probe() -> None:
    out = io.StringIO()
    view = PlainView(out)
    for point in summary()["points"]:
        view.point_done(point)
    lines = out.getvalue().splitlines()
    assert len(lines) == len(ENTRIES)
    assert lines[2].startswith("probe 3: 26 req/s, below: does it keep up? | 20.2 (19.8–20.6) req/s completed")
    assert lines[2].endswith("unstable")


def test_what_is_not_known_is_a_dash() -> None:
    bare = Entry("x", Probe(Kind.OPEN, 3.0, Purpose.BEYOND, S, 2 * S), Judged(3, 0, 3, S, 0.5 * S, S))
    console = Console(file=io.StringIO(), width=140)
    console.print(probes_table([telling.row(1, bare)], 140))
    assert isinstance(console.file, io.StringIO)
    assert "too little seen" in console.file.getvalue()
    assert "—" in console.file.getvalue()
    assert render_html(summary(Answer(problem="Nothing completed."), [bare]))
