"""Due times: as many as the area under the curve says, where it says, and never pressed into shape."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.errors import BadInputError
from loadgen.schedule.arrivals import REQUESTS_MAX, draw_due_ns
from loadgen.schedule.rate import flat, parse_curve
from loadgen.units import NS_PER_S

S = NS_PER_S
CURVES = st.sampled_from(["20", "ramp:1..40/30s", "ramp:0..40/10s", "steps:10@10s,0@20s,50@30s"]).map(parse_curve)
BURSTINESS = st.sampled_from([0.001, 0.1, 1.0, 4.0, math.inf])


@settings(max_examples=60, deadline=None)
@given(CURVES, BURSTINESS, st.integers(0, 2**32), st.integers(0, 60 * S), st.integers(0, 5000))
def test_sorted_within_the_duration_and_the_same_prefix(curve, burstiness, seed, duration_ns, count):
    timed = draw_due_ns(curve, burstiness, seed, duration_ns=duration_ns)
    counted = draw_due_ns(curve, burstiness, seed, count=count)
    both = draw_due_ns(curve, burstiness, seed, duration_ns=duration_ns, count=count)
    assert timed.dtype == counted.dtype == np.int64
    assert len(counted) == count
    assert (np.diff(counted) >= 0).all()
    assert (timed < duration_ns).all()
    shorter = min(len(timed), count)
    np.testing.assert_array_equal(timed[:shorter], counted[:shorter])
    np.testing.assert_array_equal(both, counted[:shorter])
    assert (counted[len(timed) :] >= duration_ns).all()  # none before the duration was left out


@settings(max_examples=40, deadline=None)
@given(CURVES, st.sampled_from([0.25, 1.0, 4.0]), st.integers(0, 2**32), st.sampled_from([5, 20, 45, 600]))
def test_count_is_the_area_within_its_noise(curve, burstiness, seed, seconds):
    """A renewal count has variance near area/burstiness, and a start bias of (1/burstiness − 1)/2."""
    area = float(curve.area(seconds * S))
    count = len(draw_due_ns(curve, burstiness, seed, duration_ns=seconds * S))
    assert abs(count - area) <= 6 * math.sqrt(area / burstiness) + 10


def test_constant_spacing_on_a_flat_curve_is_a_comb():
    due = draw_due_ns(flat(4), math.inf, 0, duration_ns=10 * S)
    assert due.tolist() == [S // 8 + k * S // 4 for k in range(40)]


def test_constant_spacing_counts_each_step_exactly():
    due = draw_due_ns(parse_curve("steps:1@30s,8@30s,64@30s"), math.inf, 0, duration_ns=90 * S)
    assert np.histogram(due, bins=[0, 30 * S, 60 * S, 90 * S])[0].tolist() == [30, 240, 1920]


def test_spans_vary_between_seeds_as_gamma_sums_do():
    """1000 exponential gaps at 10/s last 100 s, standard deviation 3.16 s; rescaled they would have none."""
    spans = np.array([draw_due_ns(flat(10), 1, seed, count=1000)[-1] / S for seed in range(400)])
    assert spans.mean() == pytest.approx(100, abs=5 * 3.162 / 20)
    assert spans.std(ddof=1) == pytest.approx(3.162, rel=0.2)


def test_poisson_on_a_ramp_has_dispersion_one_in_operational_time():
    curve = parse_curve("ramp:1..400/100s")
    area = curve.area(draw_due_ns(curve, 1, 5, count=100_000))
    for window in (1, 4, 10):
        counts = np.histogram(area, bins=int(area[-1] // window), range=(0, area[-1] // window * window))[0]
        assert counts.var() / counts.mean() == pytest.approx(1, abs=5 * math.sqrt(2 / len(counts)))


def test_inf_is_everything_at_zero():
    assert draw_due_ns(flat(math.inf), 1, 0, count=3).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("curve", "limits"),
    [
        ("8", {}),
        ("inf", {"duration_ns": S}),
        ("inf", {"count": REQUESTS_MAX + 1}),
        ("8", {"count": REQUESTS_MAX + 1}),
        ("1e9", {"duration_ns": S}),
        ("1e-9", {"count": 100}),
        ("steps:10@1s,0@1s", {"count": 100}),
    ],
)
def test_a_plan_without_end_or_measure_is_refused(curve, limits):
    with pytest.raises(BadInputError) as raised:
        draw_due_ns(parse_curve(curve), 1, 0, **limits)
    assert raised.value.hint
