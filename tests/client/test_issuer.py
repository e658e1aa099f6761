"""The issuer on virtual time: everything due goes once, in order, never early, and as soon as it may."""

from array import array
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.client.flight import Flight
from loadgen.client.issuer import Issuer
from loadgen.client.transport import Counters
from loadgen.clock import VirtualClock
from loadgen.exchange import Outcome

START_NS = 1_000_000
NEVER = 1 << 62


@dataclass
class Bench:
    """An issuer with a clock in the test's hand, a timer that fires when the clock gets there, and a transport that
    notes what it is given and lands what it is told to."""

    due_ns: list[int]
    cap: int = 0
    stop_ns: int = 0
    timeout_ns: int = NEVER
    barriers: tuple[int, ...] = ()
    counters: Counters = field(default_factory=Counters)
    clock: VirtualClock = field(default_factory=lambda: VirtualClock(START_NS))
    started: list[tuple[int, int]] = field(default_factory=list)  # (index, when on the run's clock)
    landed: list[Flight] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    flying: dict[int, Flight] = field(default_factory=dict)
    armed_ns: int = -1

    def __post_init__(self) -> None:
        self.issuer = Issuer(
            array("q", self.due_ns),
            START_NS,
            self.timeout_ns,
            self.clock,
            self._arm,
            self.landed.append,
            self.cap,
            self.stop_ns,
            self.barriers,
        )
        self.issuer.transport = self

    def _arm(self, ns: int) -> None:
        self.armed_ns = ns

    def supply(self, *indices: int) -> None:
        for index in indices:
            self.issuer.supply(index, b"%d" % index)

    def supply_all(self) -> None:
        self.supply(*range(len(self.due_ns)))

    @property
    def now_ns(self) -> int:
        return self.clock.now_ns() - START_NS

    def advance_to(self, ns: int) -> None:
        """Move the clock, firing the timer where it stands."""
        while 0 <= self.armed_ns <= START_NS + ns:
            self.clock.advance(max(0, self.armed_ns - self.clock.now_ns()))
            self.armed_ns = -1
            self.issuer.issue()
        self.clock.advance(START_NS + ns - self.clock.now_ns())

    # The transport's side.
    def prepare(self, index: int, body: bytes) -> bytes:
        return body

    def start(self, flight: Flight) -> None:
        assert flight.wire == b"%d" % flight.index
        self.started.append((flight.index, self.now_ns))
        self.flying[flight.index] = flight

    def land(self, index: int) -> None:
        flight = self.flying.pop(index)
        flight.outcome = Outcome.OK
        self.issuer.landed(flight)

    def cancel(self, flight: Flight) -> None:
        self.cancelled.append(flight.index)
        self.flying.pop(flight.index)

    def tick(self, elapsed_ns: int) -> None:
        raise AssertionError("the issuer has no business with the beat")

    async def close(self) -> None:
        raise AssertionError("the issuer has no business with the end")


def test_open_loop_sends_at_the_due_times_whatever_is_in_flight() -> None:
    bench = Bench([0, 5, 5, 9, 100])
    bench.supply_all()
    bench.issuer.issue()
    assert bench.started == [(0, 0)]
    assert bench.armed_ns == START_NS + 5
    bench.advance_to(1000)
    assert bench.started == [(0, 0), (1, 5), (2, 5), (3, 9), (4, 100)]
    assert (bench.issuer.in_flight, bench.issuer.lag_max_ns, bench.issuer.through) == (5, 0, True)


def test_a_wake_up_before_its_time_sends_nothing_and_arms_again() -> None:
    bench = Bench([50])
    bench.supply_all()
    for now in (0, 20, 49):
        bench.clock.advance(now - bench.now_ns)
        bench.issuer.issue()
        assert (bench.started, bench.armed_ns) == ([], START_NS + 50)
    bench.advance_to(50)
    assert bench.started == [(0, 50)]


def test_a_late_wake_up_sends_all_that_is_due_and_tells_the_lag() -> None:
    bench = Bench([0, 10, 20, 60])
    bench.supply_all()
    bench.clock.advance(30)
    bench.issuer.issue()
    assert bench.started == [(0, 30), (1, 30), (2, 30)]
    assert bench.issuer.lag_max_ns == 30
    assert bench.flying[1].issued_ns == START_NS + 30
    assert bench.flying[1].due_ns == 10


@pytest.mark.parametrize("cap", [1, 2, 7])
def test_closed_loop_keeps_exactly_n_in_flight(cap: int) -> None:
    total = 50
    bench = Bench([0] * total, cap=cap)
    bench.supply_all()
    bench.issuer.issue()
    for ended in range(total):
        assert bench.issuer.in_flight == min(cap, total - ended)
        bench.clock.advance(3)
        bench.land(next(iter(bench.flying)))
        bench.advance_to(bench.now_ns)
    assert [index for index, _ in bench.started] == list(range(total))
    assert (bench.issuer.through, bench.issuer.in_flight, bench.issuer.completed) == (True, 0, total)


@given(st.integers(1, 30), st.sets(st.integers(1, 29)), st.randoms())
def test_a_batch_begins_when_all_before_it_have_landed(total: int, barriers: set[int], random: Any) -> None:
    bench = Bench([0] * total, barriers=tuple(barriers))
    bench.supply_all()
    bench.issuer.issue()
    edges = [0, *sorted(each for each in barriers if each < total), total]
    for first, last in pairwise(edges):
        batch = list(range(first, last))
        assert sorted(bench.flying) == batch
        random.shuffle(batch)
        for index in batch:
            assert len(bench.started) == last
            bench.clock.advance(3)
            bench.land(index)
        bench.advance_to(bench.now_ns)
    assert (bench.issuer.through, bench.issuer.completed) == (True, total)


def test_an_open_loop_under_a_cap_is_late_and_loses_nothing() -> None:
    bench = Bench([0, 10, 20], cap=1)
    bench.supply_all()
    bench.issuer.issue()
    bench.advance_to(25)
    bench.land(0)
    bench.advance_to(31)
    bench.land(1)
    bench.advance_to(31)
    assert bench.started == [(0, 0), (1, 25), (2, 31)]
    assert bench.issuer.lag_max_ns == 0, "the wait for a slot is the cap's doing"


@given(st.integers(1, 6), st.lists(st.integers(0, 9), min_size=1, max_size=40), st.booleans())
def test_under_a_cap_our_lag_counts_from_when_the_slot_came_free(cap: int, lates: list[int], closed: bool) -> None:
    """Answers come in rounds of all that run; after each the timer fires late by a known time."""
    total = cap * (len(lates) + 1)
    bench = Bench([0] * total if closed else [*range(total)], cap=cap)
    bench.supply_all()
    bench.clock.advance(200)  # a start this late is a lag where there are due times, and none in a closed loop
    bench.issuer.issue()
    assert bench.issuer.lag_max_ns == (0 if closed else 200)
    for late in lates:
        bench.issuer.lag_max_ns = 0
        for index in list(bench.flying):
            bench.land(index)
        bench.clock.advance(late)
        bench.issuer.issue()
        assert bench.issuer.lag_max_ns == late


def test_a_batch_is_late_from_the_end_of_the_one_before() -> None:
    bench = Bench([0] * 4, barriers=(2,))
    bench.supply_all()
    bench.issuer.issue()
    for index in (0, 1):
        bench.clock.advance(50)
        bench.land(index)
    bench.clock.advance(7)
    bench.issuer.issue()
    assert [at for _, at in bench.started] == [0, 0, 107, 107]
    assert bench.issuer.lag_max_ns == 7


def test_nothing_is_sent_from_stop_ns_on() -> None:
    bench = Bench([0] * 100, cap=1, stop_ns=30)
    bench.supply_all()
    bench.issuer.issue()
    for now in range(10, 60, 10):
        bench.advance_to(now)
        for index in list(bench.flying):
            bench.land(index)
        bench.advance_to(now)
    assert bench.started == [(0, 0), (1, 10), (2, 20)]
    assert bench.issuer.through
    assert bench.issuer.ready == 0


def test_a_timed_out_flight_ends_once_and_frees_its_place() -> None:
    bench = Bench([0, 0, 0], cap=2, timeout_ns=100)
    bench.supply_all()
    bench.issuer.issue()
    bench.advance_to(40)
    bench.land(0)
    bench.advance_to(40)  # request 2 goes at 40
    late = bench.flying[1]
    bench.advance_to(99)
    bench.issuer.expire()
    assert bench.cancelled == []
    bench.advance_to(100)
    bench.issuer.expire()
    assert bench.cancelled == [1]
    bench.issuer.landed(late)  # a transport that had it on its way already
    assert [(flight.index, flight.outcome) for flight in bench.landed] == [(0, Outcome.OK), (1, Outcome.TIMEOUT)]
    assert late.detail == "no end of the answer after 1e-07 s"
    assert late.done_ns == START_NS + 100
    bench.advance_to(139)
    bench.issuer.expire()
    assert bench.issuer.in_flight == 1
    bench.advance_to(140)
    bench.issuer.expire()
    assert (bench.issuer.in_flight, bench.issuer.completed) == (0, 3)


def test_what_still_runs_at_the_end_is_censored() -> None:
    bench = Bench([0, 0, 50])
    bench.supply_all()
    bench.issuer.issue()
    bench.land(1)
    bench.issuer.stop()
    bench.issuer.cancel_all()
    bench.advance_to(100)
    assert [(flight.index, flight.outcome) for flight in bench.landed] == [(1, Outcome.OK), (0, Outcome.CENSORED)]
    assert [index for index, _ in bench.started] == [0, 1]  # what was not sent has no end either
    assert bench.issuer.through


def test_a_body_that_comes_late_is_sent_when_it_comes_and_counted_as_starvation() -> None:
    bench = Bench([0, 10])
    bench.issuer.issue()
    assert (bench.started, bench.issuer.starved) == ([], 1)
    bench.advance_to(7)
    bench.supply(0)
    bench.issuer.issue()
    assert bench.started == [(0, 7)]
    bench.supply(1)
    bench.advance_to(10)
    assert bench.started == [(0, 7), (1, 10)]
    assert (bench.issuer.starved, bench.issuer.lag_max_ns) == (1, 7)


def test_a_plan_of_nothing_is_through() -> None:
    bench = Bench([])
    bench.issuer.issue()
    assert bench.issuer.through
    assert bench.armed_ns == -1


@given(
    gaps=st.lists(st.integers(0, 20), max_size=40),
    cap=st.integers(0, 5),
    acts=st.lists(st.tuples(st.sampled_from(["land", "supply", "wait", "expire"]), st.integers(0, 30)), max_size=120),
)
def test_everything_due_is_issued_once_in_order_never_early(
    gaps: list[int], cap: int, acts: list[tuple[str, int]]
) -> None:
    due = np.cumsum(gaps, dtype=np.int64).tolist()
    bench = Bench(due, cap=cap, timeout_ns=60)
    supplied = 0
    bench.issuer.issue()
    for act, number in [*acts, ("supply", len(due)), *[("wait", 1000), ("expire", 0)] * (len(due) + 1)]:
        if act == "land" and bench.flying:
            bench.land(list(bench.flying)[number % len(bench.flying)])
        elif act == "supply":
            until = min(len(due), supplied + number)
            bench.supply(*range(supplied, until))
            supplied = until
            bench.issuer.issue()
        elif act == "wait":
            bench.advance_to(bench.now_ns + number)
        else:
            bench.issuer.expire()
        bench.advance_to(bench.now_ns)
        assert bench.issuer.in_flight == len(bench.flying)
        assert not cap or len(bench.flying) <= cap
        sendable = [index for index in range(len(bench.started), supplied) if due[index] <= bench.now_ns]
        assert not sendable or len(bench.flying) == cap, "something could have gone and did not"
    assert [index for index, _ in bench.started] == list(range(len(due)))
    assert all(when >= due[index] for index, when in bench.started)
    assert sorted(flight.index for flight in bench.landed) == list(range(len(due)))
    latest_ns = max((when - due[index] for index, when in bench.started), default=0)
    assert bench.issuer.lag_max_ns <= latest_ns if cap else bench.issuer.lag_max_ns == latest_ns
