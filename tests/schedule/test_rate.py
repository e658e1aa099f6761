"""The area under a curve and its inverse, against integration by small steps."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import BadInputError
from loadgen.schedule.rate import Curve, Stretch, flat, parse_curve, ramp, steps
from loadgen.units import NS_PER_S

S = NS_PER_S
RATES = st.floats(0.01, 1000)
SECONDS = st.integers(1, 10_000_000).map(lambda us: us * 1000)
CURVES = st.one_of(
    RATES.map(flat),
    st.builds(ramp, st.one_of(st.just(0.0), RATES), RATES, SECONDS),
    st.lists(st.tuples(st.one_of(st.just(0.0), RATES), SECONDS), max_size=5)
    .flatmap(lambda plateaus: st.tuples(RATES, SECONDS).map(lambda last: [*plateaus, last]))
    .map(steps),
)


@given(CURVES, st.lists(st.floats(0, 1e4), min_size=1, max_size=20))
def test_area_undoes_its_inverse(curve, areas):
    wanted = np.sort(np.array(areas))
    times = curve.time_ns(wanted)
    assert (times >= 0).all()
    assert (np.diff(times) >= -1e-3).all()
    # A time is good to 1e-6 ns or so relative to 10⁹ s; under the highest rate that is this much area.
    np.testing.assert_allclose(curve.area(times), wanted, rtol=1e-9, atol=1e-9)


@given(RATES, st.integers(0, 10**13))
def test_inverse_undoes_area_where_the_rate_is_not_zero(rate, time_ns):
    for curve in (flat(rate), ramp(rate, 2 * rate, 60 * S), ramp(2 * rate, rate, 60 * S)):
        assert float(curve.time_ns(curve.area(time_ns))) == pytest.approx(time_ns, rel=1e-9, abs=1e-3)


@pytest.mark.parametrize(
    ("curve", "knots_s", "rates"),
    [
        (parse_curve("8"), [0, 100], [8, 8]),
        (parse_curve("ramp:1..32/60s"), [0, 60, 100], [1, 32, 32]),
        (ramp(32, 0, 60 * S), [0, 60, 100], [32, 0, 0]),
        (parse_curve("ramp:0..5/10s"), [0, 10, 100], [0, 5, 5]),
        (parse_curve("steps:1@30s,8@30s,64@30s"), [0, 30, 30, 60, 60, 100], [1, 1, 8, 8, 64, 64]),
        (parse_curve("steps:4@10s,0@20s,2@500ms"), [0, 10, 10, 30, 30, 100], [4, 4, 0, 0, 2, 2]),
    ],
)
def test_area_is_the_integral(curve, knots_s, rates):
    """Midpoint sums over 1 ms steps: exact for straight lines whose knots lie on the steps."""
    rate_at = np.zeros(100_000)
    middles = (np.arange(100_000) + 0.5) / 1000
    for i in range(len(knots_s) - 1):
        inside = (middles >= knots_s[i]) & (middles < knots_s[i + 1])
        rate_at[inside] = np.interp(middles[inside], knots_s[i : i + 2], rates[i : i + 2])
    integral = np.concatenate([[0], np.cumsum(rate_at) / 1000])
    np.testing.assert_allclose(curve.area(np.arange(100_001) * 1_000_000), integral, rtol=1e-9, atol=1e-9)


def test_a_pause_holds_no_arrival():
    curve = steps([(10, S), (0, 5 * S), (10, S)])
    np.testing.assert_allclose(curve.time_ns([0, 5, 10, 10.5, 20]) / S, [0, 0.5, 1, 6.05, 7])


def test_a_curve_that_starts_with_a_pause():
    np.testing.assert_allclose(steps([(0, 5 * S), (10, S)]).time_ns([0, 1]) / S, [0, 5.1])


def test_what_lies_beyond_a_curve_that_ends_at_zero_never_comes():
    curve = steps([(10, S), (0, S)])
    assert curve.time_ns([10, 10.001]).tolist() == [S, math.inf]


def test_parsed_curves():
    assert parse_curve(" 8 ") == flat(8) == Curve((), 8.0)
    assert parse_curve("inf") == flat(math.inf)
    assert parse_curve("ramp:1..32/60s") == Curve((Stretch(60 * S, 1, 32),), 32)
    assert parse_curve("steps:1@30s,8@500ms") == Curve((Stretch(30 * S, 1, 1), Stretch(S // 2, 8, 8)), 8)


@pytest.mark.parametrize(
    "text",
    """0|-1|abc||nan|-inf|1e300|1e-300|ramp:|ramp:32..1/60s|ramp:1..32|ramp:1/60s|ramp:1..inf/60s|ramp:-1..5/60s
    |ramp:1..5/0s|ramp:1..5/x|ramp:0..0/5s|steps:|steps:1|steps:1@|steps:0@30s|steps:1@30s,-1@5s|steps:nan@3s|steps:inf@1s
    |steps:1@0s|steps:1@30s,|sine:1..5/60s|8:""".replace("\n    ", "").split("|"),
)
def test_bad_text_is_one_sentence_and_a_hint(text):
    with pytest.raises(BadInputError) as raised:
        parse_curve(text)
    assert str(raised.value).endswith(".")
    assert raised.value.hint


@given(st.text(max_size=30) | st.from_regex(r"(ramp|steps):[0-9.@,/s]{1,20}"))
def test_any_text_parses_or_is_refused(text):
    try:
        curve = parse_curve(text)
    except BadInputError:
        return
    assert curve.last_rate >= 0
