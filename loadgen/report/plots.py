"""Small pieces of SVG: scales, good ticks, axes, lines, bands, dots, steps, legends. Pure: numbers in, markup out.

Never a colour: a piece has a class and the style sheet decides, so that dark mode and print work. Every position has
one decimal, which keeps a report of many curves small. A None among the values is a gap in the line.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadgen.report.markup import Markup, coordinate, element, join
from loadgen.units import format_number

Values = Sequence[float | None]
Label = Callable[[float], str]

WIDTH, HEIGHT = 460, 250  # of every chart, in SVG units: two fit side by side on a page, one on a phone
_TOP, _BOTTOM, _RIGHT = 34, 40, 14
_SMALLEST = 1e-9  # of any unit that we draw; what is smaller counts as zero
RIGHT_EDGE, FLOOR, CEILING = WIDTH - _RIGHT, HEIGHT - _BOTTOM, _TOP  # of the frame; its left edge hangs on the labels
_LETTER = 6.3  # mean width of a letter of the 11 px label, on the wide side


@dataclass(frozen=True, slots=True)
class Scale:
    """Values low … high to pixels start … end; a value outside is drawn on the rim."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool = False

    def __call__(self, value: float) -> float:
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def nice_step(span: float, count: int) -> float:
    """The smallest 1, 2 or 5 times a power of ten that cuts the span into at most `count` pieces."""
    exponent = math.floor(math.log10(span / count))
    # the small allowance keeps 0.30000000000000004 from needing a wider step than 0.3
    return next(m * 10.0**exponent for m in (1, 2, 5, 10, 20) if span <= m * 10.0**exponent * count * (1 + 1e-9))


def linear_scale(values: Values, start: float, end: float, *, count: int = 5, tight: bool = False) -> Scale:
    """A linear scale that shows zero and whose ends are ticks, or, when `tight`, just what the values span.

    All equal, or nothing at all, still gives a scale."""
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if not tight:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= max(1e-9 * max(abs(high), abs(low)), _SMALLEST):
        high = low + (abs(low) if abs(low) > _SMALLEST else 1.0)
    step = nice_step(high - low, count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(step * k for k in range(first, last + 1))
    if tight:
        return Scale(low, high, start, end, tuple(tick for tick in ticks if low <= tick <= high))
    return Scale(ticks[0], ticks[-1], start, end, ticks)


def log_scale(values: Values, start: float, end: float, *, count: int = 6, at: Sequence[float] = ()) -> Scale:
    """A logarithmic scale; ticks are `at` where given, else 1-2-5, 1-3 or whole decades, whichever fits in `count`.

    Values of 0 and less cannot be shown and are left out of the range."""
    known = [value for value in values if value is not None and value > _SMALLEST]
    low, high = (min(known), max(known)) if known else (1.0, 10.0)
    if at:
        margin = 1.06 if high / low > 1.2 else 2.0
        return Scale(low / margin, high * margin, start, end, tuple(at), log=True)
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    every = 1
    for steps in ((1, 2, 5), (1, 3), (1,)):
        marks = [m * 10.0**k for k in decades for m in steps]
        floor = max((mark for mark in marks if mark <= low * (1 + 1e-9)), default=low)
        ceiling = min((mark for mark in marks if mark >= high * (1 - 1e-9)), default=high)
        ticks = [mark for mark in marks if floor <= mark <= ceiling]
        if len(ticks) <= count:
            break
    else:
        every = math.ceil(len(ticks) / count)
    if ceiling <= floor:
        ceiling = floor * 10
        ticks = [floor, ceiling]
    return Scale(floor, ceiling, start, end, tuple(ticks[::every]), log=True)


@dataclass(frozen=True, slots=True)
class Frame:
    """The two scales of one chart, and how their ticks are written."""

    x: Scale
    y: Scale
    x_label: Label = format_number
    y_label: Label = format_number


def make_frame(
    x: Callable[[float, float], Scale],
    y: Callable[[float, float], Scale],
    x_label: Label = format_number,
    y_label: Label = format_number,
) -> Frame:
    """A frame as large as its labels allow: y is made first, because its labels need room on the left of x."""
    vertical = y(FLOOR, CEILING)
    return Frame(x(left_of(vertical, y_label), RIGHT_EDGE), vertical, x_label, y_label)


def left_of(y: Scale, y_label: Label = format_number) -> float:
    """Where the frame begins: charts one above the other share the largest."""
    return 12 + _LETTER * max(len(y_label(tick)) for tick in y.ticks)


def chart(frame: Frame, layers: Sequence[Markup], *, name: str, x_title: str, y_title: str) -> Markup:
    """One whole `<svg>`: grid, layers, axes. `name` is what a screen reader says."""
    top_left = element("text", y_title, x=2, y=11, class_="axis-title")
    bottom = element(
        "text", x_title, x=(frame.x.start + frame.x.end) / 2, y=HEIGHT - 5, text_anchor="middle", class_="axis-title"
    )
    return element(
        "svg", _grid(frame), *layers, top_left, bottom, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=name
    )


def _grid(frame: Frame) -> Markup:
    x, y = frame.x, frame.y
    rules, heights, marks, places = [], [], [], []
    for tick in y.ticks:
        height = y(tick)
        rules.append(f"M{coordinate(x.start)} {coordinate(height)}H{coordinate(x.end)}")
        heights.append(element("text", frame.y_label(tick), x=x.start - 6, y=height + 3.5))
    taken = -math.inf
    for tick in x.ticks:
        place, text = x(tick), frame.x_label(tick)
        marks.append(f"M{coordinate(place)} {coordinate(y.start)}v4")
        half = _LETTER * len(text) / 2
        centre = min(place, WIDTH - half)
        if centre - half < taken + 5:
            continue  # it would run into its left neighbour
        taken = centre + half
        places.append(element("text", text, x=centre, y=y.start + 16))
    floor = f"M{coordinate(x.start)} {coordinate(y.start)}H{coordinate(x.end)}"
    return join(
        [
            element("path", d="".join(rules), class_="grid"),
            element("g", *heights, text_anchor="end"),
            element("path", d="".join([*marks, floor]), class_="axis"),
            element("g", *places, text_anchor="middle"),
        ]
    )


def line(frame: Frame, xs: Values, ys: Values, style: str, series: str | None = None) -> Markup:
    """A line through the points; a None breaks it."""
    path, pen = [], "M"
    for x, y in zip(xs, ys, strict=False):
        if x is None or y is None:
            pen = "M"
            continue
        path.append(f"{pen}{coordinate(frame.x(x))} {coordinate(frame.y(y))}")
        pen = "L"
    return element("path", d="".join(path), class_=f"line {style}", data_series=series)


def step(frame: Frame, edges: Values, ys: Values, style: str, series: str | None = None) -> Markup:
    """`ys[k]` holds from `edges[k]` to `edges[k + 1]`: the honest way to draw what was counted in bins."""
    path: list[str] = []
    height = ""
    for k, y in enumerate(ys[: len(edges) - 1]):
        left, right = edges[k], edges[k + 1]
        if y is None or left is None or right is None:
            height = ""
            continue
        up, start, end = coordinate(frame.y(y)), coordinate(frame.x(left)), coordinate(frame.x(right))
        if up == height:
            path[-1] = f"H{end}"  # an unchanged value needs no corner
        else:
            path += [f"V{up}" if height else f"M{start} {up}", f"H{end}"]
        height = up
    return element("path", d="".join(path), class_=f"line {style}", data_series=series)


def band(frame: Frame, xs: Values, lows: Values, highs: Values, style: str, series: str | None = None) -> Markup:
    """The area between two lines, where both are known; each unbroken stretch is one area."""
    stretches: list[list[tuple[float, float, float]]] = [[]]
    for x, low, high in zip(xs, lows, highs, strict=False):
        if x is None or low is None or high is None:
            stretches.append([])
        else:
            stretches[-1].append((x, low, high))
    path = []
    for stretch in stretches:
        if len(stretch) > 1:
            forth = [f"{coordinate(frame.x(x))} {coordinate(frame.y(high))}" for x, _, high in stretch]
            back = [f"{coordinate(frame.x(x))} {coordinate(frame.y(low))}" for x, low, _ in reversed(stretch)]
            path.append("M" + "L".join(forth + back) + "Z")
    return element("path", d="".join(path), class_=f"band {style}", data_series=series)


def whiskers(frame: Frame, xs: Values, lows: Values, highs: Values, style: str, series: str | None = None) -> Markup:
    """An upright stroke from low to high at each x: the interval of a single figure, seen also where a band is thin."""
    path = [
        f"M{coordinate(frame.x(x))} {coordinate(frame.y(low))}V{coordinate(frame.y(high))}"
        for x, low, high in zip(xs, lows, highs, strict=False)
        if x is not None and low is not None and high is not None
    ]
    return element("path", d="".join(path), class_=f"whisker {style}", data_series=series)


@dataclass(frozen=True, slots=True)
class Dot:
    """A point to look at: `tip` is said when it is pointed at, `hollow` says that it is less than sure."""

    x: float
    y: float
    tip: str
    hollow: bool = False


def dots(frame: Frame, marks: Sequence[Dot], style: str, series: str | None = None) -> Markup:
    """Round marks with a generous area to point at, and their tip, which also works without JavaScript."""
    drawn = []
    for mark in marks:
        place = {"cx": frame.x(mark.x), "cy": frame.y(mark.y)}
        drawn.append(
            element(
                "g",
                element("title", mark.tip),
                element("circle", **place, r=9, class_="hit"),
                element("circle", **place, r=3.5, class_="dot hollow" if mark.hollow else "dot"),
                class_="mark",
                data_tip=mark.tip,
            )
        )
    return element("g", *drawn, class_=style, data_series=series) if drawn else Markup()


def bars(frame: Frame, edges: Values, ys: Values, style: str) -> Markup:
    """Bars from zero, `ys[k]` from `edges[k]` to `edges[k + 1]`; zero is left out."""
    down, path = coordinate(frame.y(0.0)), []
    for k, y in enumerate(ys[: len(edges) - 1]):
        left, right = edges[k], edges[k + 1]
        if y and left is not None and right is not None:
            start, end = frame.x(left), max(frame.x(right), frame.x(left) + 1.5)  # never too thin to be seen
            path.append(f"M{coordinate(start)} {down}V{coordinate(frame.y(y))}H{coordinate(end)}V{down}Z")
    return element("path", d="".join(path), class_=f"bar {style}")


def upright(frame: Frame, low: float, high: float, text: str, style: str) -> Markup:
    """A shaded column from low to high on the x axis, with its label above the frame and inside the picture."""
    left, right = sorted((frame.x(low), frame.x(high)))
    if right - left < 2:
        left, right = left - 1, left + 1
    top = frame.y.end
    area = element("rect", x=left, y=top, width=right - left, height=frame.y.start - top, class_=f"upright {style}")
    half = _LETTER * len(text) / 2
    middle = min(max((left + right) / 2, frame.x.start + half), WIDTH - half)  # clear of the labels on the left
    label = element("text", text, x=middle, y=top - 8, text_anchor="middle", class_=f"upright-label {style}")
    return join([area, label if text else None])


def legend(entries: Sequence[tuple[str, str]], *, toggles: bool = True) -> Markup:
    """(style, label) of each series as a line of HTML, which wraps where SVG text would run over."""
    items = []
    for style, label in entries:
        swatch = element(
            "svg",
            element("path", d="M1 5H21", class_=f"line {style}"),
            viewBox="0 0 22 10",
            class_="swatch",
            aria_hidden="true",
        )
        items.append(element("span", swatch, label, class_="key", data_toggle=label if toggles else None))
    return element("div", *items, class_="legend")
