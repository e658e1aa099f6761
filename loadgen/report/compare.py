"""Several engines on one chart: their curves with intervals, what each of them held, its cap, version and flags.

A cap on the requests that an engine works on at once is shown beside every figure that it bends: beyond it requests
wait in a queue, and latency says how long the queue is, not how fast the engine. Pure: a summary in, a page out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loadgen.report.curves import curve_charts
from loadgen.report.html import page, section
from loadgen.report.markup import Markup, element
from loadgen.report.reading import (
    NOT_KNOWN,
    Point,
    estimate,
    mapping,
    metric,
    number,
    points_of,
    say,
    say_range,
    sequence,
    words,
)
from loadgen.units import format_number


@dataclass(frozen=True, slots=True)
class Row:
    """One engine on one dataset, in the words of the table."""

    label: str
    dataset: str
    cap: float | None
    capped_at: float | None  # the lowest rate at which it worked on as many requests as it may
    holds: str  # the request rate, with its interval
    peak: str  # output tokens/s
    ttft: str
    tpot: str
    reason: str
    error: str = ""


def rows_of(summary: dict[str, Any]) -> list[Row]:
    """A row per engine and dataset, in the order in which they ran."""
    rows = []
    for engine in _engines(summary):
        points = points_of(engine)
        if not points:
            error = words(engine, "error") or "nothing was measured"
            rows.append(Row(words(engine, "label"), "", None, None, "", "", "", "", "", error))
        for dataset in dict.fromkeys(words(point, "dataset") for point in points):
            own = [point for point in points if words(point, "dataset") == dataset]
            rows.append(_row(engine, dataset, own, _shared_rate(summary, dataset)))
    return rows


def _engines(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [engine for engine in sequence(summary, "engines") if isinstance(engine, dict)]


def _row(engine: dict[str, Any], dataset: str, points: Sequence[Point], shared: float | None) -> Row:
    found = mapping(engine, "saturation_by_dataset", dataset) or mapping(engine, "saturation")
    at_shared = next((point for point in points if shared is not None and number(point, _key(point)) == shared), None)
    cap = cap_of(engine, points)
    reached = [number(point, _key(point)) for point in points if cap is not None and _is_full(point, cap)]
    return Row(
        words(engine, "label"),
        dataset,
        cap,
        min((rate for rate in reached if rate is not None), default=None),
        _with_interval(mapping(found, "max_stable_rate"), "req/s"),
        _with_interval(mapping(found, "peak_output_throughput") or _best(points), "tok/s"),
        NOT_KNOWN if at_shared is None else say(metric(at_shared, "p50_ttft_ms"), "ms"),
        NOT_KNOWN if at_shared is None else say(metric(at_shared, "p50_tpot_ms"), "ms"),
        words(found, "reason"),
    )


def cap_of(engine: dict[str, Any], points: Sequence[Point]) -> float | None:
    """How many requests it works on at once: as it says itself, or as it was told."""
    said = [number(point, "server", "cap") for point in points]
    return next((cap for cap in said if cap is not None), number(engine, "target", "max_num_seqs"))


def _is_full(point: Point, cap: float) -> bool:
    """Whether as many requests were in flight as it works on: by its own gauge, or by our count."""
    running = number(point, "server", "running_max")
    in_flight = number(point, "effective_concurrency")
    return (running is not None and running >= cap) or (in_flight is not None and in_flight > cap)


def _key(point: Point) -> str:
    return "batch_size" if number(point, "batch_size") is not None else "request_rate"


def _shared_rate(summary: dict[str, Any], dataset: str) -> float | None:
    """The highest rate that every engine ran and none was past saturation at: where latencies can be compared."""
    shared: set[float] | None = None
    for engine in _engines(summary):
        own = [point for point in points_of(engine) if words(point, "dataset") == dataset]
        good = {number(point, _key(point)) for point in own if words(point, "verdict") in ("VALID", "TOO_FEW_SAMPLES")}
        held = {rate for rate in good if rate is not None}
        if own:
            shared = held if shared is None else shared & held
    return max(shared, default=None) if shared else None


def _best(points: Sequence[Point]) -> dict[str, Any]:
    best = max(points, key=lambda point: metric(point, "output_throughput") or 0.0)
    bounds = sequence(best, "confidence", "output_throughput") or [None, None]
    return {"value": metric(best, "output_throughput"), "low": bounds[0], "high": bounds[1]}


def _with_interval(found: dict[str, Any], unit: str) -> str:
    value, low, high = estimate(found)
    if value is None:
        return NOT_KNOWN
    if low is not None and high is not None:
        return f"{say(value, unit)} ({say_range(low, high)})"
    return f"at least {say(value, unit)}" if low is not None else say(value, unit)


def cap_in_words(row: Row) -> str:
    """`4, reached at 8 req/s`."""
    if row.cap is None:
        return "none known"
    cap = format_number(row.cap)
    return cap if row.capped_at is None else f"{cap}, reached at {format_number(row.capped_at)}"


def sentence_of(summary: dict[str, Any]) -> str:
    """The answer in words: who held most, as far as the intervals tell; and whom a cap held back."""
    rows = [row for row in rows_of(summary) if not row.error]
    parts = []
    for dataset in dict.fromkeys(row.dataset for row in rows):
        own = [row for row in rows if row.dataset == dataset]
        held = "; ".join(f"{row.label} {row.holds if row.holds != NOT_KNOWN else row.peak}" for row in own)
        parts.append(f"{dataset}: {held}.")
    capped = [row.label for row in rows if row.capped_at is not None]
    if capped:
        who = ", ".join(dict.fromkeys(capped))
        parts.append(f"{who} worked on as many requests as it may: beyond that its latency is waiting, not speed.")
    failed = [f"{words(each, 'label')} did not run." for each in _engines(summary) if not points_of(each)]
    return " ".join([*parts, *failed])


def render_side_by_side(summary: dict[str, Any]) -> str:
    """The whole page of a parsed summary; whatever is missing in it is left out."""
    names = ", ".join(words(engine, "label") for engine in _engines(summary))
    started = words(summary, "started").replace("T", " ").replace("Z", " UTC")
    known = [("dataset", words(summary, "dataset")), ("seed", words(summary, "seed")), ("started", started)]
    facts = [element("span", element("b", label), value) for label, value in known if value]
    return page(
        f"loadgen side by side: {names}",
        element(
            "header", element("p", "loadgen side by side", class_="eyebrow"), element("p", *facts, class_="facts-line")
        ),
        element("main", element("section", element("h1", sentence_of(summary)), id="answer"), *_sections(summary)),
    )


def _sections(summary: dict[str, Any]) -> list[Markup | None]:
    datasets = list(dict.fromkeys(row.dataset for row in rows_of(summary) if row.dataset))
    searched = any(words(engine, "kind") == "saturate" for engine in _engines(summary))
    plans = "each at the rates of its own search" if searched else "the same requests at the same times"
    return [
        section(
            "engines",
            "What each of them held",
            f"One after another on the same machine, {plans}. In brackets: 95 % confidence interval. Latency stands "
            "at the highest rate that all of them held. A cap is how many requests an engine "
            "works on at once: a larger one is not a faster engine.",
            _table(summary),
        ),
        *(_curves(summary, dataset) for dataset in datasets),
        section("settings", "Versions and flags", "Each ran by this very command.", _settings(summary)),
    ]


def _table(summary: dict[str, Any]) -> Markup:
    head = ("engine", "dataset", "cap", "holds", "peak output", "TTFT p50", "TPOT p50", "why no more")
    body = []
    for row in rows_of(summary):
        if row.error:
            error = f"did not run: {row.error}"
            cells = [element("th", row.label), element("td", error, colspan=len(head) - 1, class_="words")]
        else:
            told = (row.dataset, cap_in_words(row), row.holds, row.peak, row.ttft, row.tpot, row.reason)
            cells = [element("th", row.label), *(element("td", each, class_="words") for each in told)]
        body.append(element("tr", *cells))
    table = element(
        "table",
        element("thead", element("tr", *(element("th", each, class_="words") for each in head))),
        element("tbody", *body),
        class_="figures",
    )
    return element("div", table, class_="scroll")


def _curves(summary: dict[str, Any], dataset: str) -> Markup | None:
    """Every curve of this dataset, one colour an engine."""
    points = [
        point | {"dataset": words(engine, "label")}
        for engine in _engines(summary)
        for point in points_of(engine)
        if words(point, "dataset") == dataset
    ]
    slo = next((engine["slo"] for engine in _engines(summary) if engine.get("slo")), None)
    lead = "A band or a stroke is a 95 % confidence interval; a hollow dot is less than sure. Hover for figures."
    charts = curve_charts({"kind": "sweep", "points": points, "slo": slo, "colour": "an engine"})
    return section(f"curves-{dataset}", f"Curves: {dataset}", lead, charts)


def _settings(summary: dict[str, Any]) -> Markup:
    items = []
    for engine in _engines(summary):
        target = mapping(engine, "target")
        about = [f"{key} {words(target, key)}" for key in ("version", "torch", "device", "model") if words(target, key)]
        link = element("a", "its own report", href=f"{words(engine, 'folder')}/report.html")
        items.append(
            element(
                "li",
                element("b", words(engine, "label")),
                f": {', '.join(about)}. " if about else ". ",
                link if points_of(engine) else None,
                element("pre", words(target, "command") or words(engine, "asked")),
            )
        )
    return element("ul", *items)
