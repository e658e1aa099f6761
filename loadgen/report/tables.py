"""The tables of the HTML report: the points at a glance, every figure of every point, both ready to copy as TSV.

A cell carries its unrounded value in `data-v`, so that what is copied is the number and not its rounding.
"""

from collections.abc import Sequence

from loadgen.report.markup import Markup, element, join
from loadgen.report.reading import (
    NOT_KNOWN,
    Point,
    interval,
    is_indicative,
    metric,
    number,
    point_name,
    points_of,
    saturation_of,
    words,
)
from loadgen.report.words import COLUMNS, Column, verdict_of
from loadgen.units import format_number

_FULL = {
    "saturated": "This rate is above what the server can sustain.",
    "maybe saturated": "Too few requests came to tell whether the server keeps up with this rate.",
}


def badge(point: Point, summary: object) -> Markup:
    """The verdict as a pill: a sign and words, so that it does not hang on the colour."""
    verdict = verdict_of(words(point, "verdict"))
    pill = element("span", f"{verdict.sign} {verdict.words}", class_=f"badge {verdict.tone}", title=verdict.meaning)
    full = saturation_of(point, summary)
    return join([pill, element("span", full, class_="badge full", title=_FULL[full]) if full else None], " ")


def columns_for(points: Sequence[Point]) -> list[Column]:
    """The columns of which at least one point knows something; goodput only where there is an SLO."""
    return [column for column in COLUMNS if any(metric(point, column.key) is not None for point in points)]


def point_table(summary: object) -> Markup:
    """One row a point."""
    points = points_of(summary)
    columns = [column for column in columns_for(points) if column.key != "request_rate"]
    heads = [element("th", "point", scope="col")]
    heads += [
        element("th", column.head, element("small", column.unit) if column.unit else None, scope="col")
        for column in columns
    ]
    rows = []
    for place, point in enumerate(points, 1):
        cells = [_figure_cell(point, column) for column in columns]
        name = element("th", element("a", point_name(point), href=f"#point-{place}"), scope="row")
        rows.append(element("tr", name, *cells, element("td", badge(point, summary), class_="words")))
    heads.append(element("th", "verdict", scope="col", class_="words"))
    return element(
        "table", element("thead", element("tr", *heads)), element("tbody", *rows), id="points-table", class_="figures"
    )


def _figure_cell(point: Point, column: Column) -> Markup:
    value = metric(point, column.key)
    if value is None:
        return element("td", NOT_KNOWN)
    text = ("~" if is_indicative(point, column.key) else "") + format_number(value)
    bounds = interval(point, column.key)
    small = element("small", f"{format_number(bounds[0])}–{format_number(bounds[1])}") if bounds else None
    return element("td", text, small, data_v=unrounded(value))


def unrounded(value: float) -> str:
    """A number for a spreadsheet: every digit, and a count as a whole number."""
    return str(int(value)) if value.is_integer() else repr(value)


_RATES = ("request_rate", "offered_rate", "send_rate", "achieved_rate", "request_throughput", "request_goodput")
_COUNTS = (
    ("Requests", ("num_prompts", "completed", "failed", "censored", "unsent")),
    ("Rates, req/s", _RATES),
    ("Tokens", ("total_input_tokens", "total_output_tokens", "output_throughput", "total_token_throughput")),
    ("Duration, s", ("duration",)),
)
_STATISTICS = ("mean", "median", "std", "p50", "p90", "p95", "p99")
_SPREADS = (
    ("ttft", "TTFT, ms"),
    ("ttft_send", "TTFT counted from the send instead of the due time, ms"),
    ("tpot", "TPOT, ms"),
    ("itl", "ITL, ms"),
    ("icl", "ICL, the gaps between events, ms"),
    ("e2el", "E2EL, ms"),
    ("e2el_send", "E2EL counted from the send instead of the due time, ms"),
    ("lag", "Lag, ms"),
)


def every_figure(summary: object) -> Markup:
    """All figures, a row each, a column a point: narrow enough to print."""
    points = points_of(summary)
    heads = [element("th", "figure", scope="col")]
    heads += [element("th", point_name(point), scope="col") for point in points]
    groups = [*_COUNTS, *((title, tuple(f"{s}_{key}_ms" for s in _STATISTICS)) for key, title in _SPREADS)]
    rows = []
    for title, keys in groups:
        known = [key for key in keys if any(number(point, key) is not None for point in points)]
        if known:
            rows.append(element("tr", element("th", title, scope="rowgroup", colspan=len(points) + 1), class_="group"))
        for key in known:
            cells = []
            for point in points:
                value = number(point, key)
                sign = "~" if is_indicative(point, key) else ""
                text = NOT_KNOWN if value is None else sign + format_number(value)
                cells.append(element("td", text, data_v=None if value is None else unrounded(value)))
            rows.append(element("tr", element("th", element("code", key), scope="row"), *cells))
    return element(
        "table", element("thead", element("tr", *heads)), element("tbody", *rows), id="all-table", class_="figures all"
    )


def settings_table(settings: dict[str, object]) -> Markup:
    """The options as they were in force."""
    rows = []
    for flag, value in settings.items():
        if value is None or value == "":
            continue
        shown = ", ".join(words(each) for each in value) if isinstance(value, list | tuple) else words(value)
        rows.append(element("tr", element("th", element("code", flag), scope="row"), element("td", shown)))
    return element("table", element("tbody", *rows), class_="facts") if rows else Markup()
