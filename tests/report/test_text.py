"""The last screen: the answer first, plain when plain is wanted, never wider than the terminal."""

import copy
import io
from typing import Any

import pytest
from rich.console import Console

from loadgen.report.demo import canned_run, canned_sweep
from loadgen.report.text import render_final

SWEEP = canned_sweep()


def screen(summary: dict[str, Any], width: int = 100, report: str = "", *, terminal: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=terminal, color_system="standard" if terminal else None)
    render_final(summary, console, report)
    return stream.getvalue()


def test_the_answer_comes_first_then_table_findings_and_report() -> None:
    text = screen(SWEEP, 200, "runs/x/report.html")
    order = [text.index(part) for part in (SWEEP["answer"], "16 req/s ", "● timeouts", "Report: runs/x/report.html")]
    assert order == sorted(order)
    assert order[0] == 0


def test_no_escape_codes_outside_a_terminal() -> None:
    assert "\x1b" not in screen(SWEEP)
    assert "\x1b[" in screen(SWEEP, terminal=True)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 160, 250])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(width: int) -> None:
    text = screen(SWEEP, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for rate in ("1", "2", "4", "8", "16", "32", "64"):
        assert f"\n{rate} req/s " in text
    assert "26,158" in text or width < 60


def test_a_wider_terminal_is_told_more() -> None:
    assert "TPOT" in screen(SWEEP, 60)
    assert "E2EL" not in screen(SWEEP, 60)
    assert "E2EL" in screen(SWEEP, 120)
    assert "(26,062–26,345)" not in screen(SWEEP, 120)
    assert "(26,062–26,345)" in screen(SWEEP, 160)


def test_indicative_percentiles_and_saturated_points_are_said() -> None:
    text = screen(SWEEP, 120)
    assert "~44.7" in text
    assert "~ too few samples" in text
    assert "not steady, saturated" in text


def test_a_finding_of_several_points_is_said_once() -> None:
    text = screen(SWEEP, 120)
    assert text.count("The server is past its capacity") == 1
    assert "● saturated  at 32, 64 req/s" in text


def test_a_run_and_an_interrupted_sweep() -> None:
    assert screen(canned_run()).startswith("The server holds 8 req/s")
    assert "Interrupted" in screen(SWEEP | {"cut": True})


def test_a_server_cannot_paint_the_terminal() -> None:
    summary = copy.deepcopy(SWEEP)
    summary["answer"] = "\x1b[2J[bold]x[/bold]"
    summary["points"][0] |= {"verdict": "\x1b]0;title\x07[red]", "dataset": "[blink]\x1b[5m"}
    summary["points"][0]["findings"] = [{"code": "\x1b[1m", "seen": "[/]\x1b[3m"}]
    text = screen(summary)
    assert "\x1b" not in text
    assert "[bold]x[/bold]" in text  # shown, not obeyed


@pytest.mark.parametrize(
    "summary", [{}, {"points": []}, {"points": [{}, {}]}, {"answer": None, "points": [{"findings": None}]}]
)
def test_what_is_missing_is_left_out(summary: dict[str, Any]) -> None:
    assert "None" not in screen(summary)


def test_any_key_of_a_point_may_be_missing_or_null() -> None:
    summary = canned_sweep(rates=(8.0,))
    point = summary["points"][0]
    for key in point:
        for broken in ({k: v for k, v in point.items() if k != key}, point | {key: None}):
            assert screen(summary | {"points": [broken]}).startswith("Saturates")
