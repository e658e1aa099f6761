"""The parts of the search, each against what is known of it: counting, intervals, isotonic fit, crossing, knee."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from queues import NS

from loadgen.analysis.attainment import attainments
from loadgen.analysis.isotonic import crossing, isotonic
from loadgen.analysis.observed import Observed, arrived, progressed
from loadgen.analysis.returning import Stretches, returns
from loadgen.analysis.sequential import FINE, Interval, batch_mean, pooled, stability
from loadgen.analysis.slo import parse_slo
from loadgen.search.estimates import Rate, capacity, peak_tokens
from loadgen.search.filling import renewed_ns
from loadgen.search.knee import knee
from loadgen.search.probe import Judged, Kind, Probe, Purpose, Workload, is_enough, judge
from loadgen.search.search import Limits, answer_of
from loadgen.search.within import goodput

FOUND = Rate(50.0, 49.5, 50.5, "known")


def observed(starts: np.ndarray, firsts: np.ndarray, lasts: np.ndarray) -> Observed:
    ones = np.ones(len(starts))
    return Observed(starts * NS, firsts * NS, lasts * NS, ones, ones, ones, np.zeros(len(starts), bool), 1e30)


gaps_ms = st.lists(st.integers(0, 10_000), min_size=3, max_size=3)
requests = st.lists(gaps_ms.map(lambda gaps: np.cumsum(gaps) / 1000), min_size=1, max_size=30)


@given(requests, st.floats(1, 40))
def test_counting_is_additive_in_time(rows: list[np.ndarray], until: float) -> None:
    """And an earlier look sees the same past."""
    starts, firsts, lasts = np.array(sorted(rows, key=lambda row: float(row[0]))).T
    whole = observed(starts, firsts, lasts)
    edges_ns = np.array([-1.0, until / 2, until]) * NS
    then = whole.upto(until * NS)
    early = progressed(then, edges_ns, np.ones(len(then)))
    assert early == pytest.approx(progressed(whole, edges_ns, np.ones(len(whole))), abs=1e-6)
    all_of_it = progressed(whole, np.array([-1.0, until, 1e3]) * NS, np.ones(len(whole)))
    assert all_of_it.sum() == pytest.approx(len(whole))
    assert arrived(whole, edges_ns).sum() == len(then) or (starts == until).any()


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.1, 10)), min_size=1, max_size=20))
def test_the_isotonic_fit_rises_and_keeps_the_mean(pairs: list[tuple[float, float]]) -> None:
    values, weights = np.array(pairs).T
    fitted = isotonic(values, weights)
    assert (np.diff(fitted) >= -1e-12).all()
    assert fitted @ weights == pytest.approx(values @ weights, abs=1e-9)
    assert isotonic(np.sort(values), weights) == pytest.approx(np.sort(values))


def test_a_crossing_lies_between_its_neighbours() -> None:
    at = np.array([1.0, 2.0, 8.0])
    assert crossing(at, np.array([-1.0, -1.0, 1.0]), 0.0) == pytest.approx(4.0)  # halfway, in the logarithm
    assert crossing(at, np.array([1.0, 1.0, 1.0]), 0.0) == -math.inf
    assert crossing(at, np.array([-1.0, -1.0, -1.0]), 0.0) is None


@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_an_interval_holds_the_mean_of_what_resembles_its_neighbours(memory: float) -> None:
    """AR(1) between fine batches: 95 % of intervals hold 0, or more."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        series = rng.standard_normal(FINE + 20)
        for k in range(1, len(series)):
            series[k] += memory * series[k - 1]
        each = batch_mean(series[20:])
        held += each.low <= 0 <= each.high
    assert held >= 0.93 * 400 if not memory else held >= 0.85 * 400


@pytest.mark.parametrize(("memory", "least"), [(0.0, 0.94), (0.8, 0.88)])
def test_what_wanders_is_known_worse(memory: float, least: float) -> None:
    """A speed that stays high or low for a fifth of the window: batches alone hold the mean in 65 %."""
    rng = np.random.default_rng(1)
    held, naive = 0, 0
    for _ in range(400):
        series = rng.standard_normal(FINE + 40)
        for k in range(1, len(series)):
            series[k] += memory * series[k - 1]
        told, plain = batch_mean(series[40:], wanders=True), batch_mean(series[40:])
        assert told.half() >= plain.half()
        held += told.low <= 0 <= told.high
        naive += plain.low <= 0 <= plain.high
    assert held >= least * 400
    assert held > naive + 40 or not memory


def test_luck_with_lengths_is_set_off() -> None:
    rng = np.random.default_rng(1)
    luck = rng.standard_normal(FINE)
    fine = 10 - 3 * luck + 0.01 * rng.standard_normal(FINE)
    plain, set_off = batch_mean(fine), batch_mean(fine, luck[:, None])
    assert abs(set_off.value - 10) < 0.02
    assert set_off.error < plain.error / 50


def test_pooling_weighs_by_time_and_never_by_luck() -> None:
    both = pooled([Interval(10, 1, 10), Interval(20, 1, 10)], [3, 1])
    assert both.value == pytest.approx(12.5)
    assert both.error == pytest.approx(math.sqrt(9 + 1) / 4)


def test_a_verdict_waits_until_it_is_certain() -> None:
    assert stability(Interval(0.0, 0.001, 23)) == "stable"
    assert stability(Interval(0.09, 0.01, 23)) == "unstable"
    assert stability(Interval(0.02, 0.03, 23)) == "unresolved"


def stretches(
    rng: np.random.Generator, back: float, load: float, count: int = 24, begins: float = 20.0, spread: float = 1.0
) -> Stretches:
    """What arrives in a stretch of time, 20 on average, and what a server completes: a share of what is in it, and no
    more than it can, which luck with lengths changes by `spread`.
    """
    arrivals, served, level = rng.poisson(20.0, count).astype(float), np.empty(count), begins
    luck = spread * rng.standard_normal(count)
    for k in range(count):
        can = 20 / load + luck[k]
        served[k] = min(back * (level + arrivals[k]) + rng.standard_normal(), can)
        level += arrivals[k] - served[k]
    return Stretches(arrivals, served, -luck, 20.0, turns=24.0)


@pytest.mark.parametrize(("back", "load", "least", "most"), [(0.5, 0.5, 0.6, 1.0), (1.0, 1.1, 0.0, 0.005)])
def test_a_backlog_returns_where_the_server_keeps_up(back: float, load: float, least: float, most: float) -> None:
    rng = np.random.default_rng(1)
    said = [returns(stretches(rng, back, load)) for _ in range(1000)]
    assert least <= np.mean(said) <= most


def test_a_batch_that_fills_is_not_a_backlog_that_returns() -> None:
    """It completes more while more is in it, until it is full: then 10 % less than comes."""
    rng = np.random.default_rng(1)
    said = [returns(stretches(rng, 0.15, 1.1, begins=0.0)) for _ in range(1000)]
    assert np.mean(said) <= 0.005


def test_luck_with_lengths_is_not_capacity() -> None:
    """8 % overload, and answers that are shorter than usual for a while, then longer: set off, it hardly deceives."""
    rng = np.random.default_rng(2)
    told, untold = 0, 0
    for _ in range(3000):
        luck = 4 * rng.standard_normal(24)
        for k in range(1, 24):
            luck[k] = 0.8 * luck[k - 1] + 0.6 * luck[k]
        served = 20 / 1.08 + luck + 0.2 * rng.standard_normal(24)
        seen = Stretches(rng.poisson(20.0, 24).astype(float), served, luck, 20.0, 24.0)
        told += returns(seen)
        untold += returns(replace(seen, luck=np.zeros(24)))
    assert told <= 0.003 * 3000
    assert told < untold


def test_a_backlog_needs_time_to_return() -> None:
    """Long answers, far below what an overload completed: the drift is known before the trend is, but not in a window
    as short as a few of them.
    """
    rng = np.random.default_rng(1)
    usual = [stretches(rng, 0.2, 0.5, begins=80.0) for _ in range(300)]
    share = [np.mean([returns(replace(each, far=far, turns=turns)) for each in usual]) for far, turns in SHORT]
    assert share[0] == share[1] < 0.15  # the trend alone
    assert share[1] < share[2] < share[3]
    assert share[3] > 0.5


SHORT = ((False, 3.0), (True, 3.0), (False, 24.0), (True, 24.0))


@pytest.mark.parametrize(("back", "begins"), [(1.0, 20.0), (0.15, 0.0)])
def test_an_overload_never_returns_however_little_is_asked_of_it(back: float, begins: float) -> None:
    rng = np.random.default_rng(1)
    assert sum(returns(replace(stretches(rng, back, 1.15, begins=begins), far=True)) for _ in range(1000)) <= 5


def test_what_did_not_come_is_not_kept_up_with() -> None:
    """The same stretches, and a rate that asked for a third more of them: nothing is known of that."""
    rng = np.random.default_rng(1)
    seen = stretches(rng, 0.5, 0.5)
    assert returns(seen)
    assert not returns(replace(seen, expected=1.33 * seen.expected))
    assert not returns(Stretches(np.full(24, 20.0), seen.served, seen.luck, 20.0, 24.0))


@pytest.mark.parametrize(("stuck", "law"), [(0, 1.0), (4, 2.0)])
def test_littles_law_is_checked(stuck: int, law: float) -> None:
    """Eight in flight, 0.8 s each, of which some never end: the window is not what the throughput says it is."""
    lanes = [np.arange(k / 10, 60, 0.8) for k in range(8 - stuck)]
    starts = np.sort(np.concatenate([*lanes, np.zeros(stuck)]))
    ends = np.where(np.arange(len(starts)) < stuck, 1e6, starts + 0.8)
    probe = Probe(Kind.CLOSED, 8, Purpose.LADDER, 2 * NS, 60 * NS, width=0.2)
    told = judge(probe, observed(starts, ends, ends).upto(60 * NS), Workload(1.0, 1.0))
    assert told.littles == pytest.approx(law, abs=0.05)
    assert bool(told.unsteady) is bool(stuck)
    assert is_enough(probe, told) is not bool(stuck)


def test_an_overload_is_judged_when_those_that_filled_the_batch_are_gone() -> None:
    """Eight slots, full after 2 s; answers of 100 tokens take 4 s, so that all is renewed after some 6 s."""
    starts = np.sort(np.concatenate([np.arange(0.25 * k, 40, 4.0) for k in range(1, 9)]))
    ones = np.ones(len(starts))
    done = starts + 4.0 <= 40
    seen = Observed(
        starts * NS,
        starts * NS,
        np.where(done, starts + 4.0, np.nan) * NS,
        np.where(done, 1.0, (40 - starts) / 4),
        ones,
        100 * ones,
        np.zeros(len(starts), bool),
        40 * NS,
    )
    assert renewed_ns(seen) == pytest.approx(6 * NS, rel=0.1)
    at_once = replace(seen, first_ns=seen.last_ns)
    assert renewed_ns(at_once) == 0.0  # answers in one piece show no batch


@pytest.mark.parametrize(
    ("deficit", "seconds", "enough"),
    [
        (Interval(0.01, 0.03, 20), 4, True),  # no overload, for certain: go higher
        (Interval(0.12, 0.03, 20), 60, False),  # it may be one
        (Interval(0.23, 0.01, 20), 4, False),  # known closely, but from a few seconds
        (Interval(0.23, 0.01, 20), 20, True),
    ],
)
def test_an_overload_lasts_until_its_throughput_may_be_believed(
    deficit: Interval, seconds: float, enough: bool
) -> None:
    probe = Probe(Kind.OPEN, 65, Purpose.BEYOND, 2 * NS, 90 * NS, width=0.04, decide=True, steady_ns=15 * NS)
    verdict = "unstable" if deficit.value > 0.2 else "unresolved"
    told = Judged(900, 800, 0, seconds * NS, NS, seconds * NS, Interval(50, 0.1, 20), None, deficit, verdict=verdict)
    assert is_enough(probe, told) is enough


@pytest.mark.parametrize(
    ("throughput", "enough"), [(Interval(100.0, 3.0, 20), False), (Interval(120.0, 3.0, 20), True), (None, True)]
)
def test_a_rung_ends_when_growth_is_certain_or_nothing_can_be_seen(throughput: Interval | None, enough: bool) -> None:
    probe = Probe(Kind.CLOSED, 4, Purpose.LADDER, 2 * NS, 10 * NS, against=101.0)
    told = Judged(8, 4, 0, 4 * NS, NS, 4 * NS, throughput=throughput, littles=1.0)
    assert is_enough(probe, told) is enough


def line(level: float, latency_s: float, **changes: object) -> tuple[Probe, Judged]:
    probe = Probe(Kind.OPEN, level, Purpose.INSIDE, 2 * NS, 60 * NS)
    rate = Interval(level, 0.001 * level, 20)
    latency = Interval(latency_s, 0.002 * latency_s, 20)
    told = {"throughput": rate, "tokens": rate, "deficit": Interval(0, 0.001, 20), "verdict": "stable"} | changes
    return probe, Judged(1000, 1000, 0, 60 * NS, 15 * NS, 60 * NS, latency_s=latency, **told)  # type: ignore[arg-type]


def test_the_knee_of_one_server_is_at_half_its_capacity() -> None:
    single = Probe(Kind.CLOSED, 1, Purpose.LADDER, 2 * NS, 60 * NS), line(1, 0.02, verdict="")[1]
    made = [single, *(line(50 * load, 0.02 / (1 - load)) for load in (0.3, 0.5, 0.65, 0.8))]
    found = knee(made, FOUND)
    assert found is not None
    assert found.value == pytest.approx(25, rel=0.03)
    assert knee(made[:3], FOUND) is None


def test_the_crossing_of_an_slo_lies_where_the_probes_say() -> None:
    """Exact shares of M/M/1 at five rates: P(T > t) = exp(−(µ − λ)·t), p99 of 300 ms."""
    slo, truth = parse_slo("e2el_p99=300ms"), 50 - math.log(100) / 0.3
    made = []
    for load in (0.4, 0.6, 0.7, 0.8):
        rate, n = 50 * load, 20_000
        shares = (np.arange(n) + 0.5) / n
        latency = -np.log(1 - shares) / (50 - rate)
        starts = np.arange(n) / rate
        ends = starts + np.random.default_rng(int(rate)).permutation(latency)
        seen = observed(starts, ends, ends).upto(1e6 * NS)
        told = attainments(slo, seen, np.ones(n, bool))
        if abs(rate / truth - 1) > 0.05:
            assert told[0].verdict == ("missed" if rate > truth else "met")
        made.append(line(rate, 0.1, slo=told))
    found = goodput(made, FOUND)
    assert found is not None
    assert found.value == pytest.approx(truth, rel=0.02)
    assert found.low is not None
    assert found.high is not None
    assert found.low < truth < found.high


def test_what_runs_beyond_its_limit_is_missed_before_it_ends() -> None:
    starts = np.linspace(0, 9, 200)
    seen = observed(starts, np.full(200, 100.0), np.full(200, 100.0)).upto(10 * NS)
    told = attainments(parse_slo("ttft<500ms@90%"), seen, np.ones(200, bool))
    assert told[0].verdict == "missed"


def test_a_stable_probe_bounds_the_capacity_from_below() -> None:
    over = line(65, 1.0, verdict="unstable", throughput=Interval(50, 1.0, 20), deficit=Interval(0.2, 0.01, 20))
    low = capacity([over])
    held = capacity([over, line(49.9, 0.1)])
    assert low is not None
    assert held is not None
    assert low.low is not None
    assert held.low is not None
    assert low.low < 48.5 < 49 < held.low <= held.value == low.value
    assert capacity([]) is None
    assert peak_tokens([]) is None


def test_overloads_that_do_not_agree_are_both_in_the_interval() -> None:
    """As a server on two cores did: 53.6 req/s in one overload, 24.1 in another."""
    fast = line(70, 1.0, verdict="unstable", throughput=Interval(53.6, 1.0, 20), deficit=Interval(0.2, 0.01, 20))
    slow = line(65, 1.0, verdict="unstable", throughput=Interval(24.1, 1.0, 20), deficit=Interval(0.6, 0.01, 20))
    one, both = capacity([fast]), capacity([fast, slow])
    assert one is not None
    assert both is not None
    assert one.low is not None
    assert one.low > 51
    assert both.low is not None
    assert both.high is not None
    assert both.low < 24.1 < 53.6 < both.high
    held = capacity([fast, slow, line(30, 0.1)])
    assert held is not None
    assert held.low == both.low  # it held 30 once, and once it did not
    told = answer_of([fast, slow], Limits(300 * NS))
    assert told.stable == both
    assert "between 24.1 and 53.6 req/s" in " ".join(told.notes)


def test_one_probe_never_knows_a_machine_to_a_permille() -> None:
    exact = line(65, 1.0, verdict="unstable", throughput=Interval(50, 0.001, 20), deficit=Interval(0.2, 0.01, 20))
    alone, often = capacity([exact]), capacity(4 * [exact])
    assert alone is not None
    assert often is not None
    assert 0.008 * 50 < alone.half < 0.015 * 50
    assert often.half < 0.6 * alone.half


def test_the_budget_that_is_missing_is_said() -> None:
    """Two unresolved probes of 38 s, answers of 3.4 s: one of 76 s is a fifth of 380 s."""
    over = line(56, 5.5, verdict="unstable", throughput=Interval(27, 0.3, 20), deficit=Interval(0.5, 0.01, 20))
    below = [line(rate, 3.4, verdict="unresolved") for rate in (21.6, 13.5)]
    below = [(probe, replace(judged, duration_ns=38 * NS)) for probe, judged in below]
    told = answer_of([over, *below], Limits(190 * NS)).problem
    assert "No rate was certainly stable, down to 13.5 req/s" in told
    assert "--budget 380s should settle it" in told


def test_a_rate_that_did_not_hold_twice_steps_the_answer_back() -> None:
    over = line(65, 1.0, verdict="unstable", throughput=Interval(50, 0.5, 20), deficit=Interval(0.2, 0.01, 20))
    failed = line(47, 1.0, verdict="unstable", throughput=Interval(45, 0.5, 20), deficit=Interval(0.05, 0.01, 20))
    once = capacity([over, line(44, 0.1), failed])
    assert once is not None
    assert once.value == 50  # one run in some hundred fails by chance
    twice = capacity([over, line(44, 0.1), failed, failed])
    assert twice is not None
    assert twice.method.startswith("between")
    assert (twice.low, twice.high) == (44, 47)
    assert 44 < twice.value < 47
    held = capacity([over, failed, failed, line(48, 0.1)])
    assert held is not None
    assert held.value == 50  # a higher rate held
