"""The plots of a profile's document: measured points under the roof, times along batch and length.

It must never compute a result: what is drawn stands in the document.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from loadgen.profile.conclusions import fastest_ways
from loadgen.profile.tables import microseconds, place
from loadgen.profile.works import IN_PAIR, LINEARS, STACKS
from loadgen.report import plots
from loadgen.report.markup import Markup
from loadgen.units import format_number

Json = Mapping[str, Any]
PHASES = ("prefill", "decode")
STYLES = 7
_LINEAR = (*LINEARS, "q", "k", "v", "gate", "router")


@dataclass(frozen=True, slots=True)
class Figure:
    """`keys` are (style, label) of its series; `slug` names the file it may be put in."""

    slug: str
    title: str
    picture: Markup
    keys: Sequence[tuple[str, str]]


def figures(document: Json) -> list[Figure]:
    """All that the document has points for; of its points those that the GPU's memory has room for."""
    drawn: list[Figure | None] = [_roof(document, phase) for phase in PHASES]
    drawn += [_sweep(document), *(kind(document, phase) for kind in (_caches, _steps) for phase in PHASES)]
    return [figure for figure in drawn if figure]


def _along(points: Iterable[Json], phase: str, fixed: str) -> list[Json]:
    """The points of a phase on the longest line of the grid on which `fixed` is one value; the largest of equals."""
    mine = [point for point in points if point["phase"] == phase and point["fits"]]
    counted = Counter(point[fixed] for point in mine)
    chosen = max(counted, key=lambda value: (counted[value], value), default=None)
    return [point for point in mine if point[fixed] == chosen]


def _kind(name: str) -> str:
    if name in _LINEAR:
        return "linear layers"
    return "attention and KV cache" if name in IN_PAIR else "element by element"


def _roof(document: Json, phase: str) -> Figure | None:
    """Reached TFLOP/s over FLOPs per byte, each operation in its fastest way at every batch of one length."""
    points, limit = _along(document["points"], phase, "sequence"), document["limits"]["measured"]
    if not points or not limit:
        return None
    marks: dict[str, list[plots.Dot]] = {}
    for point in points:
        for name, cell in fastest_ways(point["cells"]).items():
            if cell["median_us"] is None or not cell["flops"]:
                continue
            speed = cell["flops"] / cell["median_us"] / 1e6
            tip = f"{name}, {place(point)}: {microseconds(cell['median_us'])}, {cell['of_floor']:.0%} of its floor"
            marks.setdefault(_kind(name), []).append(plots.Dot(cell["intensity"], speed, tip))
    every = [mark for series in marks.values() for mark in series]
    if not every:
        return None
    left, right = min(mark.x for mark in every) / 2, max(4 * limit["ridge"], *(2 * mark.x for mark in every))
    top, gbps = limit["bf16_tflops"], limit["bandwidth_gbps"]
    frame = plots.make_frame(
        partial(plots.log_scale, [left, right]),
        partial(plots.log_scale, [min(mark.y for mark in every), top]),
    )
    layers = [plots.line(frame, [left, limit["ridge"], right], [left * gbps / 1000, top, top], "limit")]
    layers += [plots.dots(frame, series, f"s{k % STYLES}") for k, series in enumerate(marks.values())]
    title = f"{phase.capitalize()}, {points[0]['sequence']:,} tokens: reached, under the measured roof"
    picture = plots.chart(frame, layers, name=title, x_title="FLOPs per byte", y_title="TFLOP/s")
    return Figure(f"roof-{phase}", title, picture, [(f"s{k % STYLES}", name) for k, name in enumerate(marks)])


Series = Mapping[str, Sequence[tuple[float, float]]]


def _lines(slug: str, title: str, series: Series, floors: Series, x_title: str, unit: str) -> Figure | None:
    """Both axes logarithmic; the floor of a series is the dashed line of its colour."""
    known = {name: line for name, line in series.items() if line}
    every = [point for line in (*known.values(), *floors.values()) for point in line]
    if not any(len(line) > 1 for line in known.values()):
        return None
    xs = sorted({x for x, _ in every})
    frame = plots.make_frame(partial(plots.log_scale, xs), partial(plots.log_scale, [y for _, y in every]))
    layers = []
    for k, (name, line) in enumerate(known.items()):
        style = f"s{k % STYLES}"
        for points, kind in ((line, style), (floors.get(name, ()), f"dash1 {style}")):
            layers.append(plots.line(frame, [x for x, _ in points], [y for _, y in points], kind))
        tips = [plots.Dot(x, y, f"{name}, {x:,}: {format_number(y)} {unit}") for x, y in line]
        layers.append(plots.dots(frame, tips, style))
    picture = plots.chart(frame, layers, name=title, x_title=x_title, y_title=unit)
    return Figure(slug, title, picture, [(f"s{k % STYLES}", name) for k, name in enumerate(known)])


def _sweep(document: Json) -> Figure | None:
    timed = {name: [one for one in cells if one["median_us"] is not None] for name, cells in document["sweep"].items()}
    series = {name: [(one["batch"], one["median_us"]) for one in cells] for name, cells in timed.items()}
    floors = {name: [(one["batch"], one["floor_us"]) for one in cells] for name, cells in timed.items()}
    return _lines("linears", "Linear layers; dashed: floor", series, floors, "tokens of a step", "µs")


def _caches(document: Json, phase: str) -> Figure | None:
    points = _along(document["points"], phase, "batch")
    series: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        for pair in point["pairs"]:
            if pair["median_us"] is not None:
                name = f"{pair['kv_cache']}, {pair['attention'].removeprefix('sdpa, ')}"
                series.setdefault(name, []).append((point["sequence"], pair["median_us"]))
    batch = points[0]["batch"] if points else 0
    title = f"{phase.capitalize()}, batch {batch:,}: KV cache update and attention of a layer"
    return _lines(f"caches-{phase}", title, series, {}, "tokens of context", "µs")


def _steps(document: Json, phase: str) -> Figure | None:
    points = _along(document["points"], phase, "sequence")
    series: dict[str, list[tuple[float, float]]] = {}
    floors: dict[str, list[tuple[float, float]]] = {}
    for stack in STACKS:
        steps = [(point["batch"], point["steps"][stack]) for point in points]
        series[stack] = [(batch, step["sum_ms"]) for batch, step in steps if step["sum_ms"] is not None]
        floors[stack] = [(batch, step["floor_ms"]) for batch, step in steps if step["sum_ms"] is not None]
    length = points[0]["sequence"] if points else 0
    title = f"{phase.capitalize()}, {length:,} tokens: sum of all modules of a step; dashed: floor"
    return _lines(f"step-{phase}", title, series, floors, "batch", "ms")
