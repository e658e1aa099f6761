"""Plans: open loop, capped, closed, all at once."""

import json
import math

import numpy as np
import pytest

from loadgen.errors import BadInputError
from loadgen.schedule.draw import CLOSED_REQUESTS_MAX, draw_plan
from loadgen.units import NS_PER_S

S = NS_PER_S


def lengths(n):
    return np.arange(n) + 10, np.full(n, 7), np.arange(n) % 2, ("s2s", "s2l")


def draw(**options):
    return draw_plan(lengths=lengths, **options)


def test_open_loop():
    plan = draw(rate=8.0, duration_ns=30 * S, seed=3, drain_ns=S)
    assert 150 < len(plan) < 330
    assert plan.due_ns[-1] < 30 * S
    assert (plan.stop_ns, plan.in_flight_max, plan.drain_ns, plan.seed) == (0, 0, S, 3)
    assert (plan.after == -1).all()
    assert (plan.think_ns == 0).all()
    assert plan.input_tokens[5] == 15
    assert plan.labels == ("s2s", "s2l")
    assert plan.shape == {"loop": "open", "spacing": "poisson", "burstiness": 1.0, "curve": "8.0", "rate": 8.0}


def test_the_seed_decides_the_plan():
    assert draw(rate=8, count=100, seed=1).digest == draw(rate="8", count=100, seed=1).digest
    assert draw(rate=8, count=100, seed=1).digest != draw(rate=8, count=100, seed=2).digest


def test_curve_text():
    plan = draw(rate="steps:1@30s,8@30s", duration_ns=60 * S, burstiness=math.inf)
    assert len(plan) == 270
    assert plan.shape["curve"] == "steps:1@30s,8@30s"
    assert plan.shape["rate"] is None
    assert plan.shape["spacing"] == "constant"


def test_open_loop_with_a_cap_keeps_its_due_times_and_drops_nothing():
    free, capped = draw(rate=8, duration_ns=30 * S), draw(rate=8, duration_ns=30 * S, max_concurrency=4)
    np.testing.assert_array_equal(free.due_ns, capped.due_ns)
    assert (capped.in_flight_max, capped.stop_ns) == (4, 0)
    assert capped.shape["loop"] == "open"


def test_all_at_once():
    plan = draw(rate="inf", count=50)
    assert len(plan) == 50
    assert not plan.due_ns.any()
    assert plan.shape["loop"] == "open"


@pytest.mark.parametrize("rate", [None, "inf", math.inf])
def test_closed_loop_by_duration_holds_more_than_can_be_sent(rate):
    plan = draw(rate=rate, max_concurrency=4, duration_ns=10 * S)
    assert len(plan) == 4 * 10 * 200
    assert not plan.due_ns.any()
    assert (plan.in_flight_max, plan.stop_ns) == (4, 10 * S)
    assert plan.shape["loop"] == "closed"


def test_closed_loop_bounds():
    assert len(draw(max_concurrency=1000, duration_ns=3600 * S)) == CLOSED_REQUESTS_MAX
    assert len(draw(max_concurrency=4, count=77, duration_ns=10 * S)) == 77
    assert draw(max_concurrency=4, count=77).stop_ns == 0


def test_shape_is_json():
    for plan in (
        draw(rate="inf", count=1),
        draw(rate=2, burstiness=math.inf, count=1),
        draw(max_concurrency=1, count=1),
    ):
        json.dumps(plan.shape, allow_nan=False)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"duration_ns": S},
        {"rate": 8},
        {"rate": "inf"},
        {"rate": "inf", "duration_ns": S},
        {"max_concurrency": 4},
        {"max_concurrency": -4, "count": 5},
        {"rate": 8, "count": -5},
        {"rate": 8, "duration_ns": -5},
        {"rate": 0, "count": 5},
        {"rate": 8, "count": 5, "burstiness": 0},
        {"rate": "abc", "count": 5},
    ],
)
def test_a_plan_that_cannot_be_is_refused(options):
    with pytest.raises(BadInputError) as raised:
        draw(**options)
    assert raised.value.hint
