"""The search against engines as they were on a GPU, with the budgets that failed there: it must find what they hold."""

from statistics import median

import engines
import pytest
from queues import NS, Engine, drive, measure

from loadgen.search.probe import Judged, Kind, Probe, Purpose
from loadgen.search.search import Limits

Made = list[tuple[Probe, Judged]]


def most_completed(made: Made, kind: Kind) -> float:
    return max(j.throughput.value for p, j in made if p.kind is kind and j.throughput is not None)


def spent_s(made: Made, *purposes: Purpose) -> float:
    return sum(j.duration_ns for p, j in made if not purposes or p.purpose in purposes) / NS


def test_what_takes_long_to_be_seen_gets_the_budget() -> None:
    """80 ms a step, and cold at first: nothing is given up while there is budget and answers come."""
    answer, made = drive(engines.warming_up(engines.transformers()), Limits(90 * NS), 0)  # type: ignore[arg-type]
    assert answer.stable is not None
    assert answer.stable.value == pytest.approx(106, rel=0.1)
    assert spent_s(made) > 60


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_climb_goes_on_while_the_throughput_grows(seed: int) -> None:
    """S2L on vLLM, 24 req/s: once it ended at 32 in flight, and the overload was below what had been completed."""
    answer, made = drive(engines.vllm("s2l"), Limits(180 * NS), seed)
    assert most_completed(made, Kind.CLOSED) > 14
    assert answer.stable is not None
    assert answer.stable.value == pytest.approx(23.9, rel=0.05)


@pytest.mark.parametrize(
    "server", [engines.vllm("s2s"), engines.vllm("s2l"), engines.mii()], ids=lambda each: each.name
)
def test_an_overload_is_above_what_was_completed(server: Engine) -> None:
    _, made = drive(server, Limits(120 * NS), 3)
    for number, (probe, _) in enumerate(made):
        if probe.purpose is Purpose.BEYOND:
            before = [(p, j) for p, j in made[:number] if j.counts and not j.unsteady]
            assert probe.level > 1.1 * max(j.throughput.value for _, j in before if j.throughput is not None)


def test_climbing_is_cheap_where_the_machine_is_noisy() -> None:
    """Nobody needs the throughput of a rung to a few percent: 11 rungs, 2 to 5 s each."""
    costs = [spent_s(drive(engines.vllm("s2s"), Limits(130 * NS), seed)[1], Purpose.LADDER) for seed in range(4)]
    assert median(costs) < 30


@pytest.mark.parametrize("server", [engines.mii(), engines.llamacpp()], ids=lambda each: each.name)
def test_half_of_the_capacity_is_certainly_stable_within_20_s(server: Engine) -> None:
    """And 110 % never is."""
    capacity = {"mii": 79.25, "llama.cpp": 73.8}[server.name]

    def verdicts(load: float, seconds: float) -> list[str]:
        least_ns, most_ns, settle_ns = 3.5 * NS, seconds * NS, 1.15 * NS
        probe = Probe(Kind.OPEN, load * capacity, Purpose.INSIDE, least_ns, most_ns, settle_ns, decide=True)
        return [measure(server, probe, 7000 + seed).verdict for seed in range(20)]

    assert verdicts(0.5, 20).count("stable") >= 15
    assert "unstable" not in verdicts(0.5, 20)
    assert "stable" not in verdicts(1.1, 60)
    assert verdicts(1.1, 60).count("unstable") >= 15


@pytest.mark.parametrize(
    ("server", "capacity", "budget_s"),
    [(engines.mii(), 79.08, 80), (engines.llamacpp(), 73.82, 100), (engines.vllm("s2l"), 23.91, 180)],
    ids=lambda each: getattr(each, "name", ""),
)
def test_the_interval_holds_the_capacity_of_a_machine_that_wanders(
    server: Engine, capacity: float, budget_s: float
) -> None:
    """In all of 6 searches but one, and a rate that is certainly stable is found as often."""
    answers = [drive(server, Limits(budget_s * NS), 100 + seed)[0] for seed in range(6)]
    found = [each.stable for each in answers if each.stable is not None]
    assert sum((each.low or 0) <= capacity <= (each.high or 0) for each in found) >= 5
    assert sum(each.sustained is not None and each.sustained > 0.4 * capacity for each in answers) >= 5
