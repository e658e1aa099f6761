"""Lets requests go: at their due time, in order, under the in-flight cap; open loop, closed loop and both are one rule.

A request is never dropped, never moved: what cannot go at its due time goes as soon as it can, and its lag is recorded.
Sans-IO but for the clock and the transport it is given, so that tests drive it with a virtual clock.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from loadgen.client.flight import Flight
from loadgen.client.transport import Transport
from loadgen.clock import Clock
from loadgen.exchange import Outcome


class Issuer:
    """Owns what is due and what is in flight.

    `wake_at(ns)` is called with the next moment at which `issue` has something to do; `landed(flight)` with every
    flight that has ended.
    """

    def __init__(
        self,
        due_ns: Sequence[int],
        start_ns: int,
        timeout_ns: int,
        clock: Clock,
        wake_at: Callable[[int], None],
        landed: Callable[[Flight], None],
        in_flight_max: int = 0,
        stop_ns: int = 0,
        barriers: Iterable[int] = (),
    ) -> None:
        self._due = due_ns
        self._cap = in_flight_max or (1 << 62)
        self._stop_ns = stop_ns
        self._barriers = frozenset(barriers)  # of the plan: these wait until nothing is in flight
        self._start_ns = self._begun_ns = start_ns  # `_begun_ns`: when the last barrier fell
        self._closed = in_flight_max > 0 and len(due_ns) > 1 and due_ns[0] == due_ns[-1]
        self._freed_ns: deque[int] = deque(maxlen=in_flight_max)  # ends whose slots nobody has taken yet
        self._timeout_ns = timeout_ns
        self._clock = clock
        self._wake_at = wake_at
        self._report = landed
        self._ready: deque[tuple[int, bytes]] = deque()  # (index, prepared bytes), in the order of the plan
        self._in_flight: dict[int, Flight] = {}
        self._deadlines: deque[tuple[int, int]] = deque()  # (deadline, index) in issue order, for time-outs
        self._stopped = False
        self._ended_ns = start_ns  # the last end
        self.transport: Transport
        self.ready_bytes = 0
        self.issued = 0
        self.completed = 0
        self.lag_max_ns = 0
        self.starved = 0  # wake-ups at which a request was due and its body had not come yet

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def ready(self) -> int:
        """Requests that wait here with their bytes prepared."""
        return len(self._ready)

    @property
    def through(self) -> bool:
        """Nothing more will be issued."""
        return self._stopped or self.issued == len(self._due)

    def _due_ns(self, index: int) -> int:
        return self._due[index]

    def supply(self, index: int, prepared: bytes) -> None:
        """The bytes of the next request of the plan."""
        self._ready.append((index, prepared))
        self.ready_bytes += len(prepared)

    def issue(self) -> None:
        """Send everything that is due and allowed; arm the pacer for the next."""
        stop_ns = self._stop_ns
        while not self.through and len(self._in_flight) < self._cap:
            due_ns = self._due_ns(self.issued)
            now_ns = self._clock.now_ns()
            if stop_ns and now_ns - self._start_ns >= stop_ns:
                self.stop()
                return
            if self.issued in self._barriers:
                if self._in_flight:
                    return  # the last to land wakes us
                self._begun_ns = max(self._begun_ns, self._ended_ns)
            if now_ns < self._start_ns + due_ns:
                self._wake_at(self._start_ns + due_ns)
                return
            if not self._ready:
                self.starved += 1  # `supply` is followed by another `issue`
                return
            index, prepared = self._ready.popleft()
            self.ready_bytes -= len(prepared)
            flight = Flight(index, due_ns, prepared)
            flight.issued_ns = now_ns
            self.lag_max_ns = max(self.lag_max_ns, now_ns - self._free_since_ns(due_ns, now_ns))
            self.issued += 1
            self._in_flight[index] = flight
            self._deadlines.append((now_ns + self._timeout_ns, index))
            self.transport.start(flight)

    def _free_since_ns(self, due_ns: int, now_ns: int) -> int:
        """Since when only we hold back the next request: its due time, the last barrier's fall, its slot's last end.

        The first ones of a closed loop have none of these: they go as fast as they can, and their going is their due.
        """
        if self.issued >= self._cap:
            return max(self._start_ns + due_ns, self._begun_ns, self._freed_ns.popleft())
        return now_ns if self._closed else max(self._start_ns + due_ns, self._begun_ns)

    def landed(self, flight: Flight) -> None:
        """The transport is through with a flight; a closed loop sends the next one."""
        if self._in_flight.pop(flight.index, None) is None:
            return  # timed out or cancelled before
        flight.done_ns = self._ended_ns = self._clock.now_ns()
        self._freed_ns.append(flight.done_ns)
        self.completed += 1
        self._report(flight)
        if len(self._in_flight) == self._cap - 1 or (self._barriers and not self._in_flight):
            self._wake_at(0)

    def expire(self) -> None:
        """End the flights that have passed their time-out; called every tick."""
        now_ns = self._clock.now_ns()
        deadlines = self._deadlines
        while deadlines and (deadlines[0][1] not in self._in_flight or deadlines[0][0] <= now_ns):
            flight = self._in_flight.get(deadlines.popleft()[1])
            if flight is not None:
                self._cut(flight, Outcome.TIMEOUT, f"no end of the answer after {self._timeout_ns / 1e9:g} s")

    def stop(self) -> None:
        """Send no more."""
        self._stopped = True
        self._ready.clear()
        self.ready_bytes = 0

    def cancel_all(self) -> None:
        """End what is still running, as censored: how long it would have taken nobody knows."""
        for flight in list(self._in_flight.values()):
            self._cut(flight, Outcome.CENSORED, "still running when the run ended")

    def _cut(self, flight: Flight, outcome: Outcome, detail: str) -> None:
        self.transport.cancel(flight)
        flight.outcome, flight.detail = outcome, detail
        self.landed(flight)

    def running(self) -> list[Flight]:
        return list(self._in_flight.values())
