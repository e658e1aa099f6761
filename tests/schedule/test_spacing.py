"""Unit-rate arrivals: reproducible, with the dispersion that their name promises."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.errors import BadInputError
from loadgen.schedule.spacing import BLOCK, spacing_name, unit_arrivals


def arrivals(burstiness, seed, blocks):
    return np.concatenate(list(itertools.islice(unit_arrivals(burstiness, seed), blocks)))


def dispersion(times, window):
    """Index of dispersion of counts: variance over mean of the number of arrivals in equal windows."""
    windows = int(times[-1] // window)
    counts = np.histogram(times, bins=windows, range=(0, windows * window))[0]
    return counts.var(ddof=1) / counts.mean()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([0.05, 0.5, 1.0, 3.0, math.inf]), st.integers(0, 2**63), st.integers(1, 3))
def test_same_seed_same_prefix(burstiness, seed, blocks):
    np.testing.assert_array_equal(arrivals(burstiness, seed, 4)[: blocks * BLOCK], arrivals(burstiness, seed, blocks))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.001, 1000), st.integers(0, 1000))
def test_arrivals_ascend_from_above_zero(burstiness, seed):
    drawn = arrivals(burstiness, seed, 2)
    assert drawn[0] >= 0
    assert (np.diff(drawn) >= 0).all()


def test_another_seed_is_another_process():
    assert not np.array_equal(arrivals(1, 0, 1), arrivals(1, 1, 1))


def test_constant_gaps_have_no_variation_and_start_half_a_gap_in():
    drawn = arrivals(math.inf, 0, 3)
    assert drawn[0] == 0.5
    assert (np.diff(drawn) == 1).all()


@pytest.mark.parametrize("window", [1, 4, 10])
def test_poisson_counts_have_dispersion_one(window):
    times = arrivals(1, 42, 50)  # 204,800 arrivals
    windows = times[-1] / window
    assert dispersion(times, window) == pytest.approx(1, abs=5 * math.sqrt(2 / windows))


@pytest.mark.parametrize("shape", [0.25, 0.5, 2.0, 4.0])
def test_gamma_dispersion_tends_to_one_over_burstiness(shape):
    """The limit of var/mean of the counts of a renewal process is the squared CV of its gaps, here 1/shape."""
    times = arrivals(shape, 7, 100)
    gaps = np.diff(times)
    assert gaps.mean() == pytest.approx(1, abs=5 / math.sqrt(shape * len(gaps)))
    assert gaps.std() / gaps.mean() == pytest.approx(1 / math.sqrt(shape), rel=0.02)
    assert dispersion(times, 100) == pytest.approx(1 / shape, rel=0.12)


def test_poisson_gaps_are_exponential():
    gaps = np.diff(arrivals(1, 3, 25))
    for x in (0.1, 0.5, 1.0, 3.0):
        assert (gaps > x).mean() == pytest.approx(math.exp(-x), abs=5 * 0.5 / math.sqrt(len(gaps)))


def test_names():
    assert [spacing_name(b) for b in (math.inf, 1, 0.5)] == ["constant", "poisson", "gamma"]


@pytest.mark.parametrize("burstiness", [0, -1, 1e-6, math.nan, -math.inf])
def test_bad_burstiness_is_refused_at_once(burstiness):
    with pytest.raises(BadInputError, match="burstiness") as raised:
        unit_arrivals(burstiness, 0)
    assert raised.value.hint
