"""A load that ends before the server has filled says so and proves nothing; a lower rate may prove it saturated."""

import heapq
from typing import Any

import numpy as np
import pytest
from made import S, record, run

from loadgen.analysis.findings import Code
from loadgen.analysis.slo import parse_slo
from loadgen.analysis.summary import summarise
from loadgen.analysis.sweep import answer, sweep_summary

TOKENS = 24
CUT_NS = 200_000  # before the end of the run: so soon what still runs is let go
Point = dict[str, Any]
SEEDS = range(50)


def sharing(at_once: float, alone_s: float) -> Any:
    """All run at once: up to `at_once` at full pace, with more they share what that gives. Capacity at_once/alone_s."""
    return lambda n: alone_s * max(1.0, n / at_once)


def batching(alone_s: float, step: float) -> Any:
    """A batch that slows with its size and gives ever more: no capacity below 1 / (alone_s · step)."""
    return lambda n: alone_s * (1 + step * n)


def served(due_s: np.ndarray[Any, Any], work: np.ndarray[Any, Any], answer_s: Any, ended_s: float) -> list[float]:
    """When each is done, inf if not by `ended_s`. `answer_s(n)`: what a `work` of 1, the mean, takes with n running."""
    done, running, now, given = [np.inf] * len(due_s), [], 0.0, 0.0  # given: work that whoever ran all along has got
    for k in range(len(due_s) + 1):
        until = due_s[k] if k < len(due_s) else ended_s
        while running:
            pace = answer_s(len(running))
            ends = now + (running[0][0] - given) * pace
            if ends > until:
                given += (until - now) / pace
                break
            now, given = ends, running[0][0]
            done[heapq.heappop(running)[1]] = now
        now = until
        if k < len(due_s):
            heapq.heappush(running, (given + work[k], k))
    return done


def point(rate: float, answer_s: Any, seed: int, load_s: float = 8.0, drain_s: float = 12.0, **more: Any) -> Point:
    """A run of Poisson arrivals, TOKENS an answer, evenly; what runs at the end is censored."""
    rng = np.random.default_rng([seed, int(10 * rate)])
    due_s = np.cumsum(rng.exponential(1 / rate, int(3 * rate * load_s) + 20))
    due_s = due_s[due_s < load_s]
    ended_s = load_s + drain_s
    least, most = more.get("work", (0.3, 1.7))
    done_s = served(due_s, rng.uniform(least, most, len(due_s)), answer_s, ended_s)
    ended_s = min(ended_s, max(done_s))
    rows = []
    for k, (due, done) in enumerate(zip(due_s.tolist(), done_s, strict=True)):
        censored = not np.isfinite(done)
        last = 2 * ended_s - due if censored else done  # how far one had come that did not end: half of it, say
        tokens = np.linspace(due, last, TOKENS + 1)[1:]
        row = record(k, 1000 * due, tokens_ms=1000 * tokens[tokens <= ended_s], planned_output_tokens=TOKENS)
        rows.append(row | ({"outcome": "censored", "done_ns": round(ended_s * S) - CUT_NS} if censored else {}))
    manifest = {"request_rate": rate, "ended_ns": ended_s * S, "warmup": more.get("warmup_s", 2)}
    return summarise(run(rows, manifest), more.get("slo"))


def codes(each: Point) -> set[str]:
    return {found["code"] for found in each["findings"]}


def said(points: list[Point]) -> str:
    return answer(sweep_summary(points, {}))


ROOMY = batching(12.0, 0.0)  # everybody at once, 12 s each: it keeps up with whatever comes
BOUND = sharing(12, 2.0)  # 6 req/s


def filling(load: float, stays: float, seed: int) -> Point:
    """Capacity 10 req/s; at 80 % load 40 run at once and take 5 s each. The load lasts so many times as long."""
    return point(10 * load, batching(1.0, 0.1), seed, 5 * stays, 2 * stays, warmup_s=1)


@pytest.mark.parametrize("stays", [5, 10])
def test_a_batch_that_slows_down_as_it_fills_does_not_fall_behind(stays: float) -> None:
    """Its first answers are quick, and explain too little of what runs in the end."""
    for load in (0.5, 0.8):
        accused = sum(Code.SATURATED in codes(filling(load, stays, seed)) for seed in SEEDS)
        assert accused <= 0.04 * len(SEEDS)


def test_a_batch_that_goes_on_growing_does() -> None:
    found = [codes(filling(1.3, 20, seed)) for seed in range(20)]
    assert sum(Code.SATURATED in each for each in found) >= 15
    assert all({Code.SATURATED, Code.MAYBE_SATURATED, Code.SHORT_RUN} & each for each in found)


def test_one_whose_answers_outlast_every_load_is_found_by_what_it_gave_early_and_late() -> None:
    """At 160 % the longer the load, the longer the answers: to run longer would never tell."""
    for seed in range(15):
        each = filling(1.6, 20, seed)
        assert {Code.SATURATED, Code.SHORT_RUN} <= codes(each)


@pytest.mark.parametrize("drain_s", [3.0, 30.0])
def test_answers_that_outlast_the_load_cannot_tell(drain_s: float) -> None:
    for seed in SEEDS:
        each = point(6, ROOMY, seed, drain_s=drain_s)
        assert each["verdict"] == "NOT_STEADY"
        assert Code.SHORT_RUN in codes(each)
        assert Code.SATURATED not in codes(each)


def test_what_we_cut_off_has_not_ended() -> None:
    """72 s an answer, a load of 110 s, the first 50 s cut, 15 s to drain: of 59 answers 17 ended, and it was VALID."""
    for seed in SEEDS:
        each = point(1, batching(72.0, 0.0), seed, 110.0, 15.0, warmup_s=50)
        assert Code.SHORT_RUN in codes(each)
        assert said([each]).startswith("Whether the server keeps up with 1 req/s cannot be told.")


def test_answers_of_equal_length_that_we_cut_off_last_no_longer_than_those_that_ended() -> None:
    """73 s an answer, a load of 190 s, the first 95 s cut, 5 s to drain: of what was due after that a quarter ended."""
    for seed in SEEDS:
        each = point(0.25, batching(73.0, 0.0), seed, 190.0, 5.0, warmup_s=95, work=(0.98, 1.02))
        assert not {Code.SHORT_RUN, Code.SATURATED} & codes(each)


def test_the_load_proposed_is_longer_than_the_one_that_was_too_short() -> None:
    """Of what was due after the cut nothing has run for long."""
    each = point(20, ROOMY, 1, 40.0, 1.0, warmup_s=38)
    proposed = next(found["try_next"] for found in each["findings"] if found["code"] == Code.SHORT_RUN)
    assert proposed == "Run longer: --duration 90s."


def test_a_sweep_of_them_claims_nothing() -> None:
    points = [point(rate, ROOMY, 1, drain_s=30) for rate in (2, 6)]
    text = said(points)
    assert text.startswith("Whether the server keeps up with 2, 6 req/s cannot be told. Answers took ")
    assert "the load lasted 7." in text
    assert text.endswith("Run longer: --duration 150s.")
    assert sweep_summary(points, {})["saturation"]["max_stable_rate"]["value"] is None


def test_what_ended_while_the_server_filled_is_no_rate() -> None:
    none, few = point(6, ROOMY, 1), point(6, batching(7.0, 0.0), 1)
    assert none["achieved_rate"] is None
    assert few["achieved_rate"] > 0
    for each in (none, few):
        assert {"achieved_rate", "request_throughput"} <= set(each["indicative"])
        assert each["confidence"]["achieved_rate"] is None
        assert each["output_throughput"] > 0
        assert each["confidence"]["output_throughput"] is not None


def test_an_slo_met_by_a_server_that_is_not_full_is_not_met() -> None:
    slo = parse_slo("tpot_p50=2s")
    points = [point(rate, ROOMY, 1, drain_s=30, slo=slo) for rate in (2, 6)]
    assert all(each["slo"]["met"] for each in points)
    assert sweep_summary(points, {})["saturation"]["max_goodput_rate"] is None


@pytest.mark.parametrize("load_s", [60.0, 300.0])
def test_a_long_run_of_the_same_server_is_valid(load_s: float) -> None:
    told = [point(6, ROOMY, seed, load_s, 60)["verdict"] for seed in range(20)]
    assert told.count("VALID") >= 19


def test_an_overloaded_server_is_never_said_to_keep_up_however_short_the_run() -> None:
    """16 req/s where 6 are all that it can do."""
    for load_s in (2.0, 4.0, 8.0, 16.0):
        for seed in SEEDS:
            each = point(16, BOUND, seed, load_s)
            assert each["verdict"] == "NOT_STEADY", (load_s, seed)
            assert "kept up" not in said([each])


def test_a_lower_rate_tells() -> None:
    """The overload alone is mostly too short; beside 4 req/s, where fewer gave as much, it is no longer in doubt."""
    told = alone = 0
    for seed in SEEDS:
        points = [point(4, BOUND, seed), point(16, BOUND, seed)]
        before = codes(points[1])
        if points[0]["verdict"] == "VALID" and Code.SHORT_RUN in codes(points[1]):
            summary = sweep_summary(points, {})
            rate = summary["saturation"]["max_stable_rate"]
            told += rate["saturated"] == 16
            assert "up to 16 req/s" not in answer(summary)
            assert rate["method"] == "highest stable rate tested"  # what the second completed is no capacity
            assert codes(points[1]) == before  # the run's own point is left as it was
            alone += Code.SATURATED in before
    assert told >= len(SEEDS) / 4  # the others are not told, which is no claim either
    assert told > 2 * alone


@pytest.mark.parametrize(("step", "rates"), [(0.04, (4, 14)), (0.04, (8, 14)), (0.02, (8, 26)), (0.005, (10, 100))])
def test_a_batch_that_only_slows_down_is_not_accused(step: float, rates: tuple[int, int]) -> None:
    """At 80 % load an answer takes five times as long as in an empty server, and the load ends before that."""
    for seed in range(25):
        points = [point(rate, batching(1.5, step), seed, drain_s=2) for rate in rates]
        assert Code.SHORT_RUN in codes(points[1])
        rate = sweep_summary(points, {})["saturation"]["max_stable_rate"]
        assert rate["saturated"] is None, seed


def test_a_queue_for_the_first_token_is_found_however_long_the_answers() -> None:
    """Prompts one after the other, 5 a second where 10 come; then 12 s for everybody. Nothing ends while it lasts."""
    due_s = np.arange(100) / 10
    first_s = 0.2 * (1 + np.arange(100))
    rows = [
        record(k, 1000 * due, tokens_ms=[1000 * first, 1000 * first + 12_000])
        for k, (due, first) in enumerate(zip(due_s.tolist(), first_s.tolist(), strict=True))
    ]
    each = summarise(run(rows, {"request_rate": 10.0}))
    assert {Code.SATURATED, Code.SHORT_RUN} <= codes(each)
    assert "kept up" not in said([each])
