"""Samples against numpy, distributions against printed tables, and intervals against how often they are right."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis import estimate
from loadgen.analysis.sample import Sample, merged, sample
from loadgen.analysis.student import order_ranks, t_cdf, t_quantile
from loadgen.analysis.trend import correlation, jump, trend

numbers = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40)


@given(values=numbers, share=st.floats(0, 1))
def test_quantiles_are_those_of_numpy_counted_or_not(values: list[float], share: float) -> None:
    plain = sample(np.array([*values, np.nan]))
    assert plain.quantile(share) == pytest.approx(np.quantile(values, share), rel=1e-9, abs=1e-3)
    distinct, counts = np.unique(values, return_counts=True)
    counted = Sample(distinct, counts)
    assert counted.quantile(share) == pytest.approx(plain.quantile(share), rel=1e-9, abs=1e-3)
    assert counted.n == plain.n
    assert counted.mean() == pytest.approx(np.mean(values), abs=1e-3)
    assert counted.std() == pytest.approx(np.std(values), abs=1e-3)
    assert counted.at_most(values[0]) == plain.at_most(values[0]) == sum(each <= values[0] for each in values)


@given(first=numbers, second=numbers, share=st.floats(0, 1))
def test_merging_is_asking_all_values(first: list[float], second: list[float], share: float) -> None:
    distinct, counts = np.unique(second, return_counts=True)
    both = merged([sample(np.array(first)), Sample(distinct, counts)])
    assert both.quantile(share) == pytest.approx(np.quantile(first + second, share), rel=1e-9, abs=1e-3)
    assert both.n == len(first) + len(second)


def test_nothing_has_no_mean_and_no_percentile() -> None:
    nothing = sample(np.array([np.nan]))
    assert (nothing.n, nothing.mean(), nothing.std(), nothing.quantile(0.5)) == (0, None, None, None)
    assert merged([]).n == 0


@given(st.lists(st.lists(st.integers(0, 20), max_size=8), min_size=1, max_size=9))
def test_many_counted_samples_merge_to_what_they_all_hold(parts: list[list[int]]) -> None:
    counted = [Sample(*np.unique(np.array(each, np.float64), return_counts=True)) for each in parts]
    whole = merged(counted)
    assert np.repeat(whole.values, whole.counts).tolist() == sorted(value for each in parts for value in each)


# Printed tables of Student's t.
@pytest.mark.parametrize(
    ("share", "freedom", "t"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.30265),
        (0.95, 4, 2.13185),
        (0.975, 9, 2.26216),
        (0.975, 19, 2.09302),
        (0.995, 30, 2.74999),
        (0.9, 7, 1.41492),
        (0.975, 120, 1.97993),
        (0.975, 399, 1.96592),
        (0.975, 10_000, 1.95996),
        (0.5, 5, 0.0),
        (0.025, 9, -2.26216),
    ],
)
def test_students_t(share: float, freedom: int, t: float) -> None:
    assert t_quantile(share, freedom) == pytest.approx(t, abs=5e-5)


@given(share=st.floats(0.001, 0.999), freedom=st.integers(1, 400))
def test_the_quantile_is_the_inverse_of_the_distribution(share: float, freedom: int) -> None:
    assert t_cdf(t_quantile(share, freedom), freedom) == pytest.approx(share, abs=1e-8)


@pytest.mark.parametrize(("share", "freedom"), [(0.0, 5), (1.0, 5), (0.5, 0)])
def test_there_is_no_such_quantile(share: float, freedom: int) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        t_quantile(share, freedom)


@pytest.mark.parametrize(
    ("n", "share", "ranks"),
    [
        (5, 0.5, None),
        (6, 0.5, (1, 6)),  # 2 · 0.5^6 = 0.031
        (10, 0.5, (2, 9)),  # the classic: 2 · 11 / 1024 = 0.021
        (100, 0.5, (40, 61)),
        (367, 0.99, None),
        (368, 0.99, (360, 368)),  # 0.99^368 = 0.0248
    ],
)
def test_order_statistics_of_the_binomial(n: int, share: float, ranks: tuple[int, int] | None) -> None:
    assert order_ranks(n, share, 0.95) == ranks


def test_many_values_use_the_normal_and_agree_with_the_binomial() -> None:
    exact, approximate = order_ranks(20_000, 0.9, 0.95), order_ranks(20_001, 0.9, 0.95)
    assert exact
    assert approximate
    assert np.allclose(exact, approximate, atol=3)


def in_batches(values: Any) -> list[Sample]:
    part = estimate.batches_of(len(values))
    return [sample(values[part == each]) for each in range(part.max() + 1)]


def correlated(rng: np.random.Generator, runs: int, n: int, r: float) -> Any:
    """AR(1) with a skewed margin: exp of a Gaussian one."""
    x = rng.normal(size=(runs, n))
    for k in range(1, n):
        x[:, k] = r * x[:, k - 1] + np.sqrt(1 - r * r) * x[:, k]
    return np.exp(x)


@pytest.mark.parametrize("r", [0.0, 0.9])
def test_intervals_are_right_about_as_often_as_they_say(r: float) -> None:
    """300 runs of 2,000 values: mean, median and p90 of the lognormal. The naive interval is right 40 % at r = 0.9."""
    truth = {"mean": np.exp(0.5), "p50": 1.0, "p90": np.exp(1.2815516)}
    hits: dict[str, list[bool]] = {name: [] for name in (*truth, "naive")}
    runs = 300
    for values in correlated(np.random.default_rng(3), runs, 2000, r):
        batches = in_batches(values)
        whole = merged(batches)
        found = {"mean": estimate.mean(batches)}
        found |= {f"p{q}": estimate.quantile(batches, whole, q / 100) for q in (50, 90)}
        for name, each in found.items():
            if each.low is not None and each.high is not None:
                hits[name].append(each.low <= truth[name] <= each.high)
        half = 1.96 * values.std() / np.sqrt(len(values))
        hits["naive"].append(abs(values.mean() - truth["mean"]) <= half)
    for name in truth:
        assert len(hits[name]) >= 0.95 * runs, "an interval was given"
        assert 0.92 <= np.mean(hits[name]) <= 0.995, name
    if r:
        assert np.mean(hits["naive"]) < 0.6


def test_a_rate_is_events_over_seconds_with_the_poisson_width() -> None:
    rng = np.random.default_rng(2)
    counts = rng.poisson(100, 20).astype(float)
    found = estimate.ratio(counts, np.full(20, 2.0), n=int(counts.sum()))
    assert found.value == pytest.approx(counts.sum() / 40)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 2.093 * np.sqrt(100 / 20) / 2, rel=0.4)


def test_too_few_values_have_a_figure_and_no_interval() -> None:
    batches = in_batches(np.array([1.0, 2.0, 3.0]))
    assert estimate.mean(batches).value == 2.0
    assert estimate.mean(batches).interval() is None
    assert estimate.quantile(batches, merged(batches), 0.99).interval() is None
    assert estimate.mean([]).value is None


def test_identical_values_are_certain() -> None:
    batches = in_batches(np.full(500, 7.0))
    assert estimate.mean(batches).interval() == [7.0, 7.0]
    assert estimate.quantile(batches, merged(batches), 0.9).interval() == [7.0, 7.0]


def test_correlation_of_a_wave_and_of_noise() -> None:
    assert correlation(np.sin(np.arange(200) / 10)) == pytest.approx(0.9)  # the ceiling
    assert correlation(np.random.default_rng(0).normal(size=2000)) < 0.06
    assert correlation(np.ones(9)) == 0.0


def test_a_line_is_a_trend_a_step_is_a_jump_and_noise_is_neither() -> None:
    rng = np.random.default_rng(4)
    noise = rng.normal(100, 3, 60)
    assert trend(noise).p > 0.01
    assert jump(noise).p > 0.01
    line = trend(noise + np.arange(60))
    assert line.p < 1e-6
    assert (line.before, line.after) == (pytest.approx(100, abs=3), pytest.approx(159, abs=3))
    step = jump(noise + 50 * (np.arange(60) >= 20))
    assert step.p < 1e-3
    assert (step.at, step.before, step.after) == (20, pytest.approx(100, abs=2), pytest.approx(150, abs=2))


def test_a_wandering_series_is_no_trend_though_a_slope_test_says_so() -> None:
    """AR(1) at 0.8: Mann and Kendall's plain test flags far more than its 1 %; the corrected one does not."""
    rng = np.random.default_rng(6)
    flagged = np.mean([trend(np.log(each)).p < 0.01 for each in correlated(rng, 300, 60, 0.8)])
    assert flagged <= 0.05
