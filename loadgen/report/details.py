"""One point of the HTML report from close up: its timeline, its distributions, its findings.

A chart of which nothing is known is left out. Medians of bins are drawn as they are: percentiles are never averaged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from loadgen.report import plots
from loadgen.report.curves import tick_label
from loadgen.report.markup import Markup, element, join
from loadgen.report.reading import Point, mapping, number, numbers, point_name, sequence, words
from loadgen.report.words import ITL, LATENCIES, TONES, severity_of
from loadgen.units import format_number


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart of a timeline. A series is (key of the timeline, label); `counts` are shown as rates per second."""

    title: str
    y_title: str
    series: tuple[tuple[str, str], ...]
    unit: str = ""
    counts: bool = False


PANELS = (
    Panel("Due and done", "req/s", (("due", "due"), ("done", "done")), counts=True),
    Panel(
        "In flight",
        "requests",
        (("in_flight", "in flight"), ("server_running", "running in the server"), ("server_waiting", "waiting there")),
    ),
    Panel("Output throughput", "tok/s", (("output_tokens", "output tokens"),), counts=True),
    Panel("TTFT, median", "time", (("ttft_p50_ms", "TTFT p50"),), unit="ms"),
    Panel("KV cache", "share in use", (("kv_cache", "KV cache"),), unit="share"),
    Panel("Failed", "req/s", (("failed", "failed"),), counts=True),
)
REPLAYED = Panel("Wanted and sent", "req/s", (("issued", "sent"), ("due", "wanted")), counts=True)
_RATE_BINS = 60  # counts are drawn in about so many bins; in finer ones a rate is all jitter


@dataclass(frozen=True, slots=True)
class _Bins:
    """The bins of a timeline and the steady window in them, in s."""

    starts: list[float]
    width: float
    window: tuple[float | None, float | None]

    @property
    def end(self) -> float:
        return self.starts[-1] + self.width


def timeline(point: Point) -> Markup:
    """What happened when, in bins; empty when the point has no timeline."""
    starts = [start for start in numbers(point, "timeline", "t") if start is not None]
    if not starts:
        return Markup()
    width = number(point, "timeline", "bin_s") or 1.0
    bins = _Bins(starts, width, (number(point, "window", "start_s"), number(point, "window", "end_s")))
    panels = (REPLAYED, *PANELS) if mapping(point, "replay") else PANELS
    figures = [figure for panel in panels if (figure := _panel(panel, mapping(point, "timeline"), bins))]
    return element("div", *figures, class_="charts") if figures else Markup()


def _panel(panel: Panel, line: dict[str, object], bins: _Bins) -> Markup | None:
    merged = -(-len(bins.starts) // _RATE_BINS) if panel.counts else 1
    edges = [*bins.starts[::merged], bins.end]
    drawn = []
    for key, label in panel.series:
        values: plots.Values = numbers(line, key)
        if panel.counts:
            values = _rates(values, merged, edges)
        if any(values) or (values and key not in ("failed", "server_waiting")):
            drawn.append((label, values))
    if not drawn:
        return None
    every = [value for _, values in drawn for value in values]
    frame = plots.make_frame(
        lambda start, end: plots.linear_scale([edges[0], edges[-1]], start, end, count=7, tight=True),
        lambda start, end: plots.linear_scale(every, start, end, count=4),
        y_label=tick_label(panel.unit),
    )
    layers = _shaded_edges(frame, bins)
    if panel.title == "Failed":
        layers.append(plots.bars(frame, edges, drawn[0][1], "s1"))
    else:  # the first series is drawn last, on top: it is the one the chart is named after
        for k in reversed(range(len(drawn))):
            layers.append(plots.step(frame, edges, drawn[k][1], f"thin s{k}", drawn[k][0]))
    entries = [(f"s{k}", label) for k, (label, _) in enumerate(drawn)]
    return _figure(panel.title, frame, layers, panel.y_title, entries if len(entries) > 1 else [])


def _rates(counts: plots.Values, merged: int, edges: Sequence[float]) -> list[float | None]:
    """Counts per bin as rates per second, `merged` bins at a time; unknown where no bin is known."""
    rates: list[float | None] = []
    for k, (start, end) in enumerate(pairwise(edges)):
        known = [count for count in counts[k * merged : (k + 1) * merged] if count is not None]
        rates.append(sum(known) / (end - start) if known and end > start else None)
    return rates


def _shaded_edges(frame: plots.Frame, bins: _Bins) -> list[Markup]:
    """The warm-up and the drain, which the figures leave out."""
    start, end = bins.window
    shaded = []
    if start is not None and start > bins.starts[0]:
        shaded.append(plots.upright(frame, bins.starts[0], start, "warm-up", "edge"))
    if end is not None and end < bins.end:
        shaded.append(plots.upright(frame, end, bins.end, "drain", "edge"))
    return shaded


def _figure(
    title: str, frame: plots.Frame, layers: list[Markup], y_title: str, entries: Sequence[tuple[str, str]] = ()
) -> Markup:
    caption = element("figcaption", element("h4", title), plots.legend(entries) if entries else None)
    svg = plots.chart(frame, layers, name=f"{title} over time", x_title="time since the start, s", y_title=y_title)
    return element("figure", caption, svg, class_="chart")


def distributions(points: Sequence[Point]) -> Markup:
    """For each latency, the share of requests that were at least as fast; one curve a point, darker for more load."""
    styles = [f"seq k{round(10 * (k + 1) / len(points))}" for k in range(len(points))]
    figures = []
    for key, name, meaning in LATENCIES:
        curves = [
            (point, style, numbers(point, "quantiles", f"{key}_ms"))
            for point, style in zip(points, styles, strict=True)
        ]
        figure = _distribution(
            name, meaning, "gaps" if key == ITL else "requests", [c for c in curves if len(c[2]) > 1]
        )
        figures.append(figure)
    if not any(figures):
        return Markup()
    legend = plots.legend([(style, point_name(point)) for point, style in zip(points, styles, strict=True)])
    key_above = element("div", legend, class_="shared-key") if len(points) > 1 else None
    return join([key_above, element("div", *figures, class_="charts")])


def _distribution(
    name: str, meaning: str, unit: str, curves: Sequence[tuple[Point, str, list[float | None]]]
) -> Markup | None:
    every = [value for _, _, values in curves for value in values if value is not None]
    above = [value for value in every if value > 0]
    if not every:
        return None
    log = bool(above) and max(above) / min(above) > 20
    scale = plots.log_scale if log else plots.linear_scale
    frame = plots.make_frame(
        lambda start, end: scale(every, start, end),
        lambda start, end: plots.linear_scale([0, 100], start, end),
        tick_label("ms"),
        lambda value: f"{format_number(value)} %",
    )
    layers = []
    for point, style, values in curves:
        shares = [100 * k / (len(values) - 1) for k in range(len(values))]
        layers.append(plots.line(frame, values, shares, style, point_name(point)))
    title = f"{name} (log scale)" if log else name
    svg = plots.chart(frame, layers, name=f"distribution of {name}", x_title=title, y_title=f"{unit} at least as fast")
    return element("figure", element("figcaption", element("h4", f"{name}: {meaning}")), svg, class_="chart")


def finding_cards(findings: Sequence[tuple[dict[str, object], str]]) -> Markup:
    """(finding, where it was seen) as cards, the gravest first."""
    cards = []
    for finding, where in sorted(findings, key=lambda pair: severity_of(words(pair[0], "severity"))):
        tone = TONES[severity_of(words(finding, "severity"))]
        code = words(finding, "code").replace("_", " ").lower()
        texts = [("", words(finding, "seen"))]
        texts += [("What it may mean: ", words(finding, "meaning")), ("Try next: ", words(finding, "try_next"))]
        lines = [element("p", element("b", lead) if lead else None, text) for lead, text in texts if text]
        heading = element("h4", code or "finding", element("small", where) if where else None)
        cards.append(element("div", heading, *lines, class_=f"finding {tone}"))
    return join(cards)


def own_findings(point: Point) -> Markup:
    found = [finding for finding in sequence(point, "findings") if isinstance(finding, dict)]
    return finding_cards([(finding, "") for finding in found])
