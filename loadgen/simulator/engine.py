"""Two engines with one face: a batch that moves in steps, and a fixed timing that tests can rely on to the nanosecond.

Both live on an absolute schedule: a token's due time follows from arrivals and durations alone, never from the moment
when somebody looked. Late looking therefore shows as lateness and does not shift what comes after it. No clock here:
`advance` does the next thing that is due, `next_due_ns` says when that is.
"""

import heapq
from collections import deque
from collections.abc import Callable
from typing import Protocol

from loadgen.simulator.batching import Batch, Step
from loadgen.simulator.prefix_cache import PrefixCache
from loadgen.simulator.sequence import Sequence, State


class Engine(Protocol):
    """What the server drives. The read-outs are what vLLM's metrics of the same meaning show."""

    @property
    def next_due_ns(self) -> int | None: ...  # when the next tokens are due; None when idle
    @property
    def running(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def kv_usage(self) -> float: ...
    @property
    def fragmentation(self) -> float: ...
    @property
    def preemptions(self) -> int: ...
    @property
    def step_ns(self) -> int: ...  # the time between two tokens of a sequence, now
    @property
    def prefix_cache(self) -> PrefixCache | None: ...  # None when every prompt is computed whole

    def accepts(self, count: int) -> bool: ...
    def submit(self, sequences: list[Sequence]) -> None: ...
    def abort(self, sequence: Sequence, now_ns: int) -> None: ...
    def advance(self) -> list[Sequence]: ...  # those that emitted one token each at `next_due_ns`


class SteppedEngine:
    """A `Batch` whose steps follow each other without a gap while there is work; `duration` gives each its ns."""

    def __init__(self, batch: Batch, duration: Callable[[Step], int]) -> None:
        self.batch = batch
        self._duration = duration
        self._step = Step()
        self._free_ns = 0  # the end of the last step
        self.step_ns = 0
        self.next_due_ns: int | None = None

    @property
    def running(self) -> int:
        return self.batch.running

    @property
    def waiting(self) -> int:
        return len(self.batch.waiting)

    @property
    def kv_usage(self) -> float:
        return self.batch.pool.usage

    @property
    def fragmentation(self) -> float:
        return self.batch.fragmentation

    @property
    def preemptions(self) -> int:
        return self.batch.preemptions

    @property
    def prefix_cache(self) -> PrefixCache | None:
        return self.batch.prefix_cache

    def accepts(self, count: int) -> bool:
        return self.batch.accepts(count)

    def submit(self, sequences: list[Sequence]) -> None:
        """Queue them; an idle engine begins a step when they arrived, a busy one sees them at its next step."""
        for sequence in sequences:
            self.batch.submit(sequence)
        if self.next_due_ns is None:
            self._begin(self._free_ns)

    def abort(self, sequence: Sequence, now_ns: int) -> None:  # noqa: ARG002 - a step under way runs to its end
        self.batch.abort(sequence)

    def advance(self) -> list[Sequence]:
        assert self.next_due_ns is not None
        self._free_ns = self.next_due_ns
        emitted = self.batch.finish_step(self._step, self._free_ns)
        self._begin(self._free_ns)
        return emitted

    def _begin(self, at_ns: int) -> None:
        batch = self.batch
        if batch.waiting and not batch.running:
            at_ns = max(at_ns, batch.waiting[0].arrival_ns)
        self._step = step = batch.plan_step(at_ns)
        if step:
            self.step_ns = self._duration(step)
            self.next_due_ns = at_ns + self.step_ns
        else:
            self.next_due_ns = None


class FixedEngine:
    """First token exactly `ttft_ns` after a sequence has its place, then one every `itl_ns`.

    Sequences do not touch each other, unless all `max_num_seqs` places are taken: then the next in the queue gets its
    place the instant one ends, so that the capacity is max_num_seqs / (ttft + (output − 1) · itl).
    """

    kv_usage = 0.0
    fragmentation = 0.0
    preemptions = 0

    def __init__(
        self,
        ttft_ns: int,
        itl_ns: int,
        max_num_seqs: int,
        max_queue: int | None = None,
        prefix_cache: PrefixCache | None = None,
    ) -> None:
        self.prefix_cache = prefix_cache  # counts, and changes no time
        self._ttft_ns = ttft_ns
        self._max_num_seqs = max_num_seqs
        self._max_queue = max_queue
        self._due: list[tuple[int, int, Sequence]] = []  # a heap; the second number keeps it first come, first served
        self._order = 0
        self._waiting: deque[Sequence] = deque()
        self.running = 0
        self.step_ns = itl_ns
        self.next_due_ns: int | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def accepts(self, count: int) -> bool:
        places = self._max_num_seqs - self.running
        return self._max_queue is None or len(self._waiting) + count - places <= self._max_queue

    def submit(self, sequences: list[Sequence]) -> None:
        for sequence in sequences:
            if self.running < self._max_num_seqs:
                self._place(sequence, sequence.arrival_ns)
            else:
                self._waiting.append(sequence)

    def abort(self, sequence: Sequence, now_ns: int) -> None:
        if sequence.state is State.WAITING:
            self._waiting.remove(sequence)
            sequence.state = State.ABORTED
        elif sequence.state is State.RUNNING:
            sequence.state = State.ABORTED  # and leaves the heap when its turn comes
            self._free_place(now_ns)
            self._look()

    def advance(self) -> list[Sequence]:
        due_ns, order, sequence = self._due[0]
        if sequence.emit():
            sequence.end_ns = due_ns
            heapq.heappop(self._due)
            self._free_place(due_ns)
        else:
            heapq.heapreplace(self._due, (due_ns + self.step_ns, order, sequence))
        self._look()
        return [sequence]

    def _free_place(self, at_ns: int) -> None:
        self.running -= 1
        if self._waiting:
            head = self._waiting.popleft()
            self._place(head, max(at_ns, head.arrival_ns))

    def _place(self, sequence: Sequence, at_ns: int) -> None:
        self.running += 1
        self._order += 1
        sequence.state = State.RUNNING
        if self.prefix_cache is not None:
            self.prefix_cache.admit(sequence)
        heapq.heappush(self._due, (at_ns + self._ttft_ns, self._order, sequence))
        self._look()

    def _look(self) -> None:
        while self._due and self._due[0][2].state is State.ABORTED:
            heapq.heappop(self._due)
        self.next_due_ns = self._due[0][0] if self._due else None
