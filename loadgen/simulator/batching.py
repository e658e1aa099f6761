"""What is waiting, what is being computed and what that costs in memory: a serving engine as pure bookkeeping.

`Batch` keeps the state and its invariants; a policy (policies.py) chooses the work of one step. Sequences that decode
move in lockstep, one token a round, so a round costs what changes and not what runs: a sequence that joins notes the
round of its last token and the rounds in which it needs another block. Nothing here knows how long a step takes.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from loadgen.simulator.kv_cache import BlockPool
from loadgen.simulator.prefix_cache import PrefixCache
from loadgen.simulator.sequence import Sequence, State


@dataclass(slots=True)
class Step:
    """One forward pass: its work, and the sums that decide its duration.

    chunks                        prompts, whole or in part, and how many of their tokens go through the model
    decodes                       whether the decoding sequences emit a token each
    prefill_tokens, decode_rows   rows of the linear layers; what is padded is counted
    prefill_pairs                 query–key pairs of the chunks, causal
    prefill_kv, decode_kv         cached tokens that attention reads for the chunks and for the single tokens
    samples                       rows that go through the LM head: sequences that emit a token
    """

    chunks: list[tuple[Sequence, int]] = field(default_factory=list)
    decodes: bool = False
    prefill_tokens: int = 0
    prefill_pairs: int = 0
    prefill_kv: int = 0
    decode_rows: int = 0
    decode_kv: int = 0
    samples: int = 0

    def __bool__(self) -> bool:
        """Whether there is anything to compute."""
        return self.decodes or bool(self.chunks)

    def add(self, sequence: Sequence, tokens_max: int) -> int:
        """Put the next tokens of a prompt, at most `tokens_max`, into the step. Returns how many."""
        missing = sequence.input_tokens + sequence.emitted - sequence.computed
        tokens = min(tokens_max, missing)
        self.chunks.append((sequence, tokens))
        self.prefill_tokens += tokens
        self.prefill_pairs += tokens * sequence.computed + tokens * (tokens + 1) // 2
        self.prefill_kv += sequence.computed + tokens
        self.samples += tokens == missing
        return tokens


@dataclass(frozen=True, slots=True)
class Policy:
    """How an engine batches, and the limits that it comes with; `plan(batch, now_ns)` chooses a step.

    together   the members of a batch keep their places until the longest has ended
    reuses     a prompt whose beginning is cached is computed from there; the others pad prompts to one length
    """

    name: str
    plan: "Callable[[Batch, int], Step]"
    max_num_seqs: int
    max_num_batched_tokens: int
    kv: str = "paged"
    together: bool = False
    reuses: bool = True


class Batch:
    """The waiting queue (first come, first served), what runs (in order of admission) and the KV cache."""

    def __init__(
        self,
        pool: BlockPool,
        policy: Policy,
        max_num_seqs: int | None = None,
        max_num_batched_tokens: int | None = None,
        max_queue: int | None = None,
        prefix_cache: PrefixCache | None = None,
    ) -> None:
        self.pool = pool
        self.prefix_cache = prefix_cache
        self.policy = policy
        self.max_num_seqs = max_num_seqs or policy.max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens or policy.max_num_batched_tokens
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError("a step must have room for one token of every running sequence")
        self.max_queue = max_queue
        self.waiting: deque[Sequence] = deque()
        self.prefilling: dict[Sequence, None] = {}
        self.decoding: dict[Sequence, None] = {}
        self.lingering: list[Sequence] = []  # ended, but their places are kept
        self.rectangle = (0, 0)  # rows, and the prompt length to which all are padded, of a batch that stays together
        self.preemptions = 0
        self.round = 0
        self._granted = False  # the decoding sequences have their blocks for this round
        self._offsets = 0  # Σ (known − round) over the decoding
        self._ends: defaultdict[int, list[Sequence]] = defaultdict(list)  # round → whose last token it is
        self._growing: defaultdict[int, int] = defaultdict(int)  # round mod block → how many need another block

    # -- read-outs --------------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """Places taken."""
        return len(self.prefilling) + len(self.decoding) + len(self.lingering)

    @property
    def decode_kv(self) -> int:
        """Tokens that the decoding sequences attend to, the new ones included."""
        return self._offsets + self.round * len(self.decoding)

    @property
    def fragmentation(self) -> float:
        """The share of the taken cache that holds no token that anybody will read, 0 … 1."""
        held = self.pool.held_tokens
        if not held:
            return 0.0
        used = self.decode_kv - (0 if self._granted else len(self.decoding))
        return 1 - (used + sum(sequence.known for sequence in self.prefilling)) / held

    def blocks_of(self, sequence: Sequence) -> int:
        """The blocks that a sequence holds now."""
        if sequence in self.decoding and not self.policy.together:
            return self.pool.blocks_for(sequence.offset + self.round - (not self._granted))
        return sequence.blocks

    # -- what the engine does -----------------------------------------------------------------------------------------

    def accepts(self, count: int) -> bool:
        """Whether `count` more sequences fit in the queue, which begins where the free places of the batch end."""
        places = self.max_num_seqs - self.running
        return self.max_queue is None or len(self.waiting) + count - places <= self.max_queue

    def submit(self, sequence: Sequence) -> None:
        if not self.pool.holds(sequence.longest):
            raise ValueError("this sequence can never fit in the KV cache")
        self.waiting.append(sequence)

    def abort(self, sequence: Sequence) -> None:
        """Forget a sequence at once, whatever it is doing; a step under way goes on without emitting for it."""
        if sequence.state is State.WAITING:
            self.waiting.remove(sequence)
        elif sequence.state is State.RUNNING:
            self._leave(sequence)
        else:
            return
        sequence.state = State.ABORTED
        self._break_up()

    def plan_step(self, now_ns: int) -> Step:
        """Choose the next step among what has arrived by `now_ns`; an empty step when there is nothing to do."""
        return self.policy.plan(self, now_ns)

    def finish_step(self, step: Step, end_ns: int) -> list[Sequence]:
        """Account for a computed step. Returns the sequences that emitted one token each; some are FINISHED."""
        emitted: list[Sequence] = []
        if step.decodes:
            emitted += self.decoding
            self.round += 1
            self._granted = False
            for sequence in self._ends.pop(self.round, ()):
                if sequence.last_round == self.round:  # else it was aborted or preempted since
                    self._leave(sequence)
                    self._end(sequence, end_ns)
        for sequence, tokens in step.chunks:
            if sequence.state is not State.RUNNING:
                continue  # aborted while the step ran
            sequence.computed += tokens
            if sequence.computed < sequence.known:
                continue
            emitted.append(sequence)
            if sequence.emitted == 0:
                sequence.first_ns = end_ns
            sequence.emitted += 1
            if sequence.emitted == sequence.output_tokens:
                self._leave(sequence)
                self._end(sequence, end_ns)
            else:
                self._join(sequence)
        self._break_up()
        return emitted

    # -- what policies do ---------------------------------------------------------------------------------------------

    def admit(self, blocks: int) -> Sequence:
        """Move the head of the queue, with so many blocks, among those whose prompt is being computed."""
        sequence = self.waiting.popleft()
        sequence.state = State.RUNNING
        sequence.blocks = blocks
        self.pool.free -= blocks
        self.prefilling[sequence] = None
        if self.prefix_cache is not None:
            sequence.computed = self.prefix_cache.admit(sequence)
        return sequence

    def promise(self, sequence: Sequence) -> bool:
        """Set aside what a sequence may come to need; False, and nothing set aside, where that is not there."""
        needed = self.pool.blocks_for(sequence.longest)
        if self.pool.promised + needed > self.pool.blocks:
            return False
        sequence.promised = needed
        self.pool.promised += needed
        return True

    def decode(self, step: Step) -> bool:
        """Let everyone who decodes emit a token in this step. Returns whether somebody had to give way.

        The last admitted gives way when a block is missing. The first admitted never does, so it always advances and
        no load can stop the engine.
        """
        preempted = False
        if not self.policy.together:
            needed = self._growing.get(self.round % self.pool.block_tokens, 0)
            while needed > self.pool.free:
                self._preempt()
                preempted = True
                needed = self._growing.get(self.round % self.pool.block_tokens, 0)
            self.pool.free -= needed
        count = len(self.decoding)
        if count:
            self._granted = True
            step.decodes = True
            step.decode_rows = step.samples = count
            step.decode_kv = self.decode_kv
        return preempted

    # -- bookkeeping --------------------------------------------------------------------------------------------------

    def _join(self, sequence: Sequence) -> None:
        """From here on it emits a token every round."""
        del self.prefilling[sequence]
        self.decoding[sequence] = None
        sequence.offset = sequence.known - self.round
        sequence.last_round = self.round + sequence.output_tokens - sequence.emitted
        self._offsets += sequence.offset
        self._ends[sequence.last_round].append(sequence)
        self._growing[(1 - sequence.offset) % self.pool.block_tokens] += 1

    def _leave(self, sequence: Sequence) -> None:
        """Out of the running, for whatever reason; its blocks are free again, or kept until the batch ends."""
        blocks = self.blocks_of(sequence)
        if sequence in self.decoding:
            del self.decoding[sequence]
            self._offsets -= sequence.offset
            self._growing[(1 - sequence.offset) % self.pool.block_tokens] -= 1
            sequence.emitted = sequence.offset + self.round - sequence.input_tokens
            sequence.last_round = -1
        else:
            del self.prefilling[sequence]
        if self.policy.together:
            self.lingering.append(sequence)
        else:
            self._give_back(sequence, blocks)

    def _give_back(self, sequence: Sequence, blocks: int) -> None:
        self.pool.free += blocks
        self.pool.promised -= sequence.promised
        sequence.blocks = sequence.promised = 0

    def _end(self, sequence: Sequence, end_ns: int) -> None:
        sequence.state = State.FINISHED
        sequence.end_ns = end_ns

    def _break_up(self) -> None:
        """A batch that stayed together is over when its last member has ended."""
        if self.lingering and not self.decoding and not self.prefilling:
            for sequence in self.lingering:
                self._give_back(sequence, sequence.blocks)
            self.lingering = []

    def _preempt(self) -> None:
        """Send the last admitted back to the head of the queue; it loses its cache and will recompute it."""
        sequence = next(reversed(self.prefilling or self.decoding))
        self._leave(sequence)
        sequence.computed = 0
        sequence.preemptions += 1
        sequence.state = State.WAITING
        self.waiting.appendleft(sequence)
        self.preemptions += 1
