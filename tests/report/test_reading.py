"""Reading a summary: what is missing is missing, never an error; what is said is said the same way everywhere."""

import math
from typing import Any

import pytest

from loadgen.report.curves import curve_charts
from loadgen.report.demo import canned_sweep
from loadgen.report.reading import (
    estimate,
    group_findings,
    interval,
    metric,
    names_of,
    number,
    numbers,
    percent_of_confidence,
    point_name,
    saturation_of,
    say,
    say_range,
    target_line,
    words,
)
from loadgen.report.tables import badge
from loadgen.report.text import verdict_text


@pytest.mark.parametrize("odd", [None, True, "8", math.nan, math.inf, [], {}])
def test_what_is_not_a_finite_number_is_none(odd: object) -> None:
    assert number({"a": {"b": odd}}, "a", "b") is None


def test_a_path_through_nothing_ends_in_nothing() -> None:
    assert number({"a": None}, "a", "b", "c") is None
    assert number("text", "a") is None
    assert words(None, "a") == ""
    assert numbers({"t": [None, None]}, "t") == []
    assert numbers({"t": [1, None, 2.5]}, "t") == [1.0, None, 2.5]


def test_words_are_one_harmless_line() -> None:
    assert words({"a": "x\x1b[31mred\nline\t"}, "a") == "x [31mred line"


def test_the_median_stands_in_for_p50() -> None:
    assert metric({"median_ttft_ms": 3.0}, "p50_ttft_ms") == 3.0
    assert metric({"median_ttft_ms": 3.0, "p50_ttft_ms": 4.0}, "p50_ttft_ms") == 4.0
    assert metric({"median_ttft_ms": 3.0}, "p99_ttft_ms") is None


def test_an_interval_has_two_ends_or_is_none() -> None:
    assert interval({"confidence": {"a": [1, 2]}}, "a") == (1, 2)
    for broken in ([1], [1, None], None, "12"):
        assert interval({"confidence": {"a": broken}}, "a") is None


def test_an_estimate_may_be_bare() -> None:
    assert estimate(4.5) == (4.5, None, None)
    assert estimate({"value": 1, "low": 0.5}) == (1, 0.5, None)
    assert estimate(None) == (None, None, None)


@pytest.mark.parametrize(
    ("point", "name"),
    [
        ({"request_rate": 8.0}, "8 req/s"),
        ({"request_rate": 22.625, "dataset": "s2l"}, "s2l 22.6 req/s"),
        ({"request_rate": "inf"}, "all at once"),
        ({"request_rate": math.inf}, "all at once"),
        ({"request_rate": None, "max_concurrency": 32}, "32 in flight"),
        ({"batch_size": 4}, "batch of 4"),
        ({}, "closed loop"),
    ],
)
def test_a_point_is_named_by_what_sets_it_apart(point: dict[str, Any], name: str) -> None:
    assert point_name(point) == name


def test_shared_units_and_datasets_are_said_once() -> None:
    rates = [{"request_rate": rate} for rate in (1, 2, 4)]
    assert names_of(rates) == "1, 2, 4 req/s"
    assert names_of([*rates[:2], {"request_rate": "inf"}]) == "1 req/s, 2 req/s, all at once"
    assert (
        names_of([point | {"dataset": d} for d in ("s2s", "s2l") for point in rates[:2]])
        == "s2s 1, 2 req/s; s2l 1, 2 req/s"
    )


def test_values_are_said_with_their_unit() -> None:
    assert say(None, "ms") == "—"
    assert say(0, "ms") == "0 ms"
    assert say(1240, "ms") == "1.24 s"
    assert say(0.714, "share") == "71.4 %"
    assert say_range(21.9, 23.4, "req/s") == "21.9 to 23.4 req/s"
    assert say_range(980, 1240, "ms") == "980 ms to 1.24 s"
    assert percent_of_confidence({"confidence": {"level": 0.9}}) == "90 %"


def test_saturated_is_past_the_interval_or_said_by_a_finding() -> None:
    summary = {"saturation": {"max_stable_rate": {"value": 20, "low": 19, "high": 21}}}
    assert saturation_of({"request_rate": 20.5}, summary) == ""
    assert saturation_of({"request_rate": 21.5}, summary) == "saturated"
    assert saturation_of({"findings": [{"code": "SATURATED"}]}, None) == "saturated"
    assert saturation_of({}, {"saturation": None}) == ""


def test_what_may_be_saturated_is_not_called_saturated() -> None:
    """Of the H200's records: 92 requests, 16 more waiting at the end than at the beginning."""
    maybe = [{"code": "MAYBE_SATURATED"}, {"code": "FEW_SAMPLES"}]
    point = {"request_rate": 2, "verdict": "TOO_FEW_SAMPLES", "findings": maybe, "median_ttft_ms": 31.7}
    assert saturation_of(point, None) == "maybe saturated"
    assert verdict_text(point, None) == "too few samples, maybe saturated"
    assert ">maybe saturated<" in badge(point, None)
    assert "saturated" not in badge(point | {"findings": []}, None)
    drawn = curve_charts({"points": [point, point | {"request_rate": 4, "findings": []}]})
    assert drawn.count("saturated") == drawn.count("maybe saturated") > 0
    assert saturation_of(point, {"saturation": {"max_stable_rate": {"high": 1.5}}}) == "saturated"


def test_a_finding_of_several_points_is_said_once_with_its_points() -> None:
    grouped = group_findings(canned_sweep()["points"])
    assert [(finding["code"], where) for finding, where in grouped] == [
        ("TIMEOUTS", "at 64 req/s"),
        ("SATURATED", "at 32, 64 req/s"),
        ("FEW_SAMPLES_FOR_P99", "at 1, 2, 4 req/s"),
    ]
    assert grouped[1][0]["seen"].startswith("Of 64 requests/s")  # in the words of the highest load


def test_a_finding_of_a_search_is_told_of_its_highest_load() -> None:
    """Whose points stand in the order of its probes."""
    points = [
        {"request_rate": rate, "effective_concurrency": load, "findings": [{"code": "A", "seen": f"{load} running"}]}
        for rate, load in ((4, 9.0), (56, 462.0), (22, 123.0))
    ]
    assert group_findings(points)[0][0]["seen"] == "462.0 running"


def test_a_finding_of_every_point_needs_no_list() -> None:
    finding = {"code": "A", "severity": "info"}
    assert group_findings([{"findings": [finding]}, {"findings": [finding]}]) == [(finding, "at every point")]
    assert group_findings([{"findings": [finding, None]}]) == [(finding, "")]


def test_a_target_is_one_line() -> None:
    assert target_line({"target": {"base_url": "http://h", "model": None, "engine": "vllm"}}) == "vllm · http://h"
    assert target_line({}) == ""
