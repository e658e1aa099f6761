"""A gateway that lets only so many requests into the engine at a time, as a REST front end with a process each does.

DeepSpeed-MII's forks at most 32 processes; what else has been sent waits in the listen queue of its socket, which the
engine cannot see: its batch never grows beyond the limit, whatever it could take. Apart from the engines because it is
none: it has no timing of its own, and hands on the next request at the instant at which one ends.
"""

from collections import deque

from loadgen.simulator.engine import Engine
from loadgen.simulator.prefix_cache import PrefixCache
from loadgen.simulator.sequence import Sequence, State


class Gateway:
    """An `Engine` in front of another. `queue` requests may wait in front of it, and more are refused; None: any."""

    def __init__(self, engine: Engine, limit: int, queue: int | None = None) -> None:
        self._engine = engine
        self._limit = limit
        self._queue = queue
        self._inside = 0
        self._held: deque[Sequence] = deque()

    @property
    def next_due_ns(self) -> int | None:
        return self._engine.next_due_ns

    @property
    def running(self) -> int:
        return self._engine.running

    @property
    def waiting(self) -> int:
        """In front of the gateway and behind it."""
        return self._engine.waiting + len(self._held)

    @property
    def kv_usage(self) -> float:
        return self._engine.kv_usage

    @property
    def fragmentation(self) -> float:
        return self._engine.fragmentation

    @property
    def preemptions(self) -> int:
        return self._engine.preemptions

    @property
    def step_ns(self) -> int:
        return self._engine.step_ns

    @property
    def prefix_cache(self) -> PrefixCache | None:
        return self._engine.prefix_cache

    def accepts(self, count: int) -> bool:
        places = self._limit - self._inside
        return self._queue is None or len(self._held) + count - places <= self._queue

    def submit(self, sequences: list[Sequence]) -> None:
        self._held.extend(sequences)
        self._let_in(0)

    def abort(self, sequence: Sequence, now_ns: int) -> None:
        if sequence in self._held:
            self._held.remove(sequence)
            sequence.state = State.ABORTED
        elif sequence.state in (State.WAITING, State.RUNNING):
            self._engine.abort(sequence, now_ns)
            self._inside -= 1
            self._let_in(now_ns)

    def advance(self) -> list[Sequence]:
        due_ns = self._engine.next_due_ns
        assert due_ns is not None
        emitted = self._engine.advance()
        ended = sum(sequence.state is State.FINISHED for sequence in emitted)
        if ended:
            self._inside -= ended
            self._let_in(due_ns)
        return emitted

    def _let_in(self, now_ns: int) -> None:
        while self._held and self._inside < self._limit:
            sequence = self._held.popleft()
            self._inside += 1
            sequence.arrival_ns = max(sequence.arrival_ns, now_ns)
            self._engine.submit([sequence])
