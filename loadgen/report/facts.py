"""Tables of single facts about a point: what our own machine did, the SLO clause by clause, whatever else is known.

A row whose value is missing is left out, so that an engine without metrics gives a shorter page, not a page of dashes.
"""

from collections.abc import Sequence

from loadgen.report.markup import Markup, element
from loadgen.report.reading import Point, mapping, number, say, sequence, words

# What our own machine did, and what each figure says about the measurement.
CLIENT = (
    ("lag_p50_ms", "Lag, median", "ms", "how late we typically sent; it is part of every latency"),
    ("lag_p99_ms", "Lag, p99", "ms", "should stay below 5 ms and far below the TTFT"),
    ("lag_max_ms", "Lag, worst", "ms", "should stay below 50 ms"),
    ("pauses", "Pauses", "", "moments in which the operating system let this program wait"),
    ("cpu_fraction", "CPU, mean", "share", "of one core"),
    ("cpu_fraction_max", "CPU, busiest stretch", "share", "above 85 % this client is too busy to be believed"),
    ("stamp_source", "Time stamps from", "", "kernel: taken when the bytes arrived, however busy this program was"),
    (
        "read_delay_p99_ms",
        "Read delay, p99",
        "ms",
        "from arrival in the kernel to our reading; kernel stamps exclude it",
    ),
    (
        "shared_stamp_share",
        "Events sharing a stamp",
        "share",
        "arrived in one read, so gaps between them are not known",
    ),
    ("loop_lag_p99_ms", "Event loop delay, p99", "ms", "how late this program's own timers fired"),
    ("gc_pause_max_ms", "Longest memory clean-up", "ms", "a pause of this program"),
    ("retries", "Retries", "", "on a fresh connection, before any byte of an answer"),
    ("connections", "Connections", "", "opened during the run"),
    ("gap_cv", "Spread of the gaps, sent", "", "coefficient of variation; 1 for Poisson arrivals"),
    ("planned_gap_cv", "Spread of the gaps, planned", "", "what the schedule asked for"),
    ("dispersion", "Dispersion of counts, sent", "", "variance over mean in windows of that length; 1 for Poisson"),
    ("planned_dispersion", "Dispersion of counts, planned", "", "what the schedule asked for"),
)

# The unit of a figure by how its key ends, the longer ending first.
_UNITS = (
    ("_ms", "ms"),
    ("_s", "s"),
    ("duration", "s"),
    ("share", "share"),
    ("fraction", "share"),
    ("attainment", "share"),
    ("kv_cache_max", "share"),
    ("mfu", "share"),
    ("mbu", "share"),
    ("_rate", "req/s"),
    ("request_throughput", "req/s"),
    ("request_goodput", "req/s"),
    ("throughput", "tok/s"),
)
_ACRONYMS = frozenset({"kv", "mfu", "mbu", "slo", "ttft", "tpot", "itl", "icl", "e2el", "cpu", "http"})


def client_facts(point: Point) -> Markup:
    rows = [
        (label, value_text(mapping(point, "client").get(key), unit), note)
        for key, label, unit, note in CLIENT
        if value_text(mapping(point, "client").get(key), unit)
    ]
    return fact_table(rows)


def plain_facts(values: dict[str, object]) -> Markup:
    """A table of whatever is there, its labels and units read off the keys."""
    rows = []
    for key, value in values.items():
        unit = next((unit for ending, unit in _UNITS if key.endswith(ending)), "")
        parts = key.removesuffix("_ms").removesuffix("_s").split("_")
        label = " ".join(part.upper() if part in _ACRONYMS else part for part in parts)
        rows.append((label, value_text(value, unit), ""))
    return fact_table([row for row in rows if row[1]])


def slo_facts(point: Point) -> Markup:
    """Whether the SLO was met, clause by clause."""
    rows = []
    for clause in sequence(point, "slo", "clauses"):
        if isinstance(clause, dict):
            met, value = clause.get("met"), number(clause, "value_ms")
            seen = say(number(clause, "attainment"), "share") if value is None else say(value, "ms")
            sign = "✓" if met is True else "✕" if met is False else ""
            rows.append((words(clause, "text"), f"{seen} {sign}".strip(), ""))
    share = number(point, "slo", "attainment")
    if share is not None:
        rows.append(("requests within every limit", say(share, "share"), ""))
    return fact_table(rows)


def value_text(value: object, unit: str) -> str:
    """One value in words, also a short list or mapping; "" for what is missing."""
    if isinstance(value, dict):
        parts = [(words(key), value_text(each, unit)) for key, each in value.items()]
        return ", ".join(f"{key}: {text}" for key, text in parts if text)
    if isinstance(value, bool):
        return "yes" if value else "no"
    figure = number(value)
    if figure is not None:
        return say(figure, unit)
    if isinstance(value, list):
        return "; ".join(text for each in value[:12] if (text := value_text(each, unit)))
    return "" if isinstance(value, float) else words(value)


def fact_table(rows: Sequence[tuple[str, str, str]]) -> Markup:
    """(label, value, explanation) a row; empty without rows."""
    if not rows:
        return Markup()
    wide = any(note for _, _, note in rows)
    lines = [
        element(
            "tr",
            element("th", label, scope="row"),
            element("td", text),
            element("td", note, class_="note") if wide else None,
        )
        for label, text, note in rows
    ]
    return element("table", element("tbody", *lines), class_="facts")
