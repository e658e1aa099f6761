"""The part of the HTML report that a replay adds: what was replayed, how faithfully, and its worst minutes."""

from loadgen.report.markup import Markup, element
from loadgen.report.reading import NOT_KNOWN, Point, at, mapping, number, say, sequence, words
from loadgen.units import format_number


def replay_tables(point: Point) -> list[Markup]:
    """Nothing for a point that is no replay."""
    told = mapping(point, "replay")
    if not told:
        return []
    treated = [f"{format_number(count)} rows: {what}" for what, count in mapping(told, "rows_treated").items()]
    treated += [words(each) for each in sequence(told, "done_to_it")]
    lateness = ", ".join(
        f"{name} {say(number(told, f'late_{key}_ms'), 'ms')}"
        for name, key in (("p50", "p50"), ("p99", "p99"), ("max", "max"))
    )
    rows = [
        ("trace", f"{words(told, 'trace')} ({words(told, 'format')})"),
        ("sent of it", f"{say(number(told, 'sent'))} of {say(number(told, 'requests'))} requests"),
        ("sessions", f"{say(number(told, 'sessions'))}, replayed {words(told, 'mode')}"),
        ("lateness", lateness),
        (
            "faithful",
            "yes" if at(told, "faithful") is True else f"no: {'; '.join(map(words, sequence(told, 'faults')))}",
        ),
        ("prefix hit rate", f"{_percent(told, 'hit_rate_observed')} of an ideal {_percent(told, 'hit_rate_ideal')}"),
        ("treated", "; ".join(treated) or "nothing left out or changed"),
    ]
    facts = element(
        "table",
        element(
            "tbody", *(element("tr", element("th", name, scope="row"), element("td", text)) for name, text in rows)
        ),
        class_="facts",
    )
    heads = ("from", "due", "sent", "completed", "TTFT p50", "TTFT p99", "E2EL p99")
    worst = [
        element(
            "tr",
            element("th", f"{say(number(each, 'start_s'))} s", scope="row"),
            *(element("td", say(number(each, key))) for key in ("due", "sent", "completed")),
            *(element("td", say(number(each, key), "ms")) for key in ("p50_ttft_ms", "p99_ttft_ms", "p99_e2el_ms")),
        )
        for each in sequence(told, "worst")
    ]
    table = element(
        "table",
        element("caption", "The worst minutes"),
        element("thead", element("tr", *(element("th", head, scope="col") for head in heads))),
        element("tbody", *worst),
        class_="figures",
    )
    return [facts, table] if worst else [facts]


def _percent(told: dict[str, object], key: str) -> str:
    value = number(told, key)
    return NOT_KNOWN if value is None else say(value, "share")
