"""The figures that answer the question: an interval is called one, a bracket of tested rates is not."""

from typing import Any

import pytest

from loadgen.report.answers import answers, saturation_column
from loadgen.report.demo import canned_run, canned_sweep


def told(**saturation: Any) -> list[tuple[str, str, str]]:
    return [(each.label, each.value, each.detail) for each in answers({"saturation": saturation}, [])]


def test_a_sweep_is_answered_by_its_saturation() -> None:
    summary = canned_sweep()
    assert [(each.label, each.value, each.detail) for each in answers(summary, summary["points"])] == [
        ("Highest stable rate", "22.6 req/s", "95 % CI 21.9 to 23.4 req/s"),
        ("Highest rate within the SLO", "16 req/s", "held there, missed at 32 req/s"),
        ("Knee", "17.5 req/s", "somewhere in 16 to 32 req/s"),
        ("Peak output throughput", "4,521 tok/s", "95 % CI 4,360 to 4,683 tok/s"),
    ]


@pytest.mark.parametrize(
    ("rate", "value", "detail", "column"),
    [
        (
            {"value": 22.6, "low": 21.9, "high": 23.4},
            "22.6 req/s",
            "95 % CI 21.9 to 23.4 req/s",
            "saturates at 22.6 req/s",
        ),
        (
            {"value": 16, "low": 16, "high": 32, "method": "highest stable rate tested"},
            "16 req/s",
            "stable there, saturated at 32 req/s",
            "saturates between 16 and 32 req/s",
        ),
        ({"value": 64, "low": 64, "high": None}, "≥ 64 req/s", "stable at every rate tested", None),
        ({"value": None, "low": None, "high": 1}, "< 1 req/s", "saturated there already", None),
        ({"value": 20, "low": None, "high": None}, "20 req/s", "", "saturates at 20 req/s"),
        (20, "20 req/s", "", "saturates at 20 req/s"),
    ],
)
def test_the_stable_rate_says_what_its_ends_are(rate: Any, value: str, detail: str, column: str | None) -> None:
    assert told(max_stable_rate=rate) == [("Highest stable rate", value, detail)]
    found = saturation_column({"saturation": {"max_stable_rate": rate}})
    assert (found and found[2]) == column


@pytest.mark.parametrize(
    ("rate", "value", "detail"),
    [
        ({"value": 16, "low": 16, "high": None}, "≥ 16 req/s", "held at every rate tested"),
        ({"value": None, "low": None, "high": 1}, "< 1 req/s", "missed there already"),
        ({"value": 19.8, "low": 18.7, "high": 20.6}, "19.8 req/s", "95 % CI 18.7 to 20.6 req/s"),
    ],
)
def test_the_goodput_rate_says_what_its_ends_are(rate: Any, value: str, detail: str) -> None:
    assert told(max_goodput_rate=rate) == [("Highest rate within the SLO", value, detail)]


def test_nothing_known_is_nothing_said() -> None:
    assert told() == told(max_stable_rate=None, knee_rate={}, peak_output_throughput={"value": None}) == []
    assert saturation_column({}) is None


def test_a_run_is_answered_by_its_own_figures() -> None:
    run = canned_run()
    assert [each.label for each in answers(run, run["points"])] == [
        "Achieved",
        "TTFT p99",
        "TPOT p99",
        "Output throughput",
    ]
    assert answers({}, [{}]) == []
