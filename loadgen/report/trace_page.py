"""A trace as one page: its figures, its course, what is odd; from the document of `loadgen trace inspect`."""

from typing import Any

from loadgen.report import plots
from loadgen.report.html import page, section
from loadgen.report.markup import Markup, element
from loadgen.report.reading import mapping, number, say, sequence, words
from loadgen.units import format_duration, format_number, s_to_ns

_COURSES = (
    ("rate", "Arrivals", "requests/s", "s0"),
    ("input_tokens", "Prompts", "mean tokens", "s1"),
    ("output_tokens", "Answers", "mean tokens", "s2"),
)
_HOUR_S = 3600


def render_trace(found: dict[str, Any]) -> str:
    """The whole page; what the trace does not know is left out."""
    title = f"{words(found, 'format')}: {say(number(found, 'rows_kept'))} requests"
    head = element(
        "header",
        element("p", "loadgen trace", class_="eyebrow"),
        element("p", element("span", element("b", "file"), words(found, "path")), class_="facts-line"),
    )
    main = element(
        "main",
        element("section", element("h1", title), element("p", _span(found), class_="rest"), id="answer"),
        section("time", "Over time", "", _charts(found)),
        section("odd", "What is odd about it", "A replay shows these; they are no doing of the server.", _odd(found)),
        section("figures", "Figures", "", element("div", _figures(found), class_="scroll")),
    )
    note = "Percentiles are linear between order statistics; a peak is the most arrivals in any window of that length."
    return page(f"loadgen trace: {title}", head, main, element("footer", f"{note} This file is complete."))


def _span(found: dict[str, Any]) -> str:
    span, rate = number(found, "span_s"), number(found, "mean_rate")
    if span is None or rate is None:
        return "It has no times."
    begins = f", from {words(found, 'zero')}" if words(found, "zero") else ""
    return f"{format_duration(s_to_ns(span))}{begins}, {format_number(rate)} requests a second in the mean."


def _charts(found: dict[str, Any]) -> Markup | None:
    course, span = mapping(found, "over_time"), number(found, "span_s")
    width = number(course, "bin_s")
    if span is None or width is None:
        return None
    unit_s, unit = (_HOUR_S, "h") if span > 3 * _HOUR_S else (60, "min") if span > 180 else (1, "s")
    charts = []
    for key, name, what, style in _COURSES:
        values = [value if isinstance(value, (int, float)) else None for value in sequence(course, key)]
        if not any(values):
            continue
        edges = [k * width / unit_s for k in range(len(values) + 1)]
        frame = plots.make_frame(
            lambda start, end, edges=edges: plots.linear_scale(edges, start, end, tight=True),  # type: ignore[misc]
            lambda start, end, values=values: plots.linear_scale(values, start, end),  # type: ignore[misc]
        )
        picture = plots.chart(
            frame,
            [plots.step(frame, edges, values, style)],
            name=f"{name} over time",
            x_title=f"time [{unit}]",
            y_title=what,
        )
        charts.append(element("figure", element("figcaption", element("h3", name)), picture, class_="chart"))
    return element("div", *charts, class_="charts") if charts else None


def _odd(found: dict[str, Any]) -> Markup | None:
    sentences = [words(each) for each in sequence(found, "oddities")]
    return element("ul", *(element("li", each) for each in sentences)) if sentences else None


def _figures(found: dict[str, Any]) -> Markup:
    """Every figure by its name in the JSON, a row each."""
    rows = []
    for key, value in found.items():
        if key in ("over_time", "oddities", "kind") or value is None or value in ({}, []):
            continue
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for name, each in parts:
            rows.append(element("tr", element("th", f"{key} {name}".strip(), scope="row"), element("td", _text(each))))
    return element("table", element("tbody", *rows), class_="figures")


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return words(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
