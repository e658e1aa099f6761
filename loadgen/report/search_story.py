"""How a search found its answer, told: the method in plain words and the table of every decision, for a reader who has
never heard of queues and wants to check it. It decides nothing: verdicts and intervals stand in the summary.
"""

from typing import Any

from loadgen.report.markup import Markup, element
from loadgen.report.reading import NOT_KNOWN, at, estimate, mapping, number, points_of, say, say_range, sequence, words
from loadgen.units import format_number

_RATE = "req/s"
STEPS = {
    "Climb.": "First a fixed number of requests is kept in flight, each answer at once followed by the next request: "
    "1, 2, 4 … The server cannot be overloaded this way, so this is safe, and where completions stop growing is a "
    "first estimate of what it can do.",
    "Overload.": "Then requests arrive at a rate of their own, as users do, a good deal faster than that. The server "
    "is never idle now, so what it completes is its capacity, measured and not guessed.",
    "Check below.": "At rates below it the server must keep up. It does when, as surely as the statistics allow, less "
    "than 5 % of what arrives is left behind; where that is not sure yet, the probe runs on.",
    "Hold.": "At last a longer run just below the answer, which must hold.",
}
LITTLE = (
    "A check that needs no trust in us: whatever a server does inside, the requests in it are those that arrive per "
    "second times the seconds that each one stays (Little's law: 10 a second that stay 2 s are 20 at a time). The "
    "column “law” is the first over the second, both measured apart; near 1 the probe was steady."
)
TABLE_LEAD = (
    "Every probe in the order in which it was made: why, what would end it, and what it said. In small print the 95 % "
    "confidence interval. “Left behind” is the share of what arrived that was not completed: around 0 the server keeps "
    "up. A verdict is given only when it would be wrong in two of a thousand looks."
)
TONES = {"stable": ("good", "✓"), "unstable": ("warn", "▲"), "met": ("good", "✓"), "missed": ("warn", "✕")}


def is_search(summary: Any) -> bool:
    return words(summary, "kind") == "saturate"


def steps() -> Markup:
    """The method in words."""
    items = [element("li", element("b", title), " ", text) for title, text in STEPS.items()]
    return element("ol", *items, class_="steps")


def probe_table(summary: Any) -> Markup:
    """A row a probe: every decision with its criterion, interval, samples and verdict."""
    figures = ("time", "requests", "completed", "left behind", "latency", "in flight", "law")
    slo = any(words(p, "slo_verdict") for p in sequence(summary, "probes"))
    names = {words(point, "run"): k for k, point in enumerate(points_of(summary), 1)}
    titles = ["#", "probe", "why, and when it ends", *figures, "verdict", *(["SLO"] if slo else [])]
    units = {"time": "s", "completed": _RATE, "left behind": "%"}
    head = element(
        "tr",
        *(
            element("th", t, element("small", units[t]) if t in units else None, scope="col", class_=_left(t))
            for t in titles
        ),
    )
    rows = [element("tr", *_cells(p, slo, names)) for p in sequence(summary, "probes")]
    table = element(
        "table", element("thead", head), element("tbody", *rows), class_="figures probes", id="probes-table"
    )
    return element("div", table, class_="scroll") if rows else Markup()


def _left(title: str) -> str | None:
    return "words" if title in ("probe", "why, and when it ends", "verdict", "SLO") else None


def _cells(probe: Any, slo: bool, names: dict[str, int]) -> list[Markup]:
    closed = words(probe, "loop") == "closed"
    name = f"{format_number(number(probe, 'level') or 0.0)} {'in flight' if closed else _RATE}"
    place = names.get(words(probe, "run"))
    end = number(probe, "window", "end_s")
    cells = [
        element("td", words(probe, "number")),
        element("td", element("a", name, href=f"#point-{place}") if place else name, class_="words"),
        element("td", words(probe, "why"), element("small", words(probe, "criterion")), class_="words"),
        element("td", say(end)),
        element("td", say(number(probe, "requests"))),
        _interval_cell(mapping(probe, "throughput")),
        _interval_cell(mapping(probe, "deficit"), 100.0),
        _latency_cell(mapping(probe, "latency_s")),
        element("td", say(number(probe, "in_flight"))),
        element("td", say(number(probe, "littles_law"))),
        element("td", *_verdict(probe), class_="words"),
    ]
    if slo:
        clauses = "; ".join(_clause(each) for each in sequence(probe, "slo"))
        cells.append(element("td", _badge(words(probe, "slo_verdict")), element("small", clauses), class_="words"))
    return cells


def _clause(clause: Any) -> str:
    share = number(clause, "share")
    within = "" if share is None else f" {format_number(100 * share)} % within"
    return f"{words(clause, 'text')}:{within} {words(clause, 'verdict')}"


def _interval_cell(value: dict[str, Any], factor: float = 1.0) -> Markup:
    middle, low, high = (None if each is None else factor * each for each in estimate(value))
    if middle is None:
        return element("td", NOT_KNOWN)
    small = None if low is None or high is None else element("small", f"{format_number(low)}–{format_number(high)}")
    return element("td", format_number(middle), small)


def _latency_cell(value: dict[str, Any]) -> Markup:
    middle, low, high = (None if each is None else 1000 * each for each in estimate(value))
    small = None if low is None or high is None else element("small", say_range(low, high, "ms"))
    return element("td", say(middle, "ms"), small)


def _verdict(probe: Any) -> list[Markup | str]:
    if words(probe, "problem"):
        return [element("span", "does not count", class_="badge bad"), element("small", words(probe, "problem"))]
    if not at(probe, "counts"):
        return [element("span", "too little seen", class_="badge warn")]
    return [_badge(words(probe, "verdict"))]


def _badge(verdict: str) -> Markup:
    tone, sign = TONES.get(verdict, ("", "…"))
    return element("span", f"{sign} {verdict}", class_=f"badge {tone}") if verdict else Markup()


def notes(summary: Any) -> Markup:
    """What the search had to say on its way."""
    said = [element("li", words(each)) for each in sequence(summary, "notes")]
    return element("ul", *said, class_="verdicts") if said else Markup()
