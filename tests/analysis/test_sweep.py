"""From points to the answer: capacity from saturated points, honest ends, reasons from evidence, a person's words."""

from typing import Any

import numpy as np
import pytest
from made import poisson_s, queue, queue_run

from loadgen.analysis.saturation import saturation
from loadgen.analysis.slo import parse_slo
from loadgen.analysis.summary import summarise
from loadgen.analysis.sweep import answer, sweep_summary


def point(rate: float, verdict: str = "VALID", achieved: float | None = None, **more: Any) -> dict[str, Any]:
    """A point as far as a sweep reads it; SATURATED when it is NOT_STEADY and completes less than it was asked."""
    done = rate if achieved is None else achieved
    behind = verdict == "NOT_STEADY" and done < rate
    return {
        "request_rate": rate,
        "offered_rate": rate,
        "achieved_rate": done,
        "output_throughput": done * 100,
        "mean_e2el_ms": 1000.0,
        "median_ttft_ms": 40.0,
        "p99_ttft_ms": 212.0,
        "completed": 1000,
        "indicative": [],
        "confidence": {"achieved_rate": [done - 0.5, done + 0.5], "output_throughput": [done * 95, done * 105]},
        "server": None,
        "slo": None,
        "verdict": verdict,
        "findings": [{"code": "SATURATED"}] if behind else [],
    } | more


def saturated(rate: float, achieved: float, **more: Any) -> dict[str, Any]:
    return point(rate, "NOT_STEADY", achieved, **more)


FULL = {"running_mean": 31.0, "running_max": 32.0, "waiting_mean": 80.0, "waiting_max": 140.0, "kv_cache_max": 0.6}
ORDINARY = [point(4), point(8), point(16), saturated(32, 22.5, server=FULL), saturated(64, 22.7)]


def said(points: list[dict[str, Any]]) -> str:
    return answer(sweep_summary(points, {}))


def test_capacity_is_what_saturated_points_complete() -> None:
    found = saturation(ORDINARY)
    assert found is not None
    rate = found["max_stable_rate"]
    assert rate["value"] == pytest.approx(22.6)
    assert (rate["low"], rate["high"]) == (pytest.approx(22.6 - 0.5 / 2**0.5), pytest.approx(22.6 + 0.5 / 2**0.5))
    assert (rate["stable"], rate["saturated"]) == (16, 32)
    assert found["peak_output_throughput"] == {"value": 2270, "low": 22.7 * 95, "high": 22.7 * 105}


def test_the_answer_in_words() -> None:
    assert said(ORDINARY) == (
        "Saturates at 22.6 req/s (95 % CI 22.2 to 23): the decode batch is full (32 running, 140 waiting). "
        "At 16 req/s p99 TTFT is 212 ms."
    )


def test_points_in_any_order_give_the_same() -> None:
    assert saturation(ORDINARY[::-1]) == saturation(ORDINARY)


def test_a_client_limited_point_never_counts() -> None:
    points = [*ORDINARY[:3], point(32, "CLIENT_LIMITED", 20, findings=[{"code": "SATURATED"}], output_throughput=9e9)]
    found = saturation(points)
    assert found is not None
    assert (found["max_stable_rate"]["value"], found["max_stable_rate"]["high"]) == (16, None)
    assert found["peak_output_throughput"]["value"] == 1600
    assert "At 32 req/s this machine was the limit; those points do not count." in said(points)


def test_never_saturated_is_said() -> None:
    words = said(ORDINARY[:3])
    assert words.startswith("Not saturated: the server kept up at the rates tested, up to 16 req/s. Sweep higher")
    assert "At 16 req/s p99 TTFT is 212 ms." in words


def test_never_stable_is_said() -> None:
    found = saturation(ORDINARY[3:])
    assert found is not None
    assert found["max_stable_rate"]["stable"] is None
    assert found["max_stable_rate"]["value"] == pytest.approx(22.6)
    assert "No rate tested was stable: sweep lower." in said(ORDINARY[3:])


def test_all_client_limited_or_nothing_at_all() -> None:
    limited = [point(rate, "CLIENT_LIMITED") for rate in (4, 8)]
    assert saturation(limited) is None
    assert said(limited).startswith("This machine was the limit at every rate")
    assert said([]) == "Nothing was measured."


def test_neither_stable_nor_saturated() -> None:
    points = [point(4, "SERVER_ERRORS"), point(8, "NOT_STEADY")]
    found = saturation(points)
    assert found is not None
    assert found["max_stable_rate"]["value"] is None
    assert said(points).startswith("No saturation point was found: no rate tested was stable")


def test_a_burst_and_a_closed_loop_have_no_rate_to_saturate_at() -> None:
    curve = point(4, request_rate="1..8 in 60s")
    assert saturation([point(4, request_rate="inf"), point(4, request_rate=None), curve]) is None
    assert said([curve]) == "At 4 req/s p99 TTFT is 212 ms."
    assert said([point(4, request_rate="inf")]) == "With all requests at once p99 TTFT is 212 ms."


def test_a_single_run_says_first_why_it_is_not_to_be_trusted() -> None:
    behind = {"code": "SATURATED", "seen": "25.1 of 64 req/s completed, backlog grew to 480."}
    summary = {"points": [point(64, "NOT_STEADY", 25.1, findings=[behind])], "saturation": None}
    assert answer(summary) == (
        "Not steady: 25.1 of 64 req/s completed, backlog grew to 480. At 64 req/s p99 TTFT is 212 ms."
    )


def test_the_reason_said_is_the_one_behind_the_verdict() -> None:
    """Not the gravest of the findings, which may be about something else."""
    found = [{"code": "SIMULATOR_LATE", "seen": "It was late."}, {"code": "FEW_SAMPLES", "seen": "There were few."}]
    assert answer({"points": [point(4, "TOO_FEW_SAMPLES", findings=found)], "saturation": None}).startswith(
        "Too few samples: There were few."
    )


def test_one_odd_point_does_not_overrule_its_neighbours() -> None:
    points = [point(2), saturated(4, 3.6), point(8), point(16), saturated(32, 22.5), saturated(64, 22.5)]
    found = saturation(points)
    assert found is not None
    assert (found["max_stable_rate"]["stable"], found["max_stable_rate"]["saturated"]) == (16, 32)


def test_a_point_that_may_be_saturated_is_no_proof_of_a_stable_rate() -> None:
    doubtful = point(8, "TOO_FEW_SAMPLES", findings=[{"code": "MAYBE_SATURATED", "seen": "More at the end."}])
    found = saturation([point(4), doubtful, saturated(16, 9)])
    assert found is not None
    assert found["max_stable_rate"]["stable"] == 4


def test_of_two_that_contradict_each_other_the_lower_rate_wins() -> None:
    found = saturation([point(4), saturated(8, 7), point(16)])
    assert found is not None
    assert found["max_stable_rate"]["stable"] == 4


def test_a_server_that_does_less_when_overloaded_is_as_good_as_its_best_stable_rate() -> None:
    points = [point(20), saturated(24, 12), saturated(32, 11)]
    found = saturation(points)
    assert found is not None
    rate = found["max_stable_rate"]
    assert (rate["value"], rate["low"], rate["high"]) == (20, 20, 24)
    assert said(points).startswith("Saturates at 20 req/s or more (stable there, saturated at 24)")


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (None, "completions stop growing with arrivals (22.5 of 32 req/s completed)"),
        (FULL, "the decode batch is full (32 running, 140 waiting)"),
        (FULL | {"kv_cache_max": 0.99}, "the KV cache is full (99 % used)"),
        (FULL | {"kv_cache_max": 0.9, "preemptions": 12}, "the KV cache is full (90 % used, 12 preemptions)"),
        (FULL | {"waiting_max": 0.0}, "completions stop growing with arrivals (22.5 of 32 req/s completed)"),
        (FULL | {"running_max": None}, "completions stop growing with arrivals (22.5 of 32 req/s completed)"),
    ],
)
def test_the_reason_comes_from_evidence(server: Any, reason: str) -> None:
    found = saturation([point(16), saturated(32, 22.5, server=server)])
    assert found is not None
    assert found["reason"] == reason


def within(met: bool) -> dict[str, Any]:
    return {"slo": {"met": met}}


def test_the_highest_rate_within_the_slo() -> None:
    met = [point(4, **within(True)), point(8, **within(True)), point(16, **within(False)), point(32, **within(True))]
    found = saturation(met)
    assert found is not None
    assert found["max_goodput_rate"] == {"value": 8, "low": 8, "high": 16}
    assert "The SLO holds up to 8 req/s, not at 16." in said(met)
    assert "The SLO is missed even at 4 req/s." in said([point(4, **within(False)), point(8, **within(False))])
    without = saturation(ORDINARY)
    assert without is not None
    assert without["max_goodput_rate"] is None


def test_the_knee_of_a_curve_that_bends() -> None:
    rates = [1, 2, 4, 8, 16, 32, 64]
    bent = [point(rate, mean_e2el_ms=500 * max(1.0, rate / 8) ** 2) for rate in rates]
    found = saturation(bent)
    assert found is not None
    assert found["knee_rate"]["value"] == pytest.approx(8, rel=0.05)
    assert found["knee_rate"]["low"] in (4, 8)
    assert found["knee_rate"]["high"] in (8, 16)


@pytest.mark.parametrize(
    "latencies",
    [[500, 500, 500, 2000], [500] * 7, [500 * 2**k for k in range(7)], [300 * k**0.5 for k in range(1, 8)]],
    ids=["four points", "flat", "straight", "bends down"],
)
def test_no_knee_is_made_up(latencies: list[float]) -> None:
    points = [point(2.0**k, mean_e2el_ms=each) for k, each in enumerate(latencies)]
    found = saturation(points)
    assert found is not None
    assert found["knee_rate"] is None


def test_few_samples_are_not_given_as_a_p99() -> None:
    few = point(16, "TOO_FEW_SAMPLES", indicative=["p99_ttft_ms", "p50_ttft_ms", "median_ttft_ms"], completed=9)
    assert said([few]).endswith("At 16 req/s median TTFT is about 40 ms, from 9 requests.")
    some = point(16, indicative=["p99_ttft_ms"])
    assert said([some]).endswith("At 16 req/s median TTFT is 40 ms.")


def test_a_simulated_sweep_finds_the_capacity_of_a_known_server() -> None:
    """Four servers of 200 ms: 20 req/s. Two rates below and two above."""
    rng = np.random.default_rng(5)
    points = []
    for rate in (5.0, 14.0, 28.0, 56.0):
        due_s = poisson_s(rng, rate, (1, int(60 * rate)))
        done_s = queue(due_s, rng.uniform(0.15, 0.25, due_s.shape), 4)
        slo = parse_slo("ttft_p90=600ms")
        points.append(summarise(queue_run(due_s[0], done_s[0], tokens=4, tpot_ms=1, request_rate=rate), slo))
    summary = sweep_summary(points, {"dataset": "s2s", "seed": 0})
    rate = summary["saturation"]["max_stable_rate"]
    assert (summary["kind"], summary["schema"], summary["dataset"]) == ("sweep", 1, "s2s")
    assert [each["verdict"] for each in points] == ["VALID", "VALID", "NOT_STEADY", "NOT_STEADY"]
    assert rate["value"] == pytest.approx(20, rel=0.02)
    assert rate["low"] < 20.2
    assert rate["high"] > 19.8
    assert (rate["stable"], rate["saturated"]) == (14, 28)
    assert summary["saturation"]["max_goodput_rate"]["value"] == 14
    assert answer(summary).startswith("Saturates at ")
