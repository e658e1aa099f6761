"""The batch on virtual time: what must hold in every step, and what follows from it."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen.simulator.batching import Batch, Step
from loadgen.simulator.engine import SteppedEngine
from loadgen.simulator.kv_cache import BLOCK_TOKENS, BlockPool
from loadgen.simulator.sequence import Sequence, State
from loadgen.units import NS_PER_MS, NS_PER_S

STEP_NS = 50 * NS_PER_MS
Drive = Callable[..., dict[Sequence, list[int]]]


def checked(batch: Batch) -> Callable[[Step], int]:
    """A constant step time that checks the batch whenever a step is planned."""

    def duration(step: Step) -> int:
        pool = batch.pool
        assert pool.free >= 0
        assert pool.free + sum(sequence.blocks for sequence in batch.running) == pool.blocks
        assert all(sequence.blocks == 0 for sequence in batch.waiting)
        assert len(batch.running) <= batch.max_num_seqs
        assert 0 < sum(tokens for _, tokens in step.work) <= batch.max_num_batched_tokens
        for sequence, tokens in step.work:
            assert sequence.state is State.RUNNING
            assert sequence.computed + tokens <= min(sequence.known, sequence.blocks * BLOCK_TOKENS)
        assert step.decodes + step.prefill_tokens == sum(tokens for _, tokens in step.work)
        return STEP_NS

    return duration


loads = st.lists(
    st.tuples(st.integers(0, 20 * STEP_NS), st.integers(1, 90), st.integers(1, 40)), min_size=1, max_size=40
)
any_fixture = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@any_fixture
@given(load=loads, seqs=st.integers(1, 8), budget=st.integers(8, 64), blocks=st.integers(9, 40))
def test_every_sequence_gets_exactly_its_tokens_in_order(
    drive: Drive, load: list[tuple[int, int, int]], seqs: int, budget: int, blocks: int
) -> None:
    batch = Batch(BlockPool(blocks), seqs, budget)
    sequences = [Sequence(*row) for row in sorted(load)]
    dues = drive(SteppedEngine(batch, checked(batch)), sequences)
    for sequence in sequences:
        assert sequence.state is State.FINISHED
        assert len(dues[sequence]) == sequence.output_tokens
        assert dues[sequence] == sorted(set(dues[sequence]))
        assert dues[sequence][0] >= sequence.arrival_ns + STEP_NS
    firsts = [dues[sequence][0] for sequence in sequences]
    assert firsts == sorted(firsts)  # first come, first served
    assert batch.pool.free == blocks
    assert batch.preemptions == sum(sequence.preemptions for sequence in sequences)


@any_fixture
@given(load=loads, aborted=st.sets(st.integers(0, 39)), after=st.integers(0, 60))
def test_aborted_sequences_give_everything_back(
    load: list[tuple[int, int, int]], aborted: set[int], after: int
) -> None:
    batch = Batch(BlockPool(12), 4, 16)
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


def test_the_last_admitted_gives_way_and_recomputes() -> None:
    batch = Batch(BlockPool(7), 2, 128)
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
    emitted_before = sum(due_ns <= dues[first][-1] for due_ns in dues[last])
    assert dues[last][:emitted_before] == dues[first][:emitted_before]
    assert emitted_before == 17


def test_a_long_prompt_is_cut_so_that_decodes_go_on(drive: Drive) -> None:
    batch = Batch(BlockPool(100), 4, 16)
    short, long = Sequence(0, 4, 50), Sequence(1, 100, 1)
    dues = drive(SteppedEngine(batch, checked(batch)), [short, long])
    assert dues[short] == [STEP_NS * k for k in range(1, 51)]  # never held up
    assert dues[long] == [STEP_NS + STEP_NS * 7]  # 100 tokens, 15 a step beside one decode


def test_capacity_is_the_batch_over_the_time_of_an_answer(drive: Drive) -> None:
    batch = Batch(BlockPool(1000), 32, 2048)
    sequences = [Sequence(k * 10 * NS_PER_MS, 30, 26) for k in range(4000)]  # 100 req/s for 40 s
    dues = drive(SteppedEngine(batch, lambda _: STEP_NS), sequences)
    ends = sorted(times[-1] for times in dues.values())
    answer_ns = 26 * STEP_NS
    steady = [end for end in ends if 10 * answer_ns <= end < 25 * answer_ns]
    analytic = 32 / (answer_ns / NS_PER_S)
    assert len(steady) / (15 * answer_ns / NS_PER_S) == pytest.approx(analytic, rel=0.01)
    assert batch.preemptions == 0


def test_a_step_begins_when_the_request_arrives_and_never_before_the_last_one_ended() -> None:
    engine = SteppedEngine(Batch(BlockPool(10), 4, 64), lambda _: STEP_NS)
    engine.submit([Sequence(7, 10, 1)])
    assert engine.next_due_ns == 7 + STEP_NS
    engine.advance()
    assert engine.next_due_ns is None
    engine.submit([Sequence(8, 10, 1)])  # arrived while the step ran, handed over after it
    assert engine.next_due_ns == 7 + 2 * STEP_NS


def test_a_step_plans_only_what_has_arrived_however_late_it_is_planned() -> None:
    engine = SteppedEngine(Batch(BlockPool(10), 4, 64), lambda _: STEP_NS)
    first, second = Sequence(0, 10, 2), Sequence(STEP_NS + 1, 10, 1)
    engine.submit([first])
    engine.submit([second])  # the first step's end has not been looked at yet
    assert engine.advance() == [first]
    assert engine.advance() == [first]
    assert engine.advance() == [second]


def test_the_queue_begins_where_the_free_places_end() -> None:
    batch = Batch(BlockPool(100), 2, 64, max_queue=1)
    assert batch.accepts(3)
    assert not batch.accepts(4)
    for _ in range(3):
        batch.submit(Sequence(0, 10, 5))
    assert not batch.accepts(1)
    batch.plan_step(0)
    assert (len(batch.running), len(batch.waiting)) == (2, 1)
    assert not batch.accepts(1)


def test_what_can_never_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="never fit"):
        Batch(BlockPool(2), 2, 64).submit(Sequence(0, 30, 3))
    with pytest.raises(ValueError, match="room"):
        Batch(BlockPool(2), 65, 64)
