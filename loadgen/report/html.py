"""The report as ONE file of HTML that opens offline: no link, font or script from elsewhere, nothing left unescaped.

Hand-drawn SVG carries the page and needs no JavaScript; the little there is adds tips, toggles and copying. The page is
told in the order a reader asks: what is the answer, can I trust it, how does it look against the rate, what happened in
each point, with which settings.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadgen.report import details, facts, search_story, tables
from loadgen.report.answers import answers
from loadgen.report.curves import axis_of, curve_charts
from loadgen.report.markup import Markup, element, join
from loadgen.report.reading import (
    Point,
    at,
    group_findings,
    mapping,
    metric,
    names_of,
    number,
    percent_of_confidence,
    point_name,
    points_of,
    say,
    sentence,
    target_line,
    words,
)
from loadgen.report.replayed import replay_tables
from loadgen.report.search_charts import ladder_chart, search_charts
from loadgen.report.words import DEFINITIONS, verdict_of

_HERE = Path(__file__)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"  # nothing is ever fetched


def render_html(summary: dict[str, Any]) -> str:
    """The whole page for a parsed `summary.json`, of a run or a sweep; whatever is missing in it is left out."""
    kind = words(summary, "kind") or "sweep"
    title = f"loadgen {kind}: {target_line(summary) or 'no target'}"
    points = points_of(summary)
    sections: list[Markup | None] = [_answer(summary, points), _search(summary), _decisions(summary)]
    if kind != "run":
        sections += [_curves(summary, points), _distributions(points), _findings(points), _points(summary, points)]
    else:
        sections += [_close_up(point, summary) for point in points]
    sections += [_tables(summary, points), _meanings(), _settings(summary)]
    return page(title, _masthead(summary, kind), element("main", *sections), _footer(summary))


def page(title: str, *content: Markup | None) -> str:
    """One file that opens offline, with the style sheet and the little script inside."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        element("style", Markup(_HERE.with_name("page.css").read_text(encoding="utf-8"))),
    )
    script = element("script", Markup(_HERE.with_name("page.js").read_text(encoding="utf-8")))
    body = element("body", *content, element("div", id="tip"), script)
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def section(name: str, title: str, lead: str, *children: Markup | None) -> Markup | None:
    """A titled section; None when it would be empty, so that it leaves no heading behind."""
    if not any(children):
        return None
    intro = element("p", lead, class_="lead") if lead else None
    return element("section", element("h2", title), intro, *children, id=name)


def _masthead(summary: dict[str, Any], kind: str) -> Markup:
    target = mapping(summary, "target")
    known = [
        ("model", words(target, "model")),
        ("engine", f"{words(target, 'engine')} {words(target, 'version')}".strip()),
        ("flags", ", ".join(f"{name} {value}" for name, value in mapping(target, "flags").items())),
        ("target", words(target, "base_url")),
        ("dataset", words(summary, "dataset")),
        ("started", words(summary, "started").replace("T", " ").replace("Z", " UTC")),
    ]
    items = [element("span", element("b", label), value) for label, value in known if value]
    return element(
        "header", element("p", f"loadgen {kind}", class_="eyebrow"), element("p", *items, class_="facts-line")
    )


def _answer(summary: dict[str, Any], points: Sequence[Point]) -> Markup:
    answer = words(summary, "answer") or "There is no answer in words: the summary holds the figures only."
    cut = at(summary, "cut") is True
    note = "Interrupted before its end. This is what was measured until then." if cut else ""
    headline, _, rest = answer.partition(". ") if search_story.is_search(summary) else (answer, "", "")
    return element(
        "section",
        element("h1", f"{headline}." if rest else answer),
        element("p", rest, class_="rest") if rest else None,
        element("p", note, class_="banner") if note else None,
        _tiles(summary, points),
        _verdict_line(summary, points),
        id="answer",
    )


def _tiles(summary: dict[str, Any], points: Sequence[Point]) -> Markup | None:
    """The figures that answer the question, with how sure they are."""
    tiles = [
        element(
            "div",
            element("b", each.label),
            element("strong", each.value),
            element("small", each.detail) if each.detail else None,
            element("i", each.meaning),
            class_="tile",
        )
        for each in answers(summary, points)
    ]
    return element("div", *tiles, class_="tiles") if tiles else None


def _verdict_line(summary: dict[str, Any], points: Sequence[Point]) -> Markup | None:
    """How many points have which verdict, and what that means."""
    by_code: dict[str, list[Point]] = {}
    for point in points:  # a search stops as soon as it knows enough: only what does not count is worth a word
        if not search_story.is_search(summary) or words(point, "verdict") == "CLIENT_LIMITED":
            by_code.setdefault(words(point, "verdict"), []).append(point)
    lines = []
    for code, group in by_code.items():
        verdict = verdict_of(code)
        pill = element("span", f"{verdict.sign} {verdict.words}", class_=f"badge {verdict.tone}")
        which = f"all {len(points)} points" if len(group) == len(points) > 1 else names_of(group)
        lines.append(element("li", pill, " ", element("b", which), f". {verdict.meaning}" if verdict.meaning else None))
    reason = sentence(words(summary, "saturation", "reason"))
    because = element("li", element("span", "why", class_="badge"), " ", reason) if reason else None
    return element("ul", because, *lines, class_="verdicts") if lines or because else None


def _search(summary: dict[str, Any]) -> Markup | None:
    """How a search found what it says; None for everything else."""
    if not search_story.is_search(summary):
        return None
    lead = (
        "Each dot is one probe at that request rate; hover over it for its figures. A stroke is its 95 % confidence "
        "interval, a hollow dot does not count or was not decided, and the coloured columns are the intervals of the "
        "rates that were found."
    )
    charts = element("div", search_charts(summary), ladder_chart(summary), class_="side")
    return section("search", "What was found", lead, charts)


def _decisions(summary: dict[str, Any]) -> Markup | None:
    table = search_story.probe_table(summary)
    if not table:
        return None
    copy = element("p", element("button", "copy table", data_copy="#probes-table"), class_="tools")
    parts = [element("p", search_story.LITTLE, class_="lead"), element("p", search_story.TABLE_LEAD, class_="lead")]
    return section(
        "probes", "How it was found", "", search_story.steps(), *parts, copy, table, search_story.notes(summary)
    )


def _curves(summary: dict[str, Any], points: Sequence[Point]) -> Markup | None:
    axis = axis_of(summary)
    what = "request rate" if axis is None or axis.key == "request_rate" else "load"
    level = percent_of_confidence(points[0] if points else None)
    lead = (
        f"Each dot is one run at that {what}; hover over it for its figures. The shaded band is the {level} confidence "
        "interval, the shaded column the interval in which the server saturates. A hollow dot is less than sure: few "
        "samples, or a verdict other than valid."
    )
    return section("curves", f"Against the {what}", lead, curve_charts(summary))


def _distributions(points: Sequence[Point]) -> Markup | None:
    lead = (
        "How the latencies spread. A steep line means that all requests fared alike; a long tail to the right, "
        "that some waited."
    )
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(words(point, "dataset"), []).append(point)
    blocks = []
    for dataset, group in groups.items():
        charts = details.distributions(group)
        blocks.append(join([element("h3", dataset), charts]) if charts and len(groups) > 1 else charts)
    return section("distributions", "Latency distributions", lead, *blocks)


def _findings(points: Sequence[Point]) -> Markup | None:
    cards = details.finding_cards(group_findings(points))
    return section("findings", "What stood out", "", cards)


def _points(summary: dict[str, Any], points: Sequence[Point]) -> Markup | None:
    toggles = element(
        "p",
        element("button", "open all", data_all="open"),
        element("button", "close all", data_all="close"),
        class_="tools",
    )
    blocks = []
    for place, point in enumerate(points, 1):
        gist = [
            f"{say(metric(point, 'output_throughput'), 'tok/s')}",
            f"TTFT p99 {say(metric(point, 'p99_ttft_ms'), 'ms')}",
        ]
        line = element(
            "summary", element("b", point_name(point)), tables.badge(point, summary), element("span", " · ".join(gist))
        )
        blocks.append(element("details", line, _close_up_parts(point), id=f"point-{place}"))
    lead = "One run each: its course over time, its latencies, and whether the measurement itself is to be trusted."
    return section("points", "Point by point", lead, toggles if blocks else None, *blocks)


def _close_up(point: Point, summary: dict[str, Any]) -> Markup | None:
    return element(
        "section",
        element("h2", "The run from close up ", tables.badge(point, summary)),
        *replay_tables(point),
        _close_up_parts(point),
        id="point-1",
    )


def _close_up_parts(point: Point) -> Markup:
    verdict = verdict_of(words(point, "verdict"))
    trust = f"The verdict is “{verdict.words}”. {verdict.meaning} This is what our own machine did while it measured:"
    health = facts.client_facts(point)
    sides = [
        ("Lengths, asked and obtained", facts.plain_facts(mapping(point, "lengths"))),
        ("Inside the server", facts.plain_facts(mapping(point, "server"))),
        ("Efficiency", facts.plain_facts(mapping(point, "efficiency"))),
        ("Within the SLO", facts.slo_facts(point)),
        ("Errors by outcome", facts.plain_facts(mapping(point, "errors"))),
        ("Steady window", facts.plain_facts(mapping(point, "window"))),
        ("Whole run, with warm-up and drain", facts.plain_facts(mapping(point, "whole_run"))),
    ]
    cards = [element("div", element("h4", title), table, class_="card") for title, table in sides if table]
    return join(
        [
            details.own_findings(point),
            _part("Over time", details.timeline(point)),
            _part("Latencies", details.distributions([point])),
            _part("Is the measurement to be trusted?", health, trust),
            element("div", *cards, class_="cards") if cards else None,
        ]
    )


def _part(title: str, content: Markup, note: str = "") -> Markup | None:
    if not content:
        return None
    return join([element("h3", title), element("p", note, class_="note") if note else None, content])


def _tables(summary: dict[str, Any], points: Sequence[Point]) -> Markup | None:
    if not points:
        return None
    lead = "Small print under a figure: its confidence interval. ~ marks a percentile with too few samples to rely on."
    glance = element("div", tables.point_table(summary), class_="scroll")
    copy = element("p", element("button", "copy table", data_copy="#points-table"), class_="tools")
    every = element(
        "details",
        element("summary", element("b", "Every figure of every point")),
        element("p", element("button", "copy table", data_copy="#all-table"), class_="tools"),
        element("div", tables.every_figure(summary), class_="scroll"),
    )
    return section("tables", "The figures", lead, copy, glance, every)


def _meanings() -> Markup | None:
    pairs = [element("div", element("dt", term), element("dd", meaning)) for term, meaning in DEFINITIONS]
    return section("words", "What the words mean", "", element("dl", *pairs))


def _settings(summary: dict[str, Any]) -> Markup | None:
    command = words(summary, "command")
    block = element("pre", element("code", command), id="command") if command else None
    copy = element("p", element("button", "copy command", data_copy="#command"), class_="tools") if command else None
    table = tables.settings_table(mapping(summary, "settings"))
    seed = number(summary, "seed")
    note = (
        element("p", f"Seed {seed:.0f}: the same command draws the same load again.", class_="note")
        if seed is not None
        else None
    )
    return section("settings", "How to do it again", "", copy, block, note, table)


def _footer(summary: dict[str, Any]) -> Markup:
    tool = " ".join(
        part for part in (words(summary, "tool", "name") or "loadgen", words(summary, "tool", "version")) if part
    )
    schema = words(summary, "schema")
    return element(
        "footer", f"{tool}{f', summary schema {schema}' if schema else ''}. This file is complete: it loads nothing."
    )
