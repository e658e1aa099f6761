"""The part of the HTML report that a replay adds: what was replayed, how faithfully, and how its minutes fared."""

from loadgen.report import plots
from loadgen.report.curves import tick_label
from loadgen.report.markup import Markup, element
from loadgen.report.reading import Point, at, mapping, number, say, sequence, words
from loadgen.units import format_number

MINUTES_MIN = 3  # of fewer there is no course to look at
TTFTS = (("p99_ttft_ms", "p99"), ("p50_ttft_ms", "p50"))


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
    sessions, speed = number(told, "sessions"), number(told, "speed") or 1.0
    rows = [
        ("trace", f"{words(told, 'trace')} ({words(told, 'format')})"),
        ("sent of it", f"{say(number(told, 'sent'))} of {say(number(told, 'requests'))} requests"),
        ("pace", "as recorded" if speed == 1 else f"{speed:g} times as fast, think times too"),
        ("sessions", f"{say(sessions)}, replayed {words(told, 'mode')}" if sessions else "none recorded"),
        ("lateness", lateness),
        (
            "faithful",
            "yes" if at(told, "faithful") is True else f"no: {'; '.join(map(words, sequence(told, 'faults')))}",
        ),
        *_hit_rate(told),
        ("treated", "; ".join(treated) or "nothing left out or changed"),
    ]
    facts = element(
        "table",
        element(
            "tbody", *(element("tr", element("th", name, scope="row"), element("td", text)) for name, text in rows)
        ),
        class_="facts",
    )
    minutes = [mapping(each) for each in sequence(told, "minutes")]
    if len(minutes) < MINUTES_MIN:  # one chart alone would be drawn as wide as two
        return [element("div", facts, element("div", _by_lateness(told), class_="charts"), class_="side")]
    return [facts, element("div", _by_lateness(told), _by_minute(minutes), class_="charts"), _worst(told)]


def _hit_rate(told: dict[str, object]) -> list[tuple[str, str]]:
    """The row about shared prefixes; none where the trace tells nothing of them."""
    ideal, observed = number(told, "hit_rate_ideal"), number(told, "hit_rate_observed")
    if ideal is None:
        return []
    seen = "the server does not say its own" if observed is None else f"the server's own count {say(observed, 'share')}"
    return [("prefix hit rate", f"{say(ideal, 'share')} at best, {seen}")]


def _by_lateness(told: dict[str, object]) -> Markup | None:
    """How many requests were how late, from the least late on; what is beyond the promise is shaded. Nothing where no
    request was sent."""
    found = mapping(told, "lateness")
    counts = [number(each) or 0.0 for each in sequence(found, "requests")]
    steps = [number(each) for each in sequence(found, "upto_ms")]
    promised = number(found, "promised_ms")
    if not any(counts) or promised is None:
        return None
    filled = [k for k, count in enumerate(counts) if count]
    first, last = min(filled[0], steps.index(promised)), max(filled[-1], steps.index(promised) + 1)
    edges = [(steps[0] or 1.0) / 2.5, *(10 * (steps[-2] or 1.0) if step is None else step for step in steps)]
    edges, drawn = edges[first : last + 2], counts[first : last + 1]
    frame = plots.make_frame(
        lambda start, end: plots.log_scale(edges, start, end),
        lambda start, end: plots.linear_scale(counts, start, end, count=4),
        x_label=tick_label("ms"),
    )
    late = sum(count for count, step in zip(counts, steps, strict=True) if step is None or step > promised)
    label = f"later than {promised:g} ms: {format_number(late)}"
    layers = [plots.upright(frame, promised, edges[-1], label, "edge"), plots.bars(frame, edges, drawn, "s0")]
    title = "Lateness of every request"
    svg = plots.chart(frame, layers, name=title, x_title="issued so much after it could go", y_title="requests")
    return element("figure", element("figcaption", element("h4", title)), svg, class_="chart")


def _by_minute(minutes: list[dict[str, object]]) -> Markup:
    """TTFT over the trace's time, each percentile of what was due in that minute."""
    starts = [(number(each, "start_s") or 0.0) / 60 for each in minutes]
    edges = [*starts, 2 * starts[-1] - starts[-2]]
    drawn = [(label, [number(each, key) for each in minutes]) for key, label in TTFTS]
    frame = plots.make_frame(
        lambda start, end: plots.linear_scale([edges[0], edges[-1]], start, end, count=7, tight=True),
        lambda start, end: plots.linear_scale([each for _, values in drawn for each in values], start, end, count=4),
        y_label=tick_label("ms"),
    )
    layers = [plots.step(frame, edges, values, f"thin s{k}", label) for k, (label, values) in enumerate(drawn)]
    legend = plots.legend([(f"s{k}", label) for k, (label, _) in enumerate(drawn)])
    title = "TTFT by minute"
    svg = plots.chart(frame, layers, name=title, x_title="time since the start, min", y_title="time")
    return element("figure", element("figcaption", element("h4", title), legend), svg, class_="chart")


def _worst(told: dict[str, object]) -> Markup:
    heads = ("from", "due", "sent", "completed", "TTFT p50", "TTFT p99", "E2EL p99")
    rows = [
        element(
            "tr",
            element("th", f"{(number(each, 'start_s') or 0.0) / 60:g} min", scope="row"),
            *(element("td", say(number(each, key))) for key in ("due", "sent", "completed")),
            *(element("td", say(number(each, key), "ms")) for key in ("p50_ttft_ms", "p99_ttft_ms", "p99_e2el_ms")),
        )
        for each in sequence(told, "worst")
    ]
    return element(
        "table",
        element("caption", "The worst minutes"),
        element("thead", element("tr", *(element("th", head, scope="col") for head in heads))),
        element("tbody", *rows),
        class_="figures",
    )
