"""Durations, counts and numbers: text to integers and back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import BadInputError
from loadgen.units import format_duration, format_number, ns_to_ms, ns_to_s, parse_count, parse_duration_ns, s_to_ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("500ms", 500_000_000),
        ("30s", 30_000_000_000),
        ("2m", 120_000_000_000),
        ("2min", 120_000_000_000),
        ("1h", 3_600_000_000_000),
        ("1.5", 1_500_000_000),
        (" 10 us ", 10_000),
        ("10µs", 10_000),
        ("7ns", 7),
        (".5S", 500_000_000),
        ("1e3s", 1_000_000_000_000),
        ("10m20s", 620_000_000_000),
        ("58 m 22 s", 3_502_000_000_000),
        ("0", 0),
    ],
)
def test_durations(text, ns):
    assert parse_duration_ns(text) == ns


@pytest.mark.parametrize(
    "text", ["", "s", "abc", "-1s", "5 parsecs", "1s2", "nan", "inf", "1..2", "5d", "10m20", "20s10m", "1s1s"]
)
def test_bad_durations(text):
    with pytest.raises(BadInputError, match="duration") as raised:
        parse_duration_ns(text)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("text", "count"), [("300", 300), ("8k", 8000), ("1.5M", 1_500_000), ("2g", 2 * 10**9), ("0.5k", 500)]
)
def test_counts(text, count):
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "1.5", "1.2345k", "k", "-3", "8kk", "abc", "nan"])
def test_bad_counts(text):
    with pytest.raises(BadInputError, match="whole number") as raised:
        parse_count(text)
    assert raised.value.hint


@given(st.integers(0, 10**15))
def test_a_whole_number_of_ns_survives_text(ns):
    assert parse_duration_ns(f"{ns}ns") == ns


@given(st.integers(0, 2**52))
def test_conversions(ns):
    assert s_to_ns(ns_to_s(ns)) == pytest.approx(ns, abs=1)
    assert ns_to_ms(ns) == pytest.approx(1000 * ns_to_s(ns))


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (12, "12 ns"),
        (1500, "1.5 µs"),
        (20_100_000, "20.1 ms"),
        (1_240_000_000, "1.24 s"),
        (125_000_000_000, "2 m 05 s"),
        (math.nan, "—"),
    ],
)
def test_durations_for_people(ns, text):
    assert format_duration(ns) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (22.64, "22.6"),
        (0.0412, "0.0412"),
        (25_600, "25,600"),
        (0, "0"),
        (9.999, "10"),
        (-5.678, "-5.68"),
        (-9.25e-18, "0"),
        (math.inf, "—"),
    ],
)
def test_numbers_for_people(value, text):
    assert format_number(value) == text


@given(st.floats(1e-3, 1e9))
def test_three_digits_are_kept(value):
    assert float(format_number(value).replace(",", "")) == pytest.approx(value, rel=0.0051)
