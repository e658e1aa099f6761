"""Sessions on virtual time: a request goes when it is due and when what it follows has ended and been thought about."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.client.flight import Flight
from loadgen.client.sessions import SessionIssuer
from loadgen.client.transport import Counters
from loadgen.clock import VirtualClock
from loadgen.exchange import Outcome

START_NS = 1_000_000
NEVER = 1 << 62


@dataclass
class World:
    """An issuer, a timer and a server that answers request i after `service_ns[i]`, all on one virtual clock."""

    due_ns: list[int]
    after: list[int]
    think_ns: list[int]
    service_ns: list[int]
    joins: list[tuple[int, int]] = field(default_factory=list)
    cap: int = 0
    stop_ns: int = 0
    counters: Counters = field(default_factory=Counters)
    started: dict[int, int] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)
    in_flight_max: int = 0

    def __post_init__(self) -> None:
        self.clock = VirtualClock(START_NS)
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._flying: dict[int, Flight] = {}
        self._armed: int | None = None
        self.issuer = SessionIssuer(
            np.array(self.due_ns, np.int64),
            START_NS,
            NEVER,
            self.clock,
            self._arm,
            lambda flight: None,
            in_flight_max=self.cap,
            stop_ns=self.stop_ns,
            after=self.after,
            think_ns=self.think_ns,
            joins=self.joins,
        )
        self.issuer.transport = self

    def _arm(self, at_ns: int) -> None:
        self._armed = max(at_ns, self.clock.now_ns())

    def prepare(self, index: int, body: bytes) -> bytes:
        return body

    def start(self, flight: Flight) -> None:
        assert flight.wire == b"%d" % flight.index
        assert flight.index not in self.started
        self.started[flight.index] = self.clock.now_ns() - START_NS
        self._flying[flight.index] = flight
        self.in_flight_max = max(self.in_flight_max, len(self._flying))
        at_ns = self.clock.now_ns() + self.service_ns[flight.index]
        heapq.heappush(self._events, (at_ns, flight.index, lambda: self._land(flight)))

    def _land(self, flight: Flight) -> None:
        del self._flying[flight.index]
        flight.outcome = Outcome.OK
        self.ended[flight.index] = self.clock.now_ns() - START_NS
        self.issuer.landed(flight)

    def cancel(self, flight: Flight) -> None:
        raise AssertionError("nothing is cancelled here")

    def tick(self, elapsed_ns: int) -> None:
        raise AssertionError("the issuer has no business with the beat")

    async def close(self) -> None:
        raise AssertionError("the issuer has no business with the end")

    def run(self) -> "World":
        for index in range(len(self.due_ns)):
            self.issuer.supply(index, b"%d" % index)
        self.issuer.issue()
        while self._events or self._armed is not None:
            event_ns = self._events[0][0] if self._events else NEVER
            if self._armed is not None and self._armed <= event_ns:
                self.clock.advance(max(0, self._armed - self.clock.now_ns()))
                self._armed = None
                self.issuer.issue()
            else:
                self.clock.advance(event_ns - self.clock.now_ns())
                heapq.heappop(self._events)[2]()
        return self


@st.composite
def worlds(draw: st.DrawFn) -> World:
    n = draw(st.integers(1, 25))
    due_ns = sorted(draw(st.lists(st.integers(0, 100), min_size=n, max_size=n)))
    after = [draw(st.integers(-1, i - 1)) for i in range(n)]
    think_ns = draw(st.lists(st.integers(0, 40), min_size=n, max_size=n))
    service_ns = draw(st.lists(st.integers(1, 60), min_size=n, max_size=n))
    pairs = draw(st.sets(st.tuples(st.integers(1, max(1, n - 1)), st.integers(0, n - 1)), max_size=5))
    joins = [(i, followed) for i, followed in sorted(pairs) if followed < i < n and after[i] not in (-1, followed)]
    return World(due_ns, after, think_ns, service_ns, joins)


@settings(max_examples=300)
@given(worlds())
def test_every_request_goes_when_it_is_due_and_free(world: World) -> None:
    world.run()
    assert len(world.started) == len(world.due_ns)
    for index, due_ns in enumerate(world.due_ns):
        follows = [world.after[index]] if world.after[index] >= 0 else []
        follows += [followed for i, followed in world.joins if i == index]
        free_ns = max(world.ended[each] for each in follows) + world.think_ns[index] if follows else 0
        assert world.started[index] == max(due_ns, free_ns)
    assert world.issuer.through
    assert world.issuer.lag_max_ns == 0


@given(worlds(), st.integers(1, 3))
def test_a_cap_delays_and_loses_nothing(world: World, cap: int) -> None:
    capped = World(world.due_ns, world.after, world.think_ns, world.service_ns, world.joins, cap=cap).run()
    assert sorted(capped.ended) == list(range(len(world.due_ns)))
    assert capped.in_flight_max <= cap


def test_one_that_waits_lets_later_ones_pass() -> None:
    world = World([0, 10, 20], [-1, 0, -1], [0, 5, 0], [100, 1, 1]).run()
    assert world.started == {0: 0, 1: 105, 2: 20}


def test_nothing_goes_after_the_stop() -> None:
    world = World([0, 10], [-1, 0], [0, 0], [100, 1], stop_ns=50).run()
    assert world.started == {0: 0}
    assert world.issuer.through
