"""The whole search against servers of known capacity, on virtual time; the long version is benchmarks/search.py."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from queues import NS, Engine, Server, Station, drive, md1, measure, mm1, s2l_lengths, slots, stepped

from loadgen.analysis.attainment import Attainment
from loadgen.analysis.sequential import Interval
from loadgen.analysis.slo import parse_slo
from loadgen.search import telling
from loadgen.search.estimates import Rate
from loadgen.search.probe import Judged, Kind, Probe, Purpose
from loadgen.search.search import Limits, answer_of, search

MINUTE = 60 * NS


def s2l() -> Station:
    answers = s2l_lengths()[:, -1]
    return slots(32, 0.05, 0.02, lambda rng, n: answers[rng.integers(0, len(answers), n)], float(answers.mean()))


def kv() -> Engine:
    engine = stepped("KV", (50, 250), (20, 140), seqs=256, kv_tokens=4096, host_ms=20)
    return replace(engine, capacity=12.25)  # of its own run of 20,000 s


CASES = {
    "M/D/1": (md1(), 10, 8),
    "M/M/1": (mm1(), 10, 8),
    "M/D/1, gamma 0.25": (md1(burstiness=0.25), 15, 8),
    "32 slots, S2L's answers": (s2l(), 90, 8),
    "KV cache full": (kv(), 30, 4),
}


@pytest.mark.parametrize("name", CASES)
def test_the_capacity_is_found(name: str) -> None:
    """Within 3 % in the median, never beyond 10 %, and in the interval but for one at most."""
    server, minutes, count = CASES[name]
    found = [drive(server, Limits(minutes * MINUTE), 100 + seed)[0].stable for seed in range(count)]
    errors = [abs(each.value / server.capacity - 1) for each in found if each is not None]
    assert len(errors) == count
    assert np.median(errors) < 0.03
    assert max(errors) < 0.10
    assert sum(not holds(each, server.capacity) for each in found) <= 1


def holds(rate: Rate | None, truth: float) -> bool:
    assert rate is not None
    assert rate.low is not None
    assert rate.high is not None
    return rate.low <= truth * (1 + 1e-9) and truth * (1 - 1e-9) <= rate.high


@pytest.mark.parametrize("server", [mm1(), s2l()], ids=["M/M/1", "S2L"])
@pytest.mark.parametrize(("load", "verdict"), [(0.8, "stable"), (1.1, "unstable")])
def test_a_healthy_server_is_stable_and_an_overloaded_one_is_not(server: Station, load: float, verdict: str) -> None:
    settle_ns = 15 * NS if server.servers > 1 else 0.03 * NS
    probe = Probe(
        Kind.OPEN,
        load * server.capacity,
        Purpose.INSIDE,
        max(2 * NS, 3 * settle_ns),
        60_000 / server.capacity * NS,
        settle_ns,
        decide=True,
    )
    verdicts = [measure(server, probe, seed).verdict for seed in range(25)]
    assert verdicts.count(verdict) >= 24
    assert {"stable": "unstable", "unstable": "stable"}[verdict] not in verdicts


def test_the_rate_within_an_slo_is_found() -> None:
    """M/M/1's time in the system is exponential: P(T > t) = exp(−(µ − λ)·t)."""
    truth = 50 - np.log(20) / 0.2  # p95 of 200 ms
    slo = parse_slo("e2el_p95=200ms")
    found = [drive(mm1(), Limits(20 * MINUTE), seed, slo)[0].goodput for seed in range(5)]
    assert np.median([abs(each.value / truth - 1) for each in found if each is not None]) < 0.05
    assert sum(not holds(each, truth) for each in found) <= 1


def test_failures_stay_in_the_denominator_of_the_slo() -> None:
    """A server that fails a fifth of its requests is within no p99, however fast the others are."""

    class Failing:
        workload = mm1().workload

        def run(self, probe: Probe, seed: int) -> "Failing":
            self._run = mm1().run(probe, seed)
            return self

        def seen(self, until_ns: float) -> object:
            seen = self._run.seen(until_ns)
            failed = (np.arange(len(seen)) % 5 == 0) & ~np.isnan(seen.last_ns)
            return replace(seen, failed=failed)

    answer, _ = drive(Failing(), Limits(10 * MINUTE), 1, parse_slo("e2el_p99=10s"))  # type: ignore[arg-type]
    assert answer.goodput is not None
    assert answer.goodput.value == 0
    assert "No rate tried is within e2el_p99=10s" in answer.problem
    assert "No rate was certainly stable" in answer.problem  # what fails was not served


def test_it_asks_the_same_when_told_the_same() -> None:
    limits, slo = Limits(5 * MINUTE), parse_slo("e2el_p99=300ms")
    answer, made = drive(mm1(), limits, 3, slo)
    asking = search(limits, slo)
    probe = next(asking)
    for stored, judged in made[:-1]:
        assert probe == stored
        probe = asking.send(judged)
    assert probe == made[-1][0]
    assert answer_of(made, limits, slo) == answer
    part = answer_of(made[:4], limits, slo)
    assert part.stable is not None
    assert "cut short" in part.notes[-1]
    assert answer_of([], limits).stable is None


def test_what_another_version_asked_for_counts_as_it_was_asked() -> None:
    """Its probes are not ours: the answer is worked out from them, and a search that was cut goes on from there."""
    limits = Limits(5 * MINUTE)
    answer, made = drive(md1(), limits, 3)
    assert answer.stable is not None
    others = [(replace(probe, at_most_ns=probe.at_most_ns + 1), judged) for probe, judged in made]
    told = answer_of(others, limits)
    assert told.stable == answer.stable
    assert told.sustained == answer.sustained
    assert "Another version" in told.notes[0]
    climbed = [each for each in others if each[0].purpose is Purpose.LADDER]
    probe = next(search(limits, made=climbed))
    assert probe.purpose is Purpose.BEYOND
    assert probe.level > 1.1 * max(judged.throughput.value for _, judged in climbed if judged.throughput)
    assert probe.settle_ns == made[-1][0].settle_ns


def test_an_slo_that_nothing_meets_is_said() -> None:
    answer, made = drive(md1(), Limits(5 * MINUTE), 1, parse_slo("ttft_p99=15ms"))
    assert answer.goodput is not None
    assert answer.goodput.value == 0
    assert answer.stable is not None
    assert "One request at a time already misses ttft_p99=15ms" in answer.problem
    assert sum(p.purpose is Purpose.SLO for p, _ in made) <= 2  # and not searched for


def test_an_slo_that_all_meet_is_bounded_by_the_capacity() -> None:
    answer, _ = drive(md1(), Limits(5 * MINUTE), 1, parse_slo("ttft_p50=1h"))
    assert answer.goodput is not None
    assert answer.stable is not None
    assert answer.goodput.value == pytest.approx(answer.stable.value, rel=0.02)


def prompts_first() -> Engine:
    """Prompts of a thousand tokens, answers of 25: 41.5 req/s, and 27 within the SLO."""
    engine = stepped("L2S", (900, 1100), (10, 40), seqs=256, kv_tokens=200_000, host_ms=5, prefill_us=22, row_us=60)
    return replace(engine, capacity=41.5)


TIGHT = parse_slo("ttft_p99=500ms,tpot_p99=50ms")


def test_a_small_budget_is_spent_near_the_answer() -> None:
    """No probe where nothing could be said of the SLO, and none far below what was tried before."""
    tried = 0
    for seed in range(4):
        _, made = drive(prompts_first(), Limits(90 * NS), seed, TIGHT)
        lowest = 41.5
        for probe, judged in made:
            if probe.purpose is Purpose.SLO:
                tried += 1
                assert probe.level >= 0.9 * lowest / 2
                assert judged.slo
            if probe.kind is Kind.OPEN:
                lowest = min(lowest, probe.level)
    assert tried >= 4


def overloaded_only() -> list[tuple[Probe, Judged]]:
    """As far as a budget of 75 s came on a GPU: a climb whose SLO was never certain, and one overload."""

    def judged(rate: float, seconds: float, **more: Any) -> Judged:
        known = {"throughput": Interval(rate, 0.02 * rate, 20), "littles": 1.0} | more
        return Judged(300, 250, 0, seconds * NS, 1 * NS, seconds * NS, latency_s=Interval(1.0, 0.02, 20), **known)

    asking = search(Limits(75 * NS), TIGHT)
    probe, made = next(asking), []
    unsure = tuple(Attainment(clause.text, 0.5, 1.43, 0.98, 100, 0.01, 30.0) for clause in TIGHT.clauses)
    while probe.purpose is not Purpose.SLO:
        told = judged(35.0 * min(1.0, (probe.level / 16) ** 0.5), 5.0, slo=unsure)
        if probe.kind is Kind.OPEN:
            told = judged(35.0, 13.0, slo=unsure, verdict="unstable", deficit=Interval(0.24, 0.01, 20))
        made.append((probe, told))
        probe = asking.send(told)
    return [*made, (probe, judged(35.0, 1.0))]


def test_the_slo_is_first_looked_for_near_the_capacity() -> None:
    made = overloaded_only()
    assert made[-1][0].level == pytest.approx(0.75 * 35, rel=0.03)


def test_without_a_judged_probe_there_is_no_estimate() -> None:
    """Only what bounds it is said."""
    answer = answer_of(overloaded_only()[:-1], Limits(75 * NS), TIGHT)
    assert answer.goodput is not None
    assert not answer.goodput.settled
    assert "is not settled: between 0 and 3" in answer.problem
    assert "longer --budget" in answer.problem
    assert "The SLO holds" not in telling.sentences(answer, "")
    told = telling.rates(answer, [])["max_goodput_rate"]
    assert told["value"] is None
    assert told["low"] == 0
    assert 35 <= told["high"] < 40


def test_what_fell_behind_bounds_the_next_look() -> None:
    """Each step down is from the lowest rate that fell behind, not to the middle of nowhere."""
    *made, (probe, _) = overloaded_only()
    asking = search(Limits(75 * NS), TIGHT)
    assert next(asking) == made[0][0]
    for _, judged in made:
        probe = asking.send(judged)
    behind = replace(made[-1][1], duration_ns=4 * NS)
    lower = asking.send(behind)
    assert lower.level == pytest.approx(0.75 * probe.level, rel=0.03)


def client_limit(most: float) -> object:
    return lambda probe: "lag" if probe.kind is Kind.OPEN and probe.level > most else ""


def test_a_client_that_cannot_saturate_the_server_says_so() -> None:
    """Above 30 req/s it is the client; the server could do 50."""
    answer, made = drive(md1(), Limits(10 * MINUTE), 1, blame=client_limit(30.0))  # type: ignore[arg-type]
    assert "This client could not saturate the server" in answer.problem
    assert answer.stable is not None
    assert 15 < answer.stable.value <= 30
    assert answer.stable.high is None
    assert any(j.problem for _, j in made)


def test_probes_of_a_limited_client_never_count() -> None:
    _, made = drive(md1(), Limits(10 * MINUTE), 1)
    limits = Limits(10 * MINUTE)
    with_blamed = [*made]
    worst = max(range(len(made)), key=lambda k: made[k][0].level if made[k][0].kind is Kind.OPEN else 0)
    probe, judged = with_blamed[worst]
    with_blamed[worst] = probe, replace(judged, problem="lag")
    assert not with_blamed[worst][1].counts
    answer = answer_of(with_blamed[: worst + 1], limits)
    assert answer.stable is None or answer.stable.high is None


def slow(service_s: float) -> Station:
    one = np.ones
    return Station("slow", lambda rng, n: (service_s * one(n), service_s * one(n), one(n), one(n)), 1 / service_s)


def test_nothing_completes() -> None:
    answer, made = drive(slow(1e5), Limits(MINUTE), 1)
    assert answer.problem.startswith("Nothing completed in")
    assert answer.stable is None
    assert sum(judged.duration_ns for _, judged in made) < MINUTE / 2  # and not all of the budget is spent on it


def test_too_little_completes() -> None:
    answer, _ = drive(slow(3.0), Limits(MINUTE), 1)
    assert "requests completed in" in answer.problem
    assert "longer --budget" in answer.problem


def test_all_fail() -> None:
    judged = Judged(requests=50, completed=0, failed=50, duration_ns=15 * NS, start_ns=4 * NS, end_ns=15 * NS)
    asking = search(Limits(MINUTE))
    next(asking)
    with pytest.raises(StopIteration) as end:
        asking.send(judged)
    assert end.value.value.problem == "Nothing completed: all 50 requests that ended had failed."


def test_a_server_that_collapses_when_its_queue_grows() -> None:
    """It sustains nearly 50 req/s while few wait, and completes 25 when 40 do: the overload is not the answer."""
    server = replace(md1(), slows=lambda waiting: 1.0 if waiting < 40 else 2.0)
    answer, _ = drive(server, Limits(20 * MINUTE), 1)
    assert any("collapses" in each for each in answer.notes)
    assert answer.stable is not None
    assert answer.stable.value > 40
    assert answer.stable.method.startswith("between")


def test_no_overload_lasts_until_its_queue_is_more_than_the_client_can_hold() -> None:
    limits = Limits(10 * MINUTE, in_flight_max=64)
    _, made = drive(mm1(), limits, 1)
    beyond = [(p, j) for p, j in made if p.purpose is Purpose.BEYOND]
    assert beyond
    for probe, judged in beyond:
        assert (probe.level - 50) * judged.duration_ns / NS < 2 * 64


def test_the_budget_is_kept() -> None:
    servers: list[Server] = [mm1(), s2l()]
    for server in servers:
        _, made = drive(server, Limits(3 * MINUTE), 1, parse_slo("ttft_p99=1s"))
        assert sum(judged.duration_ns for _, judged in made) <= 1.25 * 3 * MINUTE
