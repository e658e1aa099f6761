"""What times say, from times of known truth."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.profile.findings import fastest, growth, regime, saving, threshold

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 384, 512, 1024, 2048)


@given(turns=st.floats(6, 700), flat=st.floats(10, 1e6))
def test_a_sweep_that_turns_is_found_where_it_turns(turns, flat):
    found = threshold(BATCHES, [flat * max(1, batch / turns) for batch in BATCHES])
    assert found.batch == pytest.approx(turns, rel=1e-6)
    assert found.flat_ns == pytest.approx(flat)
    assert found.rise_ns == pytest.approx(flat / turns, rel=1e-6)
    assert found.misfit == pytest.approx(0, abs=1e-6)


def test_a_sweep_with_noise_turns_near_the_truth():
    noise = [1.03, 0.98, 1.0, 1.02, 0.97, 1.01, 1.04, 0.99, 1.06, 0.98, 1.02, 0.97, 1.01, 1.0]
    found = threshold(BATCHES, [max(50, batch / 4) * off for batch, off in zip(BATCHES, noise, strict=True)])
    assert found.batch == pytest.approx(200, rel=0.05)
    assert 0 < found.misfit < 0.05


def test_a_sweep_that_stays_flat_has_no_threshold():
    found = threshold(BATCHES, [100.0] * len(BATCHES))
    assert found.batch is None
    assert found.rise_ns is None


@pytest.mark.parametrize(("us", "reach"), [(250, "memory"), (475, "memory"), (525, "latency"), (1000, "neither")])
def test_the_regime_of_a_gigabyte_that_takes_so_long(us, reach):
    """At 4 TB/s it takes 250 µs; a launch is said to take 140."""
    found = regime(flops=1e6, bytes_=1e9, ns=us * 1e3, tflops=800, gbps=4000, launch_ns=1.4e5)
    assert found.reach == reach
    assert found.of_bandwidth == pytest.approx(250 / us)


def test_the_limit_of_which_more_was_reached_names_the_regime():
    assert regime(8e11, 1e9, 1.2e6, 800, 4000, 2000).reach == "compute"
    assert regime(1e11, 1e9, 4e5, 800, 4000, 2000).reach == "memory"


@given(st.floats(0, 1))
def test_growth_lies_where_time_went_between_bytes_and_flops(share):
    time = 2 ** (1 - share) * 8**share
    found = growth((100.0, 1e9, 1e6), (100.0 * time, 8e9, 2e6))
    assert found is not None
    assert found.share == pytest.approx(share, abs=1e-9)
    assert abs(share - 0.5) < 1e-6 or found.follows == ("compute" if share > 0.5 else "memory")


def test_growth_says_nothing_where_flops_and_bytes_grow_alike():
    assert growth((100.0, 1e9, 1e6), (200.0, 2e9, 2.2e6)) is None
    assert growth((100.0, 0.0, 1e6), (200.0, 0.0, 4e6)) is None


def test_savings_and_what_they_add_together():
    times = {("concatenated", "eager"): 100.0, ("concatenated", "flash"): 70.0, ("concatenated", "other"): 80.0}
    times |= {("paged", "eager"): 60.0, ("paged", "flash"): 25.0, ("blocked", "eager"): 50.0}
    best = {key: us for key, (us, _) in fastest(times).items()}
    found = saving(best, "paged")
    assert found is not None
    assert (found.base_us, found.attention_us, found.cache_us, found.together_us) == (100, 70, 60, 25)
    assert found.expected_us == 30
    assert found.interaction_us == 5
    assert saving(best, "blocked") is None
    assert fastest(times)[("concatenated", "fused")] == (70.0, "flash")
    assert math.isclose(min(times.values()), 25)
