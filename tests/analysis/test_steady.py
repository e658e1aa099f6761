"""Simulated queues: healthy ones are left alone, overloaded ones are found, and the arithmetic of both is measured."""

from math import log
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from made import S, plan, poisson_s, queue, queue_run

from loadgen.analysis.data import RunData
from loadgen.analysis.findings import Code
from loadgen.analysis.flow import flow_of
from loadgen.analysis.steady import backlog, batch_medians, unsteady
from loadgen.analysis.summary import summarise
from loadgen.analysis.window import steady_window

Array = np.ndarray[Any, Any]
RUNS = 100


def flagged(due_s: Array, done_s: Array, wait_s: Array) -> tuple[bool, bool]:
    """(falls behind, has no plateau) for one run; TTFT is the wait and 50 ms, TPOT 10 ms with 2 % of noise."""
    n = len(due_s)
    noise = np.random.default_rng(n).normal(1.0, 0.02, n)
    nothing = np.full(n, np.nan)
    columns = {
        "index": np.arange(n, dtype=np.float64),
        "due_ns": due_s * S,
        "issued_ns": due_s * S,
        "sent_ns": nothing,
        "done_ns": done_s * S,
        "worker": np.zeros(n),
        "outcome": np.full(n, "ok", object),
    }
    run = RunData(columns, plan(due_s * S), manifest={"warmup": "auto"})
    flow = flow_of(run)
    tpot_ns = 1e7 * noise
    window = steady_window(run, flow, tpot_ns)
    behind = backlog(flow, window.end_ns)
    assert behind is not None
    return behind.grows, bool(unsteady(flow, window, {"tpot": tpot_ns, "ttft": wait_s * S + 5e7}))


def share_flagged(servers: int, load: float, arrivals: int, spread: str, seed: int) -> float:
    rng = np.random.default_rng(seed)
    due_s = poisson_s(rng, load * servers, (RUNS, arrivals))
    service_s = rng.exponential(1.0, due_s.shape) if spread == "exponential" else np.ones(due_s.shape)
    done_s = queue(due_s, service_s, servers)
    wait_s = done_s - due_s - service_s
    return float(np.mean([any(flagged(due_s[k], done_s[k], wait_s[k])) for k in range(RUNS)]))


@pytest.mark.parametrize("servers", [1, 4, 8])
@pytest.mark.parametrize("arrivals", [400, 1500])
def test_a_healthy_queue_at_80_percent_is_left_alone(servers: int, arrivals: int) -> None:
    assert share_flagged(servers, 0.8, arrivals, "exponential", 10 * servers + arrivals) <= 0.02


@pytest.mark.parametrize("servers", [1, 4, 8])
def test_130_percent_is_found_from_400_arrivals_on(servers: int) -> None:
    assert share_flagged(servers, 1.3, 400, "exponential", servers) >= 0.98


@pytest.mark.parametrize("servers", [1, 4, 8])
def test_130_percent_of_equal_answers_is_found_from_200_arrivals_on(servers: int) -> None:
    assert share_flagged(servers, 1.3, 200, "equal", servers) >= 0.98


@pytest.mark.parametrize(
    ("servers", "spread", "least"), [(1, "equal", 0.94), (4, "equal", 0.92), (1, "exponential", 0.82)]
)
def test_from_100_arrivals_most_are_found_and_no_test_finds_98(servers: int, spread: str, least: float) -> None:
    assert share_flagged(servers, 1.3, 100, spread, servers) >= least


def test_what_one_who_sees_every_service_time_could_find_in_100_arrivals() -> None:
    """The figures of docs/metrics.md: the log of the pace ratio of M/M/1, its standard error, the power at 2 %."""
    apart = log(1.3) - log(0.8)
    error = (1 / 100 + 1 / 80) ** 0.5
    power = NormalDist().cdf(apart / error - NormalDist().inv_cdf(0.98))
    assert apart == pytest.approx(0.49, abs=0.005)
    assert error == pytest.approx(0.15, abs=0.001)
    assert power == pytest.approx(0.88, abs=0.01)


@pytest.mark.parametrize("overload", [2.0, 10.0])
def test_a_hopeless_overload_is_found(overload: float) -> None:
    """Heavy overload slows even the early requests, which must not pass as their natural latency."""
    assert share_flagged(4, overload, 300, "exponential", 3) == 1.0


def stepped(factor: float, series: str, rng: np.random.Generator) -> bool:
    n = 600
    due_s = np.cumsum(rng.exponential(0.1, n))
    run = queue_run(due_s, due_s + 0.5)
    flow = flow_of(run)
    order = np.argsort(flow.due_ns)
    values_ns = np.empty(n)
    values_ns[order] = 1e7 * rng.lognormal(0, 0.2, n) * np.where(np.arange(n) < n / 2, 1.0, factor)
    window = steady_window(run, flow, np.full(n, np.nan))
    return any(each.series == series for each in unsteady(flow, window, {series: values_ns}))


def test_a_jump_of_the_level_is_found_in_either_direction_and_noise_is_not() -> None:
    rng = np.random.default_rng(5)
    assert all(stepped(1.5, "tpot", rng) and stepped(1 / 1.5, "tpot", rng) for _ in range(6))
    assert not any(stepped(1.0, "tpot", rng) for _ in range(20))


def test_a_jump_that_is_certain_but_small_is_not_material() -> None:
    assert not any(stepped(1.05, "tpot", np.random.default_rng(seed)) for seed in range(20))


def test_few_values_make_no_series() -> None:
    assert len(batch_medians(np.ones(74))) == 0
    assert len(batch_medians(np.ones(75))) == 15
    assert len(batch_medians(np.ones(1000))) == 60


def overloaded(**manifest: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    due_s = poisson_s(rng, 64, (1, 1200))
    return summarise(queue_run(due_s[0], queue(due_s, np.full(due_s.shape, 1 / 25), 1)[0], tokens=2, **manifest))


def test_a_saturated_point_says_how_much_was_completed_and_the_backlog() -> None:
    point = overloaded(request_rate=64.0)
    assert point["verdict"] == "NOT_STEADY"
    said = next(each for each in point["findings"] if each["code"] == Code.SATURATED)
    arrived = point["whole_run"]["num_prompts"]
    expected = arrived - 25 * point["window"]["end_s"]
    assert point["achieved_rate"] == pytest.approx(25, rel=0.02)
    backlog_said = int(said["seen"].rsplit(" ", 1)[1].rstrip("."))
    assert backlog_said == pytest.approx(expected, abs=3)
    assert said["seen"].startswith("25 of 6")


def test_healthy_runs_through_the_whole_analysis_are_valid() -> None:
    rng = np.random.default_rng(12)
    due_s = poisson_s(rng, 6.4, (40, 900))
    done_s = queue(due_s, rng.exponential(1.0, due_s.shape), 8)
    verdicts = [summarise(queue_run(due_s[k], done_s[k], tokens=4, tpot_ms=1.0))["verdict"] for k in range(40)]
    assert verdicts.count("VALID") >= 39


def test_nothing_is_said_about_a_handful_or_a_closed_loop() -> None:
    few = queue_run(np.arange(10.0), np.arange(10.0) + 30)
    flow = flow_of(few)
    assert backlog(flow, float(flow.due_ns.max())) is None
    one_after_the_other = np.arange(1.0, 101.0)
    closed = RunData(
        queue_run(one_after_the_other - 1, one_after_the_other).columns, plan(np.zeros(100), in_flight_max=1)
    )
    assert backlog(flow_of(closed), 100e9) is None


def grows_with_long_answers(slots: int, seed: int) -> bool:
    """125 req/s for 40 s, every answer 16 s long: 2,000 at once when there is room for all."""
    rng = np.random.default_rng(seed)
    due_s = poisson_s(rng, 125.0, (1, 5000))
    done_s = queue(due_s, np.full(due_s.shape, 16.0), slots)
    flow = flow_of(queue_run(due_s[0], done_s[0], tokens=2, request_rate=125.0))
    found = backlog(flow, float(due_s.max()) * 1e9)
    assert found is not None
    return found.grows


def test_answers_longer_than_a_quarter_of_the_run_are_no_backlog() -> None:
    """All of them fill the server for 16 of 40 s, which is not falling behind; with four fifths of the room it is."""
    assert sum(grows_with_long_answers(10_000, seed) for seed in range(20)) <= 3
    assert sum(grows_with_long_answers(1_400, seed) for seed in range(20)) >= 19
