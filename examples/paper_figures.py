"""Draws the curves of examples/paper.py as SVG files that stand alone. It must never compute a figure."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from loadgen.report import plots
from loadgen.report.markup import Markup, element

COLOURS = ("#0067a8", "#c4500a", "#00805a", "#8a4f9e", "#94700a", "#4a5560")
STYLE = (
    "svg{font-family:sans-serif;background:#fff}text{fill:#555;font-size:11px}.grid{fill:none;stroke:#e3e3e3}"
    ".axis{fill:none;stroke:#555}.line{fill:none;stroke-width:2}.band{stroke:none;opacity:.18}"
    ".whisker{fill:none;stroke-width:1.2;opacity:.6}.hit{fill:none}"
) + "".join(
    f".line.s{k},.whisker.s{k}{{stroke:{colour}}}.band.s{k},.s{k} .dot,.key.s{k}{{fill:{colour}}}"
    for k, colour in enumerate(COLOURS)
)

Point = dict[str, Any]


def draw(
    path: Path,
    series: dict[str, Sequence[Point]],
    metric: str,
    title: str,
    unit: str,
    *,
    log: bool,
    key_across: bool = False,
) -> None:
    """One chart: `metric` against the request rate, a line and the 95 % interval for each of at most six series.

    Their names stand in the upper left corner, or across the top where lines run through that corner.
    """
    known = [bound for points in series.values() for point in points for bound in point[metric]]
    rates = sorted({point["rate"] for points in series.values() for point in points})
    vertical = plots.log_scale if log else plots.linear_scale
    frame = plots.make_frame(partial(plots.log_scale, rates), partial(vertical, known))
    layers: list[Markup] = []
    across = 0.0  # of the names
    for k, (name, points) in enumerate(series.items()):
        xs = [point["rate"] for point in points]
        means, lows, highs = zip(*(point[metric] for point in points), strict=True)
        style = f"s{k}"
        key = (across, frame.y.end - 8) if key_across else (8.0, frame.y.end + 12.0 + 13 * k)
        across += 6.0 * len(name) + 12
        layers += [
            plots.band(frame, xs, lows, highs, style),
            plots.whiskers(frame, xs, lows, highs, style),
            plots.line(frame, xs, means, style),
            plots.dots(
                frame, [plots.Dot(x, y, f"{name}: {y:.4g} at {x:g}/s") for x, y in zip(xs, means, strict=True)], style
            ),
            element("text", name, x=frame.x.start + key[0], y=key[1], class_=f"key s{k}"),
        ]
    picture = plots.chart(frame, layers, name=title, x_title="requests per second", y_title=f"{title}, {unit}")
    style = element("style", Markup(STYLE))
    path.write_text(
        picture.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f">{style}", 1) + "\n"
    )
