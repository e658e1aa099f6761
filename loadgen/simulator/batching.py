"""Which sequences compute what in the next step of the model: the heart of a serving engine, as pure bookkeeping.

`Batch` keeps the state and its invariants; a policy is a plain function that chooses the work of one step, so another
way of batching is another function. Nothing here knows how long a step takes or what time it really is.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from loadgen.simulator.kv_cache import BlockPool
from loadgen.simulator.sequence import Sequence, State

Work = list[tuple[Sequence, int]]  # a sequence and how many of its tokens go through the model


@dataclass(slots=True)
class Step:
    """One forward pass: its work, and the sums that decide its duration.

    prefill_tokens, decodes       rows of the linear layers, from chunks of several tokens and from single tokens
    prefill_pairs                 query–key pairs of the chunks, causal
    prefill_kv, decode_kv         cached tokens that attention reads for the chunks and for the single tokens
    samples                       rows that go through the LM head: sequences that emit a token
    """

    work: Work = field(default_factory=list)
    prefill_tokens: int = 0
    prefill_pairs: int = 0
    prefill_kv: int = 0
    decodes: int = 0
    decode_kv: int = 0
    samples: int = 0


class Batch:
    """The waiting queue (first come, first served), the running set (in order of admission) and the KV cache."""

    def __init__(
        self,
        pool: BlockPool,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        max_queue: int | None = None,
        policy: "Policy | None" = None,
    ) -> None:
        if max_num_seqs < 1 or max_num_batched_tokens < max_num_seqs:
            raise ValueError("a step must have room for one token of every running sequence")
        self.pool = pool
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens
        self.max_queue = max_queue
        self.policy = policy or continuous
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.preemptions = 0

    def accepts(self, count: int) -> bool:
        """Whether `count` more sequences fit in the queue, which begins where the free places of the batch end."""
        places = self.max_num_seqs - len(self.running)
        return self.max_queue is None or len(self.waiting) + count - places <= self.max_queue

    def submit(self, sequence: Sequence) -> None:
        if not self.pool.holds(sequence.input_tokens + sequence.output_tokens):
            raise ValueError("this sequence can never fit in the KV cache")
        self.waiting.append(sequence)

    def abort(self, sequence: Sequence) -> None:
        """Forget a sequence at once, whatever it is doing; a step under way goes on without emitting for it."""
        if sequence.state is State.WAITING:
            self.waiting.remove(sequence)
        elif sequence.state is State.RUNNING:
            self.running.remove(sequence)
            self.pool.release(sequence)
        else:
            return
        sequence.state = State.ABORTED

    def plan_step(self, now_ns: int) -> Step:
        """Choose the next step among what has arrived by `now_ns`; an empty step when there is nothing to do."""
        work = self.policy(self, now_ns)
        step = Step(work)
        for sequence, tokens in work:
            held = sequence.computed + tokens
            if tokens == 1:
                step.decodes += 1
                step.decode_kv += held
            else:
                step.prefill_tokens += tokens
                step.prefill_pairs += tokens * sequence.computed + tokens * (tokens + 1) // 2
                step.prefill_kv += held
            if held == sequence.known:
                step.samples += 1
        return step

    def finish_step(self, step: Step) -> list[Sequence]:
        """Account for a computed step. Returns the sequences that emitted one token each; some are FINISHED."""
        emitted = []
        any_finished = False
        for sequence, tokens in step.work:
            if sequence.state is not State.RUNNING:
                continue  # aborted while the step ran
            sequence.computed += tokens
            if sequence.computed == sequence.input_tokens + sequence.emitted:
                emitted.append(sequence)
                if sequence.emit():
                    self.pool.release(sequence)
                    any_finished = True
        if any_finished:
            self.running = [sequence for sequence in self.running if sequence.state is State.RUNNING]
        return emitted

    def admit(self) -> None:
        """Move the head of the queue, whose blocks are taken, into the running set."""
        sequence = self.waiting.popleft()
        sequence.state = State.RUNNING
        self.running.append(sequence)

    def preempt(self) -> Sequence:
        """Send the last admitted sequence back to the head of the queue; it loses its cache and will recompute it."""
        sequence = self.running.pop()
        self.pool.release(sequence)
        sequence.computed = 0
        sequence.preemptions += 1
        sequence.state = State.WAITING
        self.waiting.appendleft(sequence)
        self.preemptions += 1
        return sequence


Policy = Callable[[Batch, int], Work]


def continuous(batch: Batch, now_ns: int) -> Work:
    """Today's vLLM: every decode first, what is left of the token budget for prompts, in chunks if need be.

    A decode that finds no block makes the last admitted sequence give way; nobody is admitted in such a step. The
    first admitted is never the one to go, so it always advances and no load can stop the engine.
    """
    work: Work = []
    prompts: list[Sequence] = []
    stalled = False
    for sequence in list(batch.running):
        if sequence.state is not State.RUNNING:
            break  # preempted below, and with it everything admitted later
        if sequence.known - sequence.computed > 1:
            prompts.append(sequence)  # its blocks were taken when it was admitted
            continue
        while not batch.pool.grow(sequence, sequence.known):
            stalled = True
            if batch.preempt() is sequence:
                break
        else:
            work.append((sequence, 1))
    budget = batch.max_num_batched_tokens - len(work)
    for sequence in prompts:
        if sequence.state is State.RUNNING and budget:
            budget -= _take(work, sequence, budget)
    while batch.waiting and budget and not stalled and len(batch.running) < batch.max_num_seqs:
        head = batch.waiting[0]
        if head.arrival_ns > now_ns or not batch.pool.grow(head, head.known):
            break
        batch.admit()
        budget -= _take(work, head, budget)
    return work


def _take(work: Work, sequence: Sequence, budget: int) -> int:
    tokens = min(budget, sequence.known - sequence.computed)
    work.append((sequence, tokens))
    return tokens
