"""The HTML report: one file, nothing unescaped, nothing missing when a value is missing, the answer first."""

import copy
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.report.demo import canned_point, canned_run, canned_sweep
from loadgen.report.html import render_html

TAGS = set(
    """html head meta title style body header main footer section h1 h2 h3 h4 p b i small strong span div ul li a code
    pre table thead tbody tr th td details summary dl dt dd button figure figcaption svg g path rect circle text
    script""".split()  # noqa: SIM905
)
VOID = {"meta", "path", "rect", "circle"}


class Page(HTMLParser):
    """The tree of a page, flat: every element with its attributes and the text inside it. Fails on a wrong nesting."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self._open.append(self.elements[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, _, text in self._open:
            text.append(data)

    def texts(self, tag: str, **attributes: str) -> list[str]:
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        return ["".join(text) for name, own, text in self.elements if name == tag and wanted.items() <= own.items()]


@pytest.fixture(scope="module")
def sweep() -> dict[str, Any]:
    return canned_sweep()


@pytest.fixture(scope="module")
def page(sweep: dict[str, Any]) -> Page:
    return Page(render_html(sweep))


def small_sweep() -> dict[str, Any]:
    """Two points that render in a few ms: their timelines and quantiles are thinned."""
    summary = canned_sweep(rates=(1.0, 64.0))
    for point in summary["points"]:
        thin(point)
    return summary


def thin(point: dict[str, Any]) -> dict[str, Any]:
    for key, values in point["timeline"].items():
        if isinstance(values, list):
            point["timeline"][key] = values[::24]
    point["timeline"]["bin_s"] *= 24
    for key, values in point["quantiles"].items():
        point["quantiles"][key] = values[::20]
    return point


def test_the_answer_is_the_headline_and_comes_first(page: Page, sweep: dict[str, Any]) -> None:
    assert page.texts("h1") == [sweep["answer"]]
    assert next(name for name, _, _ in page.elements if name in ("h1", "h2")) == "h1"


def test_it_is_one_file_that_asks_for_nothing(sweep: dict[str, Any], page: Page) -> None:
    html = render_html(sweep)
    assert len(html.encode()) < 500_000
    assert {name for name, _, _ in page.elements} <= TAGS
    for _, attributes, _ in page.elements:
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    style = page.texts("style")[0]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(own["content"] for name, own, _ in page.elements if name == "meta" and own.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_the_sections_come_in_the_order_a_reader_asks(page: Page) -> None:
    sections = [own["id"] for name, own, _ in page.elements if name == "section"]
    assert sections == ["answer", "curves", "distributions", "findings", "points", "tables", "words", "settings"]


def test_every_curve_is_there_with_units_and_the_saturation_interval(page: Page) -> None:
    charts = [own["aria-label"] for name, own, _ in page.elements if name == "svg" and own.get("role") == "img"]
    for title in ("TTFT", "TPOT", "ITL", "E2EL", "Output throughput", "Achieved against asked", "Goodput", "KV cache"):
        assert f"{title} against request rate asked, req/s (log scale)" in charts
    assert page.texts("text", class_="upright-label saturation") == ["saturates at 22.6 req/s"] * 9


def test_a_dot_of_a_curve_tells_its_figure_and_its_interval(sweep: dict[str, Any], page: Page) -> None:
    tips = [own["data-tip"] for _, own, _ in page.elements if "data-tip" in own]
    tip = next(tip for tip in tips if tip and tip.startswith("64 req/s\np99"))
    assert re.fullmatch(r"64 req/s\np99 56\.\d s\n95 % CI 56\.\d to 57\.\d s\nserver errors\nsaturated", tip)


def test_a_limit_of_the_slo_is_drawn_where_it_limits(page: Page) -> None:
    limits = [own.get("data-series") for _, own, _ in page.elements if "limit" in (own.get("class") or "").split()]
    assert [limit for limit in limits if limit] == ["SLO p99 ≤ 500 ms", "SLO p99 ≤ 50 ms"]
    assert "ttft_p99=500ms" in page.texts("details")[6]
    assert "56.9 s ✕" in page.texts("details")[6]


def test_no_saturation_is_drawn_where_there_was_none() -> None:
    summary = small_sweep()
    summary["saturation"]["max_stable_rate"] = {"value": 64.0, "low": 64.0, "high": None, "saturated": None}
    page = Page(render_html(summary))
    assert page.texts("text", class_="upright-label saturation") == []
    assert page.texts("div", class_="tile")[0].startswith("Highest stable rate≥ 64 req/s")


def test_each_point_has_its_verdict_its_course_and_its_client(page: Page) -> None:
    points = page.texts("details")
    assert len(points) == 8  # seven points and the table of every figure
    assert "server errors" in points[6]
    assert "saturated" in points[6]
    for point in points[:7]:
        assert "Due and done" in point
        assert "Is the measurement to be trusted?" in point
        assert "Lag, p99" in point
        assert "input asked mean" in point
    assert "Failed" in points[6]
    assert "Failed" not in points[0]


def test_every_term_is_explained_in_one_line(page: Page) -> None:
    terms = page.texts("dt")
    assert {"TTFT", "TPOT", "ITL", "E2EL", "Goodput"} <= set(terms)
    assert all(0 < len(meaning) < 130 for meaning in page.texts("dd"))


def test_the_table_copies_unrounded_values(sweep: dict[str, Any], page: Page) -> None:
    values = {own["data-v"] for name, own, _ in page.elements if name == "td" and "data-v" in own}
    for point in sweep["points"]:
        assert repr(point["p99_ttft_ms"]) in values
        assert repr(point["output_throughput"]) in values
        assert str(point["failed"]) in values


def test_an_indicative_percentile_is_marked(page: Page) -> None:
    assert any(text.startswith("~") for text in page.texts("td"))


def test_settings_command_and_version_are_there(page: Page, sweep: dict[str, Any]) -> None:
    assert page.texts("pre") == [sweep["command"]]
    assert "loadgen 0.1.0" in page.texts("footer")[0]
    assert "--burstiness" in page.texts("code")


def test_a_run_has_no_curves_and_is_seen_from_close_up() -> None:
    page = Page(render_html(canned_run()))
    sections = [own["id"] for name, own, _ in page.elements if name == "section"]
    assert sections == ["answer", "point-1", "tables", "words", "settings"]
    assert page.texts("div", class_="tile")[0].startswith("Achieved")


def test_a_sweep_over_all_datasets_has_a_curve_for_each() -> None:
    summary = small_sweep()
    twice = [copy.deepcopy(point) | {"dataset": name} for name in ("s2s", "l2s") for point in summary["points"]]
    page = Page(render_html(summary | {"points": twice, "dataset": "all"}))
    ttft = next(
        i for i, (name, own, _) in enumerate(page.elements) if name == "svg" and "TTFT" in (own.get("aria-label") or "")
    )
    end = next(i for i in range(ttft + 1, len(page.elements)) if page.elements[i][0] == "figure")
    series = {own["data-series"] for _, own, _ in page.elements[ttft:end] if "data-series" in own}
    assert series == {"s2s", "l2s", "SLO p99 ≤ 500 ms"}


def test_a_closed_loop_sweep_is_drawn_over_its_concurrency() -> None:
    points = [
        thin(canned_point(rate)) | {"request_rate": None, "max_concurrency": cap} for rate, cap in ((1.0, 4), (2.0, 8))
    ]
    html = render_html({"kind": "sweep", "points": points})
    assert "requests in flight, at most" in html
    assert "Against the load" in html


def test_an_interrupted_sweep_says_so() -> None:
    assert "Interrupted" in render_html(small_sweep() | {"cut": True})


def test_dark_mode_is_of_the_screen_only_and_colours_are_variables() -> None:
    style = Page(render_html({})).texts("style")[0]
    assert "@media screen and (prefers-color-scheme: dark)" in style
    assert "@media print" in style
    assert not re.search(r"#[0-9a-f]{3,6}\b", style.split("* { box-sizing")[1])


NASTY = st.text(alphabet=st.sampled_from("<>&\"'/=;ab \n\x1b\u202e${}`"), min_size=1, max_size=30) | st.sampled_from(
    ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><b>", "]]>", "<!--", "\ud800"]
)


@settings(max_examples=40, deadline=None)
@given(NASTY, st.data())
def test_no_text_of_a_server_or_user_becomes_markup(text: str, data: st.DataObject) -> None:
    summary = _small()
    point = summary["points"][0]
    point |= {"verdict": text, "dataset": text, "errors": {text: 3}, "findings": [dict.fromkeys(_FINDING, text)]}
    point["client"] |= {"stamp_source": text}
    point["slo"] = {"met": False, "clauses": [{"clause": text}]}
    summary |= {"answer": text, "command": text, "settings": {text: text}, "started": text, "dataset": text}
    summary |= {"target": dict.fromkeys(("model", "engine", "base_url"), text), "tool": {"name": text, "version": text}}
    page = Page(render_html(summary))
    assert {name for name, _, _ in page.elements} <= TAGS
    assert [name for name, _, _ in page.elements].count("script") == 1
    assert not any(key.startswith("on") or key in ("src", "style") for _, own, _ in page.elements for key in own)


_FINDING = ("code", "severity", "seen", "meaning", "try_next")
_SMALL = small_sweep()


def _small() -> dict[str, Any]:
    return copy.deepcopy(_SMALL)


def paths(value: object, before: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a summary, down to the entries of short lists."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield (*before, key)
        if not isinstance(value, list) or key == 0:
            yield from paths(each, (*before, key))


def without(summary: dict[str, Any], path: tuple[str | int, ...], put: str) -> dict[str, Any]:
    """The summary with that place dropped, null, or of a wrong type."""
    broken = copy.deepcopy(summary)
    holder: Any = broken
    for key in path[:-1]:
        holder = holder[key]
    if put == "dropped":
        del holder[path[-1]]
    else:
        holder[path[-1]] = None if put == "null" else "odd"
    return broken


@pytest.mark.parametrize("put", ["dropped", "null", "odd"])
def test_whatever_is_missing_the_report_is_still_made(put: str) -> None:
    summary = _small()
    summary["points"] = summary["points"][:1]
    places = list(paths(summary))
    assert len(places) > 200
    for path in places:
        assert "</html>" in render_html(without(summary, path, put)), path


def test_nothing_at_all_still_gives_a_page() -> None:
    for summary in ({}, {"points": []}, {"points": [{}]}, {"points": None}, {"kind": "run", "points": [{}]}):
        assert Page(render_html(summary)).texts("h1")  # type: ignore[arg-type]


def test_a_summary_read_back_from_json_gives_the_same_page() -> None:
    assert render_html(json.loads(json.dumps(_small()))) == render_html(_small())
