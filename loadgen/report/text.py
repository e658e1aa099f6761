"""The last screen: the answer in words, the table, what stood out, where the report is; in this order.

Never a colour code where the console is not a terminal, and never a control character of a server's text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from loadgen.report.reading import (
    NOT_KNOWN,
    Point,
    at,
    group_findings,
    interval,
    is_indicative,
    metric,
    percent_of_confidence,
    point_name,
    points_of,
    saturation_of,
    sequence,
    words,
)
from loadgen.report.search_screen import latency_trail, probes_table
from loadgen.report.words import COLUMNS, TONES, Column, severity_of, verdict_of
from loadgen.units import format_number

TONE_STYLES = {"good": "green", "warn": "yellow", "bad": "bold red", "info": "cyan"}
# What a search provokes on purpose: it overloads the server, and stops as soon as it knows enough.
PROVOKED = frozenset({"SATURATED", "SHORT_RUN", "NO_PLATEAU", "CENSORED", "FEW_SAMPLES"})
_GAP = 2  # blanks between two columns, one of them the divider of the box


def render_final(summary: dict[str, Any], console: Console, report: str = "") -> None:
    """Print the last screen of a run or sweep; `report` is the path of the HTML report, or of the run folder."""
    points = points_of(summary)
    answer = words(summary, "answer")
    if answer:
        console.print(Text(answer, style="bold"))
    if at(summary, "cut") is True:
        console.print(Text("Interrupted: this is what was measured until then.", style="yellow"))
    probes = sequence(summary, "probes")
    if probes:
        trail = latency_trail(summary)
        console.print(Padding(probes_table(probes, console.width), (1, 0, 0, 0), expand=False))
        for line in ("in brackets: 95 % confidence interval", trail):
            if line:
                console.print(Text(line, style="dim"))
    elif points:
        console.print(Padding(points_table(points, summary, console.width), (1, 0, 0, 0), expand=False))
        if any(sequence(point, "indicative") for point in points):
            console.print(Text("~ too few samples for this percentile: a hint, not a measurement", style="dim"))
    for finding, where in group_findings(points):
        if probes and words(finding, "code") in PROVOKED:
            continue
        _print_finding(finding, where, console)
    if report:
        console.print(Text.assemble("\nReport: ", (words(report), "underline")))


def _print_finding(finding: dict[str, Any], where: str, console: Console) -> None:
    tone = TONE_STYLES[TONES[severity_of(words(finding, "severity"))]]
    code = words(finding, "code").replace("_", " ").lower() or "finding"
    console.print(Text.assemble(("\n● ", tone), (code, "bold"), (f"  {where}" if where else "", "dim")))
    said = " ".join(text for key in ("seen", "meaning") if (text := words(finding, key)))
    hint = words(finding, "try_next")
    for text in (said, f"→ {hint}" if hint else ""):
        if text:
            console.print(Padding(Text(text), (0, 0, 0, 2), expand=False))


_NONE = -1
_DEPTHS = (9, 1, _NONE)  # columns up to that rank show their interval: all, the chief ones, none


@dataclass(frozen=True, slots=True)
class _Layout:
    """One way to write the table: its columns, up to which rank they show intervals, verdicts on one line or two."""

    columns: tuple[Column, ...]
    depth: int
    one_line: bool


def points_table(points: Sequence[Point], summary: Any, width: int, *, terse: bool = False) -> Table:
    """The points as a table that fits `width`: with intervals, else without, else with fewer columns.

    A terse one has no intervals and exactly one line a point."""
    columns = tuple(
        column
        for column in COLUMNS
        if column.key != "request_rate" and any(metric(point, column.key) is not None for point in points)
    )
    tries = [(_NONE, True)] if terse else [(depth, one_line) for depth in _DEPTHS for one_line in (True, False)]
    layouts = [_Layout(columns, depth, one_line) for depth, one_line in tries]
    while columns:
        worst = max(columns, key=lambda column: column.rank)
        columns = tuple(column for column in columns if column is not worst)
        layouts.append(_Layout(columns, _NONE, one_line=terse))
    written = ((layout, _write(points, summary, layout)) for layout in layouts)
    layout, cells = next(pair for pair in written if _width(pair[1]) <= width or not pair[0].columns)
    shown = [column.key for column in layout.columns if column.rank <= layout.depth]
    bracketed = any(interval(point, key) for point in points for key in shown)
    caption = f"in brackets: {percent_of_confidence(points[0])} confidence interval" if bracketed else None
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, _GAP - 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        caption=caption,
        caption_justify="left",
    )
    for k, column in enumerate(cells):
        table.add_column(Text(column[0]), justify="left" if k in (0, len(cells) - 1) else "right", no_wrap=True)
    for row in range(1, len(points) + 1):
        tone = TONE_STYLES[verdict_of(words(points[row - 1], "verdict")).tone]
        table.add_row(*(Text(column[row]) for column in cells[:-1]), Text(cells[-1][row], style=tone))
    return table


def _write(points: Sequence[Point], summary: Any, layout: _Layout) -> list[list[str]]:
    """The texts of the table by column, each with its head first; a text may have two lines."""
    between = ", " if layout.one_line else ",\n"
    cells = [["\npoint", *map(point_name, points)]]
    for column in layout.columns:
        first, _, rest = column.head.partition(" ")
        lower = f"{rest} {column.unit}".strip()
        head = f"{first}\n{lower}" if lower else f"\n{first}"
        cells.append([head, *(_cell(point, column, column.rank <= layout.depth) for point in points)])
    cells.append(["\nverdict", *(verdict_text(point, summary, between) for point in points)])
    return cells


def _width(cells: Sequence[Sequence[str]]) -> int:
    return sum(max(len(row) for text in column for row in text.split("\n")) + _GAP for column in cells) - _GAP


def _cell(point: Point, column: Column, intervals: bool) -> str:
    value = metric(point, column.key)
    if value is None:
        return NOT_KNOWN
    text = ("~" if is_indicative(point, column.key) else "") + format_number(value)
    bounds = interval(point, column.key) if intervals else None
    return f"{text} ({format_number(bounds[0])}–{format_number(bounds[1])})" if bounds else text


def verdict_text(point: Point, summary: Any, between: str = ", ") -> str:
    """The verdict in words, and whether the point lies past saturation."""
    verdict, full = verdict_of(words(point, "verdict")).words, saturation_of(point, summary)
    return f"{verdict}{between}{full}" if full else verdict
