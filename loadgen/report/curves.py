"""The curves of a sweep: each figure against the request rate, with its confidence band and the saturation interval.

Adding a curve is adding a line to CURVES; a curve whose figures are all missing is not drawn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadgen.report import plots
from loadgen.report.answers import saturation_column
from loadgen.report.markup import Markup, element, join
from loadgen.report.plots import Dot, Frame
from loadgen.report.reading import (
    Point,
    interval,
    is_indicative,
    metric,
    number,
    percent_of_confidence,
    point_name,
    points_of,
    saturation_of,
    say,
    say_range,
    sequence,
    words,
)
from loadgen.report.words import verdict_of
from loadgen.units import format_number


@dataclass(frozen=True, slots=True)
class Curve:
    """One chart. `series` is (key, label); a key with a dot looks into a nested part of the point."""

    title: str
    note: str
    series: tuple[tuple[str, str], ...]
    unit: str
    diagonal: bool = False


CURVES = (
    Curve(
        "Batch latency",
        "How long a batch takes, from its first send to the last token of its last answer: the mean, and the longest.",
        (("mean_batch_latency_ms", "mean"), ("max_batch_latency_ms", "longest")),
        "ms",
    ),
    Curve(
        "TTFT",
        "Time to first token: how long a user waits before anything appears.",
        (("p50_ttft_ms", "p50"), ("p99_ttft_ms", "p99")),
        "ms",
    ),
    Curve(
        "TPOT",
        "Time per output token: how fast an answer is written once it has begun.",
        (("p50_tpot_ms", "p50"), ("p99_tpot_ms", "p99")),
        "ms",
    ),
    Curve(
        "ITL",
        "Inter-token latency: single gaps between tokens, so stutter is seen here first.",
        (("p50_itl_ms", "p50"), ("p99_itl_ms", "p99")),
        "ms",
    ),
    Curve(
        "E2EL",
        "End-to-end latency: from the due time to the last token of the answer.",
        (("p50_e2el_ms", "p50"), ("p99_e2el_ms", "p99")),
        "ms",
    ),
    Curve(
        "Output throughput",
        "Output tokens per second. Where it stops rising, the server is full.",
        (("output_throughput", "output"),),
        "tok/s",
    ),
    Curve(
        "Achieved against asked",
        "On the dotted line the server keeps up with what was asked; below it, it does not.",
        (("achieved_rate", "achieved"),),
        "req/s",
        diagonal=True,
    ),
    Curve(
        "Goodput",
        "Requests per second answered within every limit of the SLO. On the dotted line: all of them.",
        (("request_goodput", "goodput"),),
        "req/s",
        diagonal=True,
    ),
    Curve(
        "Inside the server",
        "Requests the server was working on, and requests it kept waiting, on average.",
        (("server.running_mean", "running"), ("server.waiting_mean", "waiting")),
        "requests",
    ),
    Curve(
        "KV cache",
        "The fullest that the server's memory for running requests became.",
        (("server.kv_cache_max", "fullest"),),
        "share",
    ),
)

# What a sweep can be over, in order of preference: key of the point, title of the axis.
_AXES = (
    ("request_rate", "request rate asked, req/s"),
    ("max_concurrency", "requests in flight, at most"),
    ("batch_size", "batch size"),
)


@dataclass(frozen=True, slots=True)
class Axis:
    """The x axis that all curves of a sweep share."""

    key: str
    title: str
    values: list[float]
    log: bool
    saturation: tuple[float, float, str] | None  # low, high, label
    datasets: list[str]

    def scale(self, start: float, end: float) -> plots.Scale:
        if not self.log:
            return plots.linear_scale(self.values, start, end)
        return plots.log_scale(self.values, start, end, at=self.ticks)

    @property
    def ticks(self) -> Sequence[float]:
        """The rates themselves while they are few."""
        return self.values if len(self.values) <= 12 else ()


def axis_of(summary: object) -> Axis | None:
    """The axis on which the points differ; None when fewer than two can be placed on one."""
    points = points_of(summary)
    for key, title in _AXES:
        values = sorted({value for point in points if (value := number(point, key)) is not None and value > 0})
        if len(values) < 2:
            continue
        log = values[-1] / values[0] > 8
        saturation = saturation_column(summary) if key == "request_rate" else None
        datasets = list(dict.fromkeys(words(point, "dataset") for point in points))
        return Axis(key, f"{title} (log scale)" if log else title, values, log, saturation, datasets)
    return None


def curve_charts(summary: object) -> Markup:
    """Every curve for which there is something to draw; empty Markup when the points cannot be put on an axis."""
    axis = axis_of(summary)
    if axis is None:
        return Markup()
    key = Markup()
    if len(axis.datasets) > 1:
        entries = [(f"s{k % 6}", dataset or "no name") for k, dataset in enumerate(axis.datasets)]
        what = words(summary, "colour") or "a dataset"
        key = element("div", element("p", f"A colour is {what}:", class_="note"), plots.legend(entries))
    figures = [figure for curve in CURVES if (figure := _figure(curve, axis, summary))]
    return join([key, element("div", *figures, class_="charts")]) if figures else Markup()


def read(point: Point, key: str) -> float | None:
    return number(point, *key.split(".")) if "." in key else metric(point, key)


def _figure(curve: Curve, axis: Axis, summary: object) -> Markup | None:
    points = [point for point in points_of(summary) if (number(point, axis.key) or 0) > 0]
    points.sort(key=lambda point: number(point, axis.key) or 0)
    drawn = [(key, label) for key, label in curve.series if any(read(point, key) is not None for point in points)]
    if not drawn or (curve.diagonal and axis.key != "request_rate"):  # nothing was asked per second
        return None
    limits = _limits(points, [key for key, _ in drawn])
    frame, log = _frame(curve, axis, points, [key for key, _ in drawn], [limit for limit, _, _ in limits])
    layers = []
    if axis.saturation is not None:
        layers.append(plots.upright(frame, *axis.saturation, "saturation"))
    if curve.diagonal:
        layers.append(plots.line(frame, axis.values, axis.values, "diagonal"))
    many = len(axis.datasets) > 1
    for order, dataset in enumerate(axis.datasets):
        own = [point for point in points if words(point, "dataset") == dataset]
        for place, (key, label) in enumerate(drawn):
            style = f"s{order % 6} dash{place}" if many else f"s{place}"
            tips = [_tip(point, key, label, curve.unit, summary) for point in own]
            layers += _series(frame, own, axis.key, key, style, dataset if many else label, tips)
    entries = [(f"dash{place}" if many else f"s{place}", label) for place, (_, label) in enumerate(drawn)]
    for limit, key, text in limits:
        style = "limit" if many else f"limit s{[each for each, _ in drawn].index(key)}"
        layers.append(plots.line(frame, axis.values, [limit] * len(axis.values), style, text))
        entries.append((style, text))
    caption = element(
        "figcaption",
        element("h3", curve.title),
        element("p", curve.note),
        plots.legend(entries, toggles=not many) if len(entries) > 1 else None,
    )
    y_title = {"ms": "time", "share": "share in use"}.get(curve.unit, curve.unit) + (" (log scale)" if log else "")
    name = f"{curve.title} against {axis.title}"
    return element(
        "figure", caption, plots.chart(frame, layers, name=name, x_title=axis.title, y_title=y_title), class_="chart"
    )


def _limits(points: Sequence[Point], keys: Sequence[str]) -> list[tuple[float, str, str]]:
    """(limit, key of the figure, label) of every clause of the SLO that limits one of these figures."""
    found = {}
    for clause in (clause for point in points for clause in sequence(point, "slo", "clauses")):
        limit = number(clause, "limit_ms")
        key = f"{words(clause, 'statistic')}_{words(clause, 'metric')}_ms"
        if limit is not None and key in keys:
            found[key] = (limit, key, f"SLO {words(clause, 'statistic')} ≤ {say(limit, 'ms')}")
    return list(found.values())


def _frame(
    curve: Curve, axis: Axis, points: Sequence[Point], keys: Sequence[str], limits: Sequence[float]
) -> tuple[Frame, bool]:
    """The frame, and whether its y axis is logarithmic."""
    values = [value for point in points for key in keys if (value := read(point, key)) is not None]
    bounds = [bound for point in points for key in keys for bound in interval(point, key) or ()]
    values += [*bounds, *limits, *(axis.values if curve.diagonal else [])]
    above = [value for value in values if value > 0]
    if curve.diagonal:
        log = axis.log and len(above) == len(values)  # a zero has no place on a logarithmic axis
    else:
        log = curve.unit == "ms" and bool(above) and max(above) / min(above) > 20

    def y_scale(start: float, end: float) -> plots.Scale:
        if not log:
            return plots.linear_scale(values, start, end)
        return plots.log_scale(values, start, end, at=axis.ticks if curve.diagonal else ())

    return plots.make_frame(axis.scale, y_scale, y_label=tick_label(curve.unit)), log


def tick_label(unit: str) -> Callable[[float], str]:
    """How a tick is written: times and shares carry their unit, the rest has it in the title of the axis."""
    if unit == "ms":  # no minutes: 150 s is easier to compare along an axis than 2 m 30 s
        return lambda value: f"{format_number(value / 1000)} s" if value >= 1000 else say(value, unit)
    return (lambda value: say(value, unit)) if unit == "share" else format_number


def _series(
    frame: Frame, points: Sequence[Point], x_key: str, key: str, style: str, name: str, tips: Sequence[str]
) -> list[Markup]:
    """One figure of these points: its band, its intervals, its line and its dots. `name` is what the legend toggles."""
    xs = [number(point, x_key) for point in points]
    ys = [read(point, key) for point in points]
    intervals = [interval(point, key) for point in points]
    lows = [pair[0] if pair else None for pair in intervals]
    highs = [pair[1] if pair else None for pair in intervals]
    unsure = [is_indicative(point, key) or words(point, "verdict") not in ("", "VALID") for point in points]
    marks = [
        Dot(x, y, tip, hollow)
        for x, y, tip, hollow in zip(xs, ys, tips, unsure, strict=True)
        if x is not None and y is not None
    ]
    return [
        plots.band(frame, xs, lows, highs, style, name),
        plots.whiskers(frame, xs, lows, highs, style, name),
        plots.line(frame, xs, ys, style, name),
        plots.dots(frame, marks, style, name),
    ]


def _tip(point: Point, key: str, label: str, unit: str, summary: object) -> str:
    lines = [point_name(point), f"{label} {say(read(point, key), unit)}"]
    bounds = interval(point, key)
    if bounds is not None:
        lines.append(f"{percent_of_confidence(point)} CI {say_range(*bounds, unit)}")
    if is_indicative(point, key):
        lines.append("few samples: a hint only")
    if words(point, "verdict"):
        lines.append(verdict_of(words(point, "verdict")).words)
    if full := saturation_of(point, summary):
        lines.append(full)
    return "\n".join(lines)
