"""What a search found, as charts: its probes and the rates found on one axis, the server's queue and memory under it,
and the climb. It decides nothing: verdicts, intervals and rates stand in the summary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from loadgen.report import plots
from loadgen.report.curves import tick_label
from loadgen.report.markup import Markup, element
from loadgen.report.plots import Dot, Frame, Scale
from loadgen.report.reading import (
    at,
    estimate,
    number,
    points_of,
    say,
    say_range,
    sequence,
    words,
)
from loadgen.units import format_number

_RATE = "req/s"


@dataclass(frozen=True, slots=True)
class RateLine:
    """One of the rates found: where it is drawn, in which style, and how it is named."""

    value: float
    low: float
    high: float
    style: str
    label: str


def rate_lines(summary: Any) -> list[RateLine]:
    """The rates that were found, in the order in which a load that grows meets them is left to the eye."""
    kinds = (
        ("max_stable_rate", "s1", "saturates at"),
        ("max_goodput_rate", "s2", "within the SLO up to"),
        ("knee_rate", "s3", "knee at"),
    )
    found = []
    for key, style, says in kinds:
        value, low, high = estimate(at(summary, "saturation", key))
        if value is None or value <= 0:
            continue
        between = f" ({say_range(low, high)})" if low is not None and high is not None else ""
        label = f"{says} {format_number(value)} {_RATE}{between}"
        found.append(RateLine(value, value if low is None else low, value if high is None else high, style, label))
    return found


def search_charts(summary: Any) -> Markup:
    """Completions, latency, the server's queue and its memory against the request rate, one above the other."""
    probes = [p for p in sequence(summary, "probes") if words(p, "loop") == "open"]
    probes.sort(key=lambda p: number(p, "level") or 0.0)
    lines = rate_lines(summary)
    xs = [x for p in probes if (x := number(p, "level")) is not None]
    if not xs:
        return Markup()
    by_run = {words(point, "run"): point for point in points_of(summary)}
    panels = [
        _panel("Completed", "What the server completes; on the dotted line it keeps up.", _RATE, "throughput"),
        _panel("Latency", "Mean time from due to done.", "ms", "latency_s", 1000.0),
        _gauge("Waiting in the server", "Its own count of requests that wait.", "requests", "waiting_mean"),
        _gauge("KV cache", "The fullest its memory for running requests became.", "share", "kv_cache_max"),
    ]
    drawn = [(panel, values) for panel in panels if any(values := [panel.read(p, by_run) for p in probes])]
    if not drawn:
        return Markup()
    scales = [_y_scale(panel, values, xs) for panel, values in drawn]
    left = max(plots.left_of(scale, tick_label(panel.unit)) for scale, (panel, _) in zip(scales, drawn, strict=True))
    ends = [*xs, *(each for line in lines for each in (line.low, line.high))]
    figures = []
    for (panel, values), vertical in zip(drawn, scales, strict=True):
        frame = Frame(_x_scale(ends, left), vertical, y_label=tick_label(panel.unit))
        figures.append(_figure(panel, frame, probes, values, lines))
    legend = plots.legend([(line.style, line.label) for line in lines], toggles=False)
    key = element("div", legend, class_="shared-key") if lines else None
    return element("div", key, element("div", *figures, class_="charts stack"))


Reading = tuple[float, float | None, float | None] | None  # value, low, high


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    note: str
    unit: str
    read: Callable[[Any, dict[str, Any]], Reading]


def _panel(title: str, note: str, unit: str, key: str, factor: float = 1.0) -> _Panel:
    def read(probe: Any, _: dict[str, Any]) -> Reading:
        value, low, high = (None if each is None else factor * each for each in estimate(at(probe, key)))
        return None if value is None else (value, low, high)

    return _Panel(title, note, unit, read)


def _gauge(title: str, note: str, unit: str, key: str) -> _Panel:
    def read(probe: Any, by_run: dict[str, Any]) -> Reading:
        value = number(by_run.get(words(probe, "run")), "server", key)
        return None if value is None else (value, None, None)

    return _Panel(title, note, unit, read)


def _x_scale(values: Sequence[float], left: float) -> Scale:
    return plots.linear_scale(list(values), left, plots.RIGHT_EDGE, count=7)


def _y_scale(panel: _Panel, values: Sequence[Reading], xs: Sequence[float]) -> Scale:
    every = [each for reading in values if reading for each in reading if each is not None]
    if panel.title == "Completed":
        every += xs
    above = [each for each in every if each > 0]
    log = panel.unit == "ms" and bool(above) and max(above) / min(above) > 20
    scale = plots.log_scale if log else plots.linear_scale
    return scale(every, plots.FLOOR, plots.CEILING)


def _figure(
    panel: _Panel, frame: Frame, probes: Sequence[Any], values: Sequence[Reading], lines: Sequence[RateLine]
) -> Markup:
    layers: list[Markup] = []
    top, bottom = frame.y.high, frame.y.low
    for line in lines:
        layers.append(plots.upright(frame, line.low, line.high, "", f"rate {line.style}"))
        layers.append(plots.line(frame, [line.value] * 2, [bottom, top], f"thin {line.style}"))
    if panel.title == "Completed":
        reach = min(frame.x.high, frame.y.high)
        layers.append(plots.line(frame, [frame.x.low, reach], [frame.x.low, reach], "diagonal"))
    known = [(p, reading) for p, reading in zip(probes, values, strict=True) if reading is not None]
    xs = [number(p, "level") for p, _ in known]
    sure = [r[0] if at(p, "counts") is True else None for p, r in known]
    layers.append(
        plots.line(
            frame,
            [x for x, y in zip(xs, sure, strict=True) if y is not None],
            [y for y in sure if y is not None],
            "thin s0",
        )
    )
    layers.append(plots.whiskers(frame, xs, [r[1] for _, r in known], [r[2] for _, r in known], "s0"))
    for style, wanted in (("s0", True), ("s1", False)):
        marks = [
            Dot(
                x,
                reading[0],
                _tip(p, panel, reading),
                at(p, "counts") is not True or words(p, "verdict") == "unresolved",
            )
            for (p, reading), x in zip(known, xs, strict=True)
            if x is not None and (words(p, "verdict") != "unstable") is wanted
        ]
        layers.append(plots.dots(frame, marks, style))
    y_title = {"ms": "time", "share": "share in use"}.get(panel.unit, panel.unit)
    svg = plots.chart(
        frame,
        layers,
        name=f"{panel.title} against request rate",
        x_title="request rate asked, req/s",
        y_title=y_title + (" (log scale)" if frame.y.log else ""),
    )
    caption = element("figcaption", element("h3", panel.title), element("p", panel.note))
    return element("figure", caption, svg, class_="chart")


def _tip(probe: Any, panel: _Panel, reading: tuple[float, float | None, float | None]) -> str:
    value, low, high = reading
    lines = [f"probe {words(probe, 'number')}: {say(number(probe, 'level'), _RATE)}", say(value, panel.unit)]
    if low is not None and high is not None:
        lines.append(f"95 % CI {say_range(low, high, panel.unit)}")
    lines.append(words(probe, "verdict") if at(probe, "counts") is True else "does not count")
    return "\n".join(lines)


def ladder_chart(summary: Any) -> Markup:
    """Completions against the number in flight: where they stop growing, more at once only wait."""
    probes = [p for p in sequence(summary, "probes") if words(p, "loop") == "closed" and at(p, "throughput")]
    probes.sort(key=lambda p: number(p, "level") or 0.0)
    if len(probes) < 2:
        return Markup()
    xs = [number(p, "level") for p in probes]
    readings = [estimate(at(p, "throughput")) for p in probes]
    every = [each for reading in readings for each in reading]
    levels = [x for x in xs if x is not None]
    frame = plots.make_frame(
        lambda start, end: plots.log_scale(levels, start, end, at=levels if len(levels) < 13 else ()),
        lambda start, end: plots.linear_scale(every, start, end),
    )
    values, lows, highs = ([reading[k] for reading in readings] for k in range(3))
    marks = [
        Dot(x, y, f"{format_number(x)} in flight\n{say(y, _RATE)}", at(p, "counts") is not True)
        for p, x, y in zip(probes, xs, values, strict=True)
        if x is not None and y is not None
    ]
    layers = [
        plots.whiskers(frame, xs, lows, highs, "s0"),
        plots.line(frame, xs, values, "s0"),
        plots.dots(frame, marks, "s0"),
    ]
    svg = plots.chart(
        frame,
        layers,
        name="completions against requests in flight",
        x_title="requests in flight (log scale)",
        y_title=f"completed, {_RATE}",
    )
    note = "Where the line is flat the server is full: more at once only wait longer."
    caption = element("figcaption", element("h3", "The climb"), element("p", note))
    return element("div", element("figure", caption, svg, class_="chart"), class_="charts")
