"""When a request was due, in every kind of loop; what was in flight; what was never sent; which window is judged."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import MS, S, plan, poisson_s, queue, queue_run, record, run

from loadgen.analysis.data import RunData
from loadgen.analysis.flow import InFlight, flow_of
from loadgen.analysis.metrics import METRICS
from loadgen.analysis.summary import summarise
from loadgen.analysis.window import steady_window, truncation


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 500)), min_size=1, max_size=15))
def test_in_flight_is_what_counting_second_by_second_gives(stays: list[tuple[int, int]]) -> None:
    starts, ends = np.array([a for a, _ in stays], float), np.array([a + d for a, d in stays], float)
    flight = InFlight(np.sort(starts), np.sort(ends))
    ticks = np.arange(1500) + 0.5
    counted = ((starts[:, None] <= ticks) & (ticks < ends[:, None])).sum(axis=0)
    assert flight.level(ticks).tolist() == counted.tolist()
    assert flight.mean(0, 1500) == pytest.approx(counted.mean())
    assert flight.means(np.array([0.0, 100, 777, 1500]))[1] == pytest.approx(counted[100:777].mean())


def closed_loop(slots: int, n: int, late_ms: float = 0.0) -> list[dict[str, Any]]:
    """Each request takes 100 ms, the next one goes `late_ms` after a slot came free; the plan's due times are all 0."""
    rows, free_ms = [], [0.0] * slots
    for k in range(n):
        slot = int(np.argmin(free_ms))
        issued = free_ms[slot] + (late_ms if k >= slots else 0)
        rows.append(record(k, 0.0, issued_ms=issued, tokens_ms=[issued + 40, issued + 100]))
        free_ms[slot] = issued + 100
    return rows


def test_in_a_closed_loop_a_request_is_due_when_its_slot_came_free() -> None:
    point = summarise(run(closed_loop(4, 80, late_ms=2), planned=plan(np.zeros(80), in_flight_max=4)))
    assert point["median_lag_ms"] == pytest.approx(2)
    assert point["median_ttft_ms"] == pytest.approx(42)
    assert point["median_ttft_send_ms"] == pytest.approx(40)
    assert point["effective_concurrency"] == pytest.approx(4, rel=0.03)
    assert point["littles_law"]["ratio"] == pytest.approx(1, rel=0.1)
    assert point["max_concurrency"] == 4
    assert point["verdict"] == "VALID"


def test_a_closed_loop_that_begins_with_a_burst_is_not_late() -> None:
    """2,000 connections take 0.12 s to open: no plan says when each should have gone."""
    gone_ms = [0.06 * k for k in range(2000)]
    rows = [record(k, 0.0, issued_ms=at, tokens_ms=[at + 40, at + 100]) for k, at in enumerate(gone_ms)]
    point = summarise(run(rows, planned=plan(np.zeros(2000), in_flight_max=2000)))
    assert point["client"]["lag_max_ms"] == 0
    assert not {"CLIENT_LAG", "CLIENT_HICCUP"} & {each["code"] for each in point["findings"]}
    assert point["p99_ttft_ms"] == pytest.approx(40), "from when it went"


def test_two_workers_share_the_cap() -> None:
    rows = []
    for worker in (0, 1):
        part = closed_loop(2, 40, late_ms=1 + worker)
        rows += [each | {"index": each["index"] * 2 + worker, "worker": worker} for each in part]
    point = summarise(run(rows, planned=plan(np.zeros(80), in_flight_max=4)))
    assert point["client"]["lag_max_ms"] == pytest.approx(2)


def test_under_a_cap_an_open_loop_is_due_by_the_plan_and_the_wait_is_not_our_lag() -> None:
    """One slot, a request every 50 ms that takes 100 ms: the k-th waits 50·k ms for its slot."""
    rows = [record(k, 50 * k, issued_ms=100 * k, tokens_ms=[100 * k + 40, 100 * k + 100]) for k in range(30)]
    point = summarise(run(rows, planned=plan(np.arange(30) * 50 * MS, in_flight_max=1)))
    assert point["p50_lag_ms"] == pytest.approx(50 * 14.5)
    assert point["client"]["lag_max_ms"] == 0
    codes = [each["code"] for each in point["findings"]]
    assert "CAP_HELD" in codes
    assert "CLIENT_LAG" not in codes
    assert "RATE_NOT_HELD" not in codes


def test_in_a_session_a_turn_is_due_when_the_last_one_ended_and_the_thinking_is_done() -> None:
    rows = [
        record(0, 0, tokens_ms=[20, 100]),
        record(1, 0, issued_ms=603, tokens_ms=[650, 700]),
        record(2, 900, tokens_ms=[950]),
    ]
    planned = plan([0, 0, 900 * MS], after=np.array([-1, 0, -1]), think_ns=np.array([0, 500, 0]) * MS)
    flow = flow_of(run(rows, planned=planned))
    assert flow.loop == "open"
    assert (flow.due_ns / MS).tolist() == [0, 600, 900]
    assert summarise(run(rows, planned=planned))["client"]["lag_max_ms"] == pytest.approx(3)


def unsent(n_sent: int, manifest: dict[str, Any], **scalars: Any) -> int:
    rows = [record(k, 100 * k, tokens_ms=[100 * k + 10]) for k in range(n_sent)]
    planned = plan(np.arange(10) * 100 * MS, **scalars)
    return len(flow_of(run(rows, {"ended_ns": 2 * S} | manifest, planned=planned)).unsent_ns)


@pytest.mark.parametrize(
    ("manifest", "scalars", "expected"),
    [
        ({}, {}, 4),
        ({"ended_ns": 750 * MS}, {}, 2),
        ({"cut": True, "stop_ns": 650 * MS}, {}, 1),
        ({}, {"in_flight_max": 3}, 4),
        ({}, {"in_flight_max": 3, "stop_ns": 650 * MS}, 0),
        ({"cut": True}, {"in_flight_max": 3}, 0),
        ({"cut": True}, {}, 0),
    ],
)
def test_unsent_is_what_was_due_in_time_and_has_no_record(
    manifest: dict[str, Any], scalars: dict[str, Any], expected: int
) -> None:
    assert unsent(6, manifest, **scalars) == expected


def test_a_turn_whose_predecessor_never_ended_was_not_due() -> None:
    planned = plan([0, 0, 0], after=np.array([-1, 0, 1]))
    rows = [record(0, 0, outcome="censored")]
    assert len(flow_of(run(rows, {"ended_ns": S}, planned=planned)).unsent_ns) == 0


def window_of(data: RunData) -> Any:
    tpot_ns = next(each for each in METRICS if each.name == "tpot").how(data.columns)
    return steady_window(data, flow_of(data), tpot_ns)


def warm_and_then_steady(warm_s: float, rng: np.random.Generator) -> RunData:
    """10 req/s for 60 s; the first `warm_s` seconds take 2 s an answer instead of 0.5."""
    due_s = np.cumsum(rng.exponential(0.1, 600))
    return queue_run(due_s, due_s + np.where(due_s < warm_s, 2.0, 0.5) * rng.uniform(0.9, 1.1, 600), tpot_ms=5)


def test_the_warm_up_is_found_and_the_drain_is_cut() -> None:
    for seed in range(10):
        data = warm_and_then_steady(10, np.random.default_rng(seed))
        window = window_of(data)
        assert 9 <= window.start_ns / S <= 15
        assert window.end_ns == data.plan.due_ns.max()
        assert "MSER-5" in window.method


def test_never_more_than_the_first_half_is_cut() -> None:
    window = window_of(warm_and_then_steady(55, np.random.default_rng(0)))
    assert window.start_ns <= window.end_ns / 2


def test_a_steady_run_loses_little_to_the_warm_up() -> None:
    lost = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        due_s = poisson_s(rng, 5.6, (1, 500))
        window = window_of(queue_run(due_s[0], queue(due_s, rng.exponential(1.0, due_s.shape), 8)[0], tpot_ms=1))
        lost.append(window.start_ns / window.end_ns)
    assert np.mean(lost) < 0.15
    assert max(lost) <= 0.5


def test_mser_counts_in_fives_and_ignores_what_is_like_the_rest() -> None:
    rng = np.random.default_rng(0)
    series = rng.normal(10, 1, 200)
    series[:20] += 30
    assert truncation(series) == 20
    assert truncation(rng.normal(10, 1, 29)) == 0
    assert truncation(np.full(100, 3.0)) == 0


@pytest.mark.parametrize(("warmup", "start_s"), [("none", 0), (2, 2), (0.5, 0.5), (99, 9.9)])
def test_a_warm_up_that_was_asked_for_is_cut_as_asked(warmup: Any, start_s: float) -> None:
    rows = [record(k, 100 * k, tokens_ms=[100 * k + 50]) for k in range(100)]
    point = summarise(run(rows, {"warmup": warmup}))
    assert point["window"]["start_s"] == pytest.approx(start_s)
    assert point["window"]["end_s"] == pytest.approx(9.9)


def test_all_at_once_is_judged_whole() -> None:
    rows = [record(k, 0, tokens_ms=[10 * k + 10, 10 * k + 500]) for k in range(30)]
    point = summarise(run(rows, {"request_rate": "inf", "warmup": "auto"}))
    assert point["window"] == {
        "start_s": 0.0,
        "end_s": pytest.approx(0.79),
        "method": "the whole run: everything was due at once, so it is one drain",
    }
    assert point["request_throughput"] == pytest.approx(30 / 0.79)
    assert point["offered_rate"] is None
    assert point["request_rate"] == "inf"
    assert point["verdict"] == "VALID"
