"""Simulated queues: healthy ones are left alone, overloaded ones are found, and the arithmetic of both is measured."""

import heapq
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
def test_130_percent_of_equal_answers_is_found_from_300_arrivals_on(servers: int) -> None:
    assert share_flagged(servers, 1.3, 300, "equal", servers) >= 0.98


EVERYBODY = 10_000  # slots: nobody waits


def served_s(due_s: Array, service_s: Array, slots: int) -> Array:
    """`made.queue` of one run, for many slots."""
    free_s = [0.0] * min(slots, len(due_s))
    done_s = np.empty_like(due_s)
    for k, (due, service) in enumerate(zip(due_s.tolist(), service_s.tolist(), strict=True)):
        done_s[k] = max(due, heapq.heappop(free_s)) + service
        heapq.heappush(free_s, float(done_s[k]))
    return done_s


def said(slots: int, rate: float, arrivals: int, spread: str, seed: int) -> str:
    """What the backlog of a run says: `saturated`, `doubtful`, `steady`, or nothing. Answers take 1 s on average."""
    rng = np.random.default_rng(seed)
    due_s = np.cumsum(rng.exponential(1 / rate, arrivals))
    done_s = served_s(due_s, rng.exponential(1.0, arrivals) if spread == "exponential" else np.ones(arrivals), slots)
    nothing = np.full(arrivals, np.nan)
    columns = {"index": np.arange(float(arrivals)), "due_ns": due_s * S, "issued_ns": due_s * S, "sent_ns": nothing}
    run = RunData(columns | {"done_ns": done_s * S, "worker": np.zeros(arrivals)}, plan(due_s * S))
    found = backlog(flow_of(run), float(due_s[-1]) * S)
    assert found is not None
    steady = found.growth <= min(found.least, found.limit)
    return "saturated" if found.grows else "doubtful" if found.doubtful else "steady" if steady else ""


def times_said(*case: Any) -> dict[str, int]:
    words = [said(*case, seed) for seed in range(RUNS)]
    return {word: words.count(word) for word in ("saturated", "doubtful", "steady", "")}


SLOTS = [(1, "exponential"), (1, "equal"), (32, "exponential"), (32, "equal"), (256, "exponential"), (256, "equal")]


@pytest.mark.parametrize(("slots", "spread"), SLOTS)
def test_a_long_run_knows_80_percent_from_110(slots: int, spread: str) -> None:
    """Long: 3,000 requests. At least 98 of 100 either way."""
    assert times_said(slots, 0.8 * slots, 3000, spread)["steady"] >= 98
    assert times_said(slots, 1.1 * slots, 3000, spread)["saturated"] >= 98


@pytest.mark.parametrize(("slots", "spread"), SLOTS)
@pytest.mark.parametrize("arrivals", [30, 100, 300, 900])
def test_a_short_run_says_nothing_rather_than_what_is_wrong(slots: int, spread: str, arrivals: int) -> None:
    """A healthy one is hardly ever accused, and an overloaded one never acquitted."""
    healthy = times_said(slots, 0.8 * slots, arrivals, spread)
    assert healthy["saturated"] <= 2
    assert healthy["doubtful"] <= 7
    if arrivals <= 300 or slots == 1:
        assert times_said(slots, 1.1 * slots, arrivals, spread)["steady"] <= 2


@pytest.mark.parametrize(("arrivals", "found"), [(100, 15), (300, 60), (900, 85)])
def test_what_a_short_run_still_finds_of_110_percent(arrivals: int, found: int) -> None:
    """The docstring's table: the rest is doubtful or silent."""
    assert times_said(1, 1.1, arrivals, "exponential")["saturated"] >= found


@pytest.mark.parametrize("spread", ["exponential", "equal"])
@pytest.mark.parametrize(("rate", "arrivals"), [(5.0, 60), (50.0, 200), (50.0, 2500), (2000.0, 5000)])
def test_with_room_for_everybody_nobody_falls_behind(spread: str, rate: float, arrivals: int) -> None:
    """Long answers: the run is 2.5 to 50 times as long as one, and what is in flight swings like a Poisson count."""
    assert times_said(EVERYBODY, rate, arrivals, spread)["saturated"] <= 2


def test_what_one_who_sees_every_service_time_could_find() -> None:
    """The figures of the docstring: log of the pace ratio of M/M/1, its standard error, arrivals for 2 % either way."""
    apart = log(1.1) - log(0.8)
    assert apart == pytest.approx(0.32, abs=0.005)
    needed = 2 * (2 * NormalDist().inv_cdf(0.98) / apart) ** 2
    assert needed == pytest.approx(332, abs=2)


@pytest.mark.parametrize(("overload", "least"), [(2.0, 1.0), (10.0, 1.0), (30.0, 0.85)])
def test_a_hopeless_overload_is_found(overload: float, least: float) -> None:
    """Heavy overload slows even the early requests, which must not pass as their natural latency.

    At thirty times what the server can do, the run is over after two and a half answers.
    """
    assert share_flagged(4, overload, 300, "exponential", 3) >= least


def test_a_server_that_had_hardly_finished_one_when_we_gave_up_is_found() -> None:
    """10 req/s for 30 s and 30 s of drain, four at a time, 16 s each: 12 of 300 came back, the rest is censored."""
    due_s = np.cumsum(np.random.default_rng(2).exponential(0.1, 300))
    run = queue_run(due_s, served_s(due_s, np.full(300, 16.0), 4), request_rate=10.0, ended_ns=60 * S)
    censored = run.columns["done_ns"] > 60 * S
    run.columns["done_ns"][censored] = run.columns["first_token_ns"][censored] = np.nan
    run.columns["outcome"][censored] = "censored"
    assert Code.SATURATED in {each["code"] for each in summarise(run)["findings"]}


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
    return said(slots, 2000.0, 5000, "equal", seed) == "saturated"


def test_answers_longer_than_a_quarter_of_the_run_are_no_backlog() -> None:
    """All of them fill the server for 16 of 40 s, which is not falling behind; with four fifths of the room it is."""
    assert not any(grows_with_long_answers(EVERYBODY, seed) for seed in range(50))
    assert sum(grows_with_long_answers(1_400, seed) for seed in range(20)) >= 19


def test_a_run_that_was_interrupted_early_accuses_nobody() -> None:
    """Two seconds of answers that take five: everything sent still runs, or was waited for, or was given up."""
    for ended_s in (2.0, 10.0):
        due_s = np.cumsum(np.random.default_rng(1).exponential(1 / 50, 100))
        run = queue_run(due_s, due_s + 5, request_rate=50.0, interrupted=True, stop_ns=2 * S, ended_ns=ended_s * S)
        run.columns["done_ns"][run.columns["done_ns"] > ended_s * S] = np.nan
        point = summarise(run)
        assert not {Code.SATURATED, Code.MAYBE_SATURATED, Code.NO_PLATEAU} & {
            each["code"] for each in point["findings"]
        }


def test_a_run_that_nearly_looks_saturated_and_is_too_short_says_so() -> None:
    seed = next(seed for seed in range(100) if said(1, 1.1, 150, "equal", seed) == "doubtful")
    due_s = np.cumsum(np.random.default_rng(seed).exponential(1 / 1.1, 150))
    point = summarise(queue_run(due_s, served_s(due_s, np.ones(150), 1), tokens=2, request_rate=1.1, warmup="none"))
    found = [each["code"] for each in point["findings"]]
    assert Code.MAYBE_SATURATED in found
    assert Code.SATURATED not in found
    assert point["verdict"] in ("TOO_FEW_SAMPLES", "NOT_STEADY")


@pytest.mark.parametrize("cut", [False, True])
def test_a_crashed_run_says_nothing_about_its_level(cut: bool) -> None:
    """Of its last answers only the quick ones were recorded."""
    due_s = np.arange(900) * 0.1
    point = summarise(
        queue_run(due_s, due_s + np.where(due_s < 45, 0.5, 2.0), request_rate=10.0, cut=cut, warmup="none")
    )
    assert (Code.NO_PLATEAU in {each["code"] for each in point["findings"]}) is not cut
