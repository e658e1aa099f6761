"""The batch on virtual time: what must hold in every step, and what follows from it."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen.simulator.batching import Batch, Step
from loadgen.simulator.engine import SteppedEngine
from loadgen.simulator.gateway import Gateway
from loadgen.simulator.kv_cache import BlockPool
from loadgen.simulator.policies import POLICIES, chunked
from loadgen.simulator.sequence import Sequence, State
from loadgen.units import NS_PER_MS, NS_PER_S

STEP_NS = 50 * NS_PER_MS
CHUNKED = POLICIES["chunked"]
Drive = Callable[..., dict[Sequence, list[int]]]


def checked(batch: Batch) -> Callable[[Step], int]:
    """A constant step time that checks the batch whenever a step is planned."""

    def duration(step: Step) -> int:
        pool = batch.pool
        running = [*batch.prefilling, *batch.decoding, *batch.lingering]
        assert pool.free >= 0
        assert pool.free + sum(map(batch.blocks_of, running)) == pool.blocks
        assert pool.promised == sum(sequence.promised for sequence in running) <= pool.blocks
        assert 0 <= batch.fragmentation < 1
        assert all(sequence.blocks == sequence.promised == 0 for sequence in batch.waiting)
        assert batch.running == len(running) <= batch.max_num_seqs
        assert all(sequence.state is State.RUNNING for sequence in [*batch.prefilling, *batch.decoding])
        assert step.decode_kv >= sum(sequence.offset + batch.round for sequence in batch.decoding) * step.decodes
        for sequence in batch.decoding:
            known = sequence.offset + batch.round
            assert sequence.input_tokens < known < sequence.input_tokens + sequence.output_tokens
            assert known - (not step.decodes) <= batch.blocks_of(sequence) * pool.block_tokens
        for sequence, tokens in step.chunks:
            assert sequence in batch.prefilling
            assert 0 < tokens <= sequence.known - sequence.computed
            assert sequence.computed + tokens <= batch.blocks_of(sequence) * pool.block_tokens
        assert step.prefill_tokens >= sum(tokens for _, tokens in step.chunks)
        if batch.policy.plan is chunked:
            assert step.decode_rows + step.prefill_tokens <= batch.max_num_batched_tokens
            assert step.decode_rows == len(batch.decoding)
        return STEP_NS

    return duration


loads = st.lists(
    st.tuples(st.integers(0, 20 * STEP_NS), st.integers(1, 90), st.integers(1, 40)), min_size=1, max_size=40
)
any_fixture = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.mark.parametrize("name", POLICIES)
@any_fixture
@given(
    load=loads,
    seqs=st.integers(1, 8),
    budget=st.integers(8, 64),
    blocks=st.integers(9, 40),
    block_tokens=st.sampled_from([16, 64, 130]),
)
def test_every_sequence_gets_exactly_its_tokens_in_order(
    drive: Drive, name: str, load: list[tuple[int, int, int]], seqs: int, budget: int, blocks: int, block_tokens: int
) -> None:
    batch = Batch(BlockPool(max(1, blocks * 16 // block_tokens), block_tokens), POLICIES[name], seqs, budget)
    sequences = [Sequence(*row) for row in sorted(load)]
    dues = drive(SteppedEngine(batch, checked(batch)), sequences)
    for sequence in sequences:
        assert sequence.state is State.FINISHED
        assert len(dues[sequence]) == sequence.output_tokens == sequence.emitted
        assert dues[sequence] == sorted(set(dues[sequence]))
        assert (sequence.first_ns, sequence.end_ns) == (dues[sequence][0], dues[sequence][-1])
        assert dues[sequence][0] >= sequence.arrival_ns + STEP_NS
    firsts = [dues[sequence][0] for sequence in sequences]
    assert firsts == sorted(firsts)  # first come, first served
    assert (batch.pool.free, batch.pool.promised) == (batch.pool.blocks, 0)
    assert batch.preemptions == sum(sequence.preemptions for sequence in sequences)
    if name in ("inflight", "static"):
        assert batch.preemptions == 0


@pytest.mark.parametrize("name", POLICIES)
@any_fixture
@given(load=loads, aborted=st.sets(st.integers(0, 39)), after=st.integers(0, 60))
def test_aborted_sequences_give_everything_back(
    name: str, load: list[tuple[int, int, int]], aborted: set[int], after: int
) -> None:
    batch = Batch(BlockPool(12), POLICIES[name], 4, 16)
    engine = SteppedEngine(batch, checked(batch))
    sequences = [Sequence(*row) for row in sorted(load)]
    engine.submit(sequences)
    for _ in range(after):
        if engine.next_due_ns is not None:
            engine.advance()
    for index in aborted & set(range(len(sequences))):
        engine.abort(sequences[index], 0)
        assert sequences[index].state in (State.ABORTED, State.FINISHED)
    while engine.next_due_ns is not None:
        engine.advance()
    assert batch.pool.free == 12
    assert (engine.running, engine.waiting) == (0, 0)
    for sequence in sequences:
        assert sequence.state in (State.ABORTED, State.FINISHED)
        assert (sequence.emitted == sequence.output_tokens) == (sequence.state is State.FINISHED)


@pytest.mark.parametrize("name", ["chunked", "continuous"])
def test_the_last_admitted_gives_way_and_recomputes(name: str) -> None:
    batch = Batch(BlockPool(7), POLICIES[name], 2, 128)
    first, last = Sequence(0, 32, 40), Sequence(0, 40, 40)
    engine = SteppedEngine(batch, checked(batch))
    engine.submit([first, last])
    dues: dict[Sequence, list[int]] = {first: [], last: []}
    while (due_ns := engine.next_due_ns) is not None:
        for sequence in engine.advance():
            dues[sequence].append(due_ns)
    assert (first.preemptions, last.preemptions, batch.preemptions) == (0, 1, 1)
    # With 17 tokens each they hold 3 + 4 blocks and the first needs a fourth: it takes it from the last and goes on
    # without a gap. The last waits for it to end, recomputes, and loses no token.
    assert dues[first] == [STEP_NS * k for k in range(1, 41)]
    assert len(dues[last]) == 40
    assert sum(due_ns <= dues[first][-1] for due_ns in dues[last]) == 17


def test_a_long_prompt_is_cut_so_that_decodes_go_on(drive: Drive) -> None:
    batch = Batch(BlockPool(100), POLICIES["splitfuse"], 4, 16)
    short, long = Sequence(0, 4, 50), Sequence(1, 100, 1)
    dues = drive(SteppedEngine(batch, checked(batch)), [short, long])
    assert dues[short] == [STEP_NS * k for k in range(1, 51)]  # never held up
    assert dues[long] == [STEP_NS + STEP_NS * 7]  # 100 tokens, 15 a step beside one decode


def test_prompts_of_their_own_hold_decodes_up(drive: Drive) -> None:
    batch = Batch(BlockPool(100), POLICIES["continuous"], 4, 128)
    short, long, longer = Sequence(0, 4, 10), Sequence(1, 100, 1), Sequence(STEP_NS + 1, 120, 1)
    dues = drive(SteppedEngine(batch, checked(batch)), [short, long, longer])
    assert (dues[long], dues[longer]) == ([2 * STEP_NS], [3 * STEP_NS])  # side by side they would be 240 tokens
    assert dues[short] == [STEP_NS, *(STEP_NS * k for k in range(4, 13))]


def test_prompts_are_one_rectangle_and_may_not_be_padded_too_much() -> None:
    def first_step(lengths: list[int], budget: int) -> Step:
        batch = Batch(BlockPool(1000), POLICIES["continuous"], 8, budget)
        for length in lengths:
            batch.submit(Sequence(0, length, 5))
        return batch.plan_step(0)

    step = first_step([30, 40, 20], 4096)
    assert (len(step.chunks), step.prefill_tokens, step.samples) == (3, 3 * 40, 3)
    assert step.prefill_pairs == sum(n * (n + 1) // 2 for n in (30, 40, 20))  # attention skips what is padded
    assert len(first_step([30, 40, 20], 100).chunks) == 2  # 3 × 40 are more than 100
    assert len(first_step([10, 300], 4096).chunks) == 1  # 290 of padding are more than 256
    assert len(first_step([100, 300], 4096).chunks) == 2


def test_inflight_takes_whole_prompts_beside_decodes_and_admits_only_whom_it_can_keep(drive: Drive) -> None:
    batch = Batch(BlockPool(10), POLICIES["inflight"], 8, 64)
    short, long = Sequence(0, 4, 50), Sequence(1, 60, 4)
    dues = drive(SteppedEngine(batch, checked(batch)), [short, long])
    assert dues[short] == [STEP_NS * k for k in range(1, 51)]
    assert dues[long][0] == 2 * STEP_NS
    greedy, small = Sequence(0, 4, 5, asked_tokens=140), Sequence(0, 20, 5)  # they may come to 9 and 2 blocks, of 10
    dues = drive(SteppedEngine(batch, checked(batch)), [greedy, small])
    assert dues[small][0] == dues[greedy][-1] + STEP_NS  # though 9 blocks were free all the time


def test_a_static_batch_runs_until_its_longest_member_ends() -> None:
    batch = Batch(BlockPool(100), POLICIES["static"], 3, 64)
    shapes: list[tuple[int, int, int]] = []

    def duration(step: Step) -> int:
        shapes.append((step.prefill_tokens, step.decode_rows, step.decode_kv))
        return checked(batch)(step)

    engine = SteppedEngine(batch, duration)
    short, long, late = Sequence(0, 10, 2), Sequence(0, 30, 5), Sequence(1, 10, 1)
    engine.submit([short, long, late])
    while engine.next_due_ns is not None:
        engine.advance()
    assert (short.end_ns, long.end_ns) == (2 * STEP_NS, 5 * STEP_NS)
    assert late.end_ns == 6 * STEP_NS  # a place was free all the time
    # two rows padded to 30 tokens, to the end; then one of ten
    assert shapes == [(60, 0, 0), (0, 2, 62), (0, 2, 64), (0, 2, 66), (0, 2, 68), (10, 0, 0)]


@pytest.mark.parametrize(
    ("block_tokens", "running", "fragmentation"), [(16, 8, 1 - 60 / 64), (64, 8, 1 - 60 / 64), (256, 2, 1 - 60 / 256)]
)
def test_large_blocks_hold_fewer_sequences_and_more_air(block_tokens: int, running: int, fragmentation: float) -> None:
    batch = Batch(BlockPool(512 // block_tokens, block_tokens), POLICIES["chunked"], 32, 2048)
    for _ in range(32):
        batch.submit(Sequence(0, 60, 5))
    batch.finish_step(batch.plan_step(0), 1)
    assert batch.running == running
    assert batch.fragmentation == pytest.approx(fragmentation)


def test_a_gateway_keeps_the_batch_small_and_hands_on_at_once(drive: Drive) -> None:
    batch = Batch(BlockPool(100), POLICIES["chunked"], 8, 64)
    gateway = Gateway(SteppedEngine(batch, checked(batch)), limit=2, queue=3)
    assert gateway.accepts(5)
    assert not gateway.accepts(6)
    sequences = [Sequence(0, 4, 3) for _ in range(5)]
    dues = drive(gateway, sequences)
    # the step that follows an end has begun when the next is let in
    assert [times[0] for times in dues.values()] == [STEP_NS * k for k in (1, 2, 5, 6, 9)]
    assert (gateway.running, gateway.waiting) == (0, 0)
    gone, held, follows = Sequence(0, 4, 3), Sequence(0, 4, 3), Sequence(0, 4, 3)
    gateway.submit([gone, Sequence(0, 4, 9), held, follows])
    assert (gateway.running, gateway.waiting) == (1, 3)  # the second waits behind the gateway, two before it
    gateway.abort(held, 0)
    gateway.abort(gone, 0)
    while gateway.next_due_ns is not None:
        gateway.advance()
    assert (gone.state, held.state, follows.state) == (State.ABORTED, State.ABORTED, State.FINISHED)


def test_capacity_is_the_batch_over_the_time_of_an_answer(drive: Drive) -> None:
    batch = Batch(BlockPool(1000), POLICIES["chunked"], 32, 2048)
    sequences = [Sequence(k * 10 * NS_PER_MS, 30, 26) for k in range(4000)]  # 100 req/s for 40 s
    dues = drive(SteppedEngine(batch, lambda _: STEP_NS), sequences)
    ends = sorted(times[-1] for times in dues.values())
    answer_ns = 26 * STEP_NS
    steady = [end for end in ends if 10 * answer_ns <= end < 25 * answer_ns]
    analytic = 32 / (answer_ns / NS_PER_S)
    assert len(steady) / (15 * answer_ns / NS_PER_S) == pytest.approx(analytic, rel=0.01)
    assert batch.preemptions == 0


def test_a_step_begins_when_the_request_arrives_and_never_before_the_last_one_ended() -> None:
    engine = SteppedEngine(Batch(BlockPool(10), CHUNKED, 4, 64), lambda _: STEP_NS)
    engine.submit([Sequence(7, 10, 1)])
    assert engine.next_due_ns == 7 + STEP_NS
    engine.advance()
    assert engine.next_due_ns is None
    engine.submit([Sequence(8, 10, 1)])  # arrived while the step ran, handed over after it
    assert engine.next_due_ns == 7 + 2 * STEP_NS


def test_a_step_plans_only_what_has_arrived_however_late_it_is_planned() -> None:
    engine = SteppedEngine(Batch(BlockPool(10), CHUNKED, 4, 64), lambda _: STEP_NS)
    first, second = Sequence(0, 10, 2), Sequence(STEP_NS + 1, 10, 1)
    engine.submit([first])
    engine.submit([second])  # the first step's end has not been looked at yet
    assert engine.advance() == [first]
    assert engine.advance() == [first]
    assert engine.advance() == [second]


def test_the_queue_begins_where_the_free_places_end() -> None:
    batch = Batch(BlockPool(100), CHUNKED, 2, 64, max_queue=1)
    assert batch.accepts(3)
    assert not batch.accepts(4)
    for _ in range(3):
        batch.submit(Sequence(0, 10, 5))
    assert not batch.accepts(1)
    batch.plan_step(0)
    assert (batch.running, len(batch.waiting)) == (2, 1)
    assert not batch.accepts(1)


def test_what_can_never_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="never fit"):
        Batch(BlockPool(2), CHUNKED, 2, 64).submit(Sequence(0, 30, 3))
    with pytest.raises(ValueError, match="room"):
        Batch(BlockPool(2), CHUNKED, 65, 64)
