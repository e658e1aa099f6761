"""The issuer for plans in which a request waits for others: the turns of a conversation, an agent and its sub-agents.

A request goes at its due time, or when the last of those that it follows has ended and its think time is over: at the
later of the two. One that waits lets later ones pass. Apart from issuer.py so that plans without sessions pay nothing.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

from loadgen.client.flight import Flight
from loadgen.client.issuer import Issuer


class SessionIssuer(Issuer):
    """As Issuer; `after[i]` is the index that request i follows (−1 for none), `think_ns[i]` its wait after that one,
    `joins` more pairs (request, one that it also follows). What is followed stands earlier in the plan."""

    def __init__(
        self,
        *arguments: Any,
        after: Iterable[int],
        think_ns: Iterable[int],
        joins: Iterable[tuple[int, int]],
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._think_ns = list(think_ns)
        self._followers: defaultdict[int, list[int]] = defaultdict(list)
        self._awaited: dict[int, int] = {}  # request → how many of those that it follows have not ended
        for index, followed in [*((i, a) for i, a in enumerate(after) if a >= 0), *joins]:
            self._followers[followed].append(index)
            self._awaited[index] = self._awaited.get(index, 0) + 1
        self._passed = 0  # requests of the plan whose due time has come
        self._parked: dict[int, bytes] = {}  # due, but what they follow has not ended
        self._free_ns: dict[int, int] = {}  # request → when the last that it follows had ended and it had thought
        self._thinking: list[tuple[int, int, bytes]] = []  # a heap of (when, index, prepared)
        self._queue: deque[tuple[int, int, bytes]] = deque()  # may go: (since when, index, prepared)

    def issue(self) -> None:
        """Send everything that is due, free and allowed; arm the pacer for the next."""
        while not self.through:
            now_ns = self._clock.now_ns()
            if self._stop_ns and now_ns - self._start_ns >= self._stop_ns:
                self.stop()
                return
            while self._thinking and self._thinking[0][0] <= now_ns:
                self._queue.append(heapq.heappop(self._thinking))
            self._admit(now_ns)
            if not self._queue or len(self._in_flight) >= self._cap:
                break
            since_ns, index, prepared = self._queue.popleft()
            due_ns = self._due_ns(index)
            flight = Flight(index, due_ns, prepared)
            flight.issued_ns = now_ns
            self.lag_max_ns = max(self.lag_max_ns, now_ns - since_ns)
            self.issued += 1
            self._in_flight[index] = flight
            self._deadlines.append((now_ns + self._timeout_ns, index))
            self.transport.start(flight)
        waits = [self._thinking[0][0]] if self._thinking else []
        if self._passed < len(self._due) and self._ready:
            waits.append(self._start_ns + self._due_ns(self._passed))
        if waits and not self.through:
            self._wake_at(min(waits))

    def _admit(self, now_ns: int) -> None:
        """Take from the plan whose due time has come."""
        while self._passed < len(self._due):
            due_ns = self._start_ns + self._due_ns(self._passed)
            if now_ns < due_ns:
                return
            if not self._ready:
                self.starved += 1  # `supply` is followed by another `issue`
                return
            index, prepared = self._ready.popleft()
            self.ready_bytes -= len(prepared)
            self._passed += 1
            if self._awaited.get(index):
                self._parked[index] = prepared
            else:
                self._release(index, prepared, max(due_ns, self._free_ns.pop(index, due_ns)), now_ns)

    def _release(self, index: int, prepared: bytes, from_ns: int, now_ns: int) -> None:
        if from_ns > now_ns:
            heapq.heappush(self._thinking, (from_ns, index, prepared))
        else:
            self._queue.append((from_ns, index, prepared))

    def landed(self, flight: Flight) -> None:
        """As of the base; those that follow may go, or begin to think."""
        if flight.index not in self._in_flight:
            return
        super().landed(flight)
        followers = self._followers.pop(flight.index, ())
        for index in followers:
            self._awaited[index] -= 1
            if self._awaited[index]:
                continue
            del self._awaited[index]
            free_ns = flight.done_ns + self._think_ns[index]
            prepared = self._parked.pop(index, None)
            if prepared is None:
                self._free_ns[index] = free_ns  # its due time is still to come
            else:
                self._release(index, prepared, max(free_ns, self._start_ns + self._due_ns(index)), flight.done_ns)
        if followers or self._queue:
            self._wake_at(0)

    def stop(self) -> None:
        """Send no more."""
        super().stop()
        self._parked.clear()
        self._thinking.clear()
        self._queue.clear()
