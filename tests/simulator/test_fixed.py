"""The fixed timing: to the nanosecond, whoever else is there, until places run out."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen.simulator.engine import FixedEngine
from loadgen.simulator.sequence import Sequence, State
from loadgen.units import NS_PER_MS, NS_PER_S

TTFT_NS, ITL_NS = 20 * NS_PER_MS, 10 * NS_PER_MS
Drive = Callable[..., dict[Sequence, list[int]]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(load=st.lists(st.tuples(st.integers(0, NS_PER_S), st.integers(1, 30)), min_size=1, max_size=30))
def test_every_token_is_due_to_the_nanosecond(drive: Drive, load: list[tuple[int, int]]) -> None:
    sequences = [Sequence(arrival_ns, 5, tokens) for arrival_ns, tokens in sorted(load)]
    dues = drive(FixedEngine(TTFT_NS, ITL_NS, len(sequences)), sequences)
    for sequence, times in dues.items():
        assert times == [sequence.arrival_ns + TTFT_NS + k * ITL_NS for k in range(sequence.output_tokens)]


def test_places_are_handed_on_the_instant_they_are_free(drive: Drive) -> None:
    sequences = [Sequence(k, 5, 3) for k in range(3)]
    dues = drive(FixedEngine(TTFT_NS, ITL_NS, 1), sequences)
    answer_ns = TTFT_NS + 2 * ITL_NS
    assert [times[0] for times in dues.values()] == [k * answer_ns + TTFT_NS for k in range(3)]


def test_capacity_is_places_over_the_time_of_an_answer(drive: Drive) -> None:
    sequences = [Sequence(k * NS_PER_MS, 5, 26) for k in range(4000)]  # 1000 req/s
    dues = drive(FixedEngine(TTFT_NS, ITL_NS, 8), sequences)
    last_ns = max(times[-1] for times in dues.values())
    assert 4000 / (last_ns / NS_PER_S) == pytest.approx(8 / 0.27, rel=0.001)


def test_an_abort_frees_the_place_for_the_next() -> None:
    engine = FixedEngine(TTFT_NS, ITL_NS, 1, max_queue=1)
    gone, queued, follows = Sequence(0, 5, 100), Sequence(1, 5, 1), Sequence(2, 5, 1)
    engine.submit([gone, queued])
    assert not engine.accepts(1)
    engine.abort(queued, 5)
    assert engine.accepts(1)
    engine.submit([follows])
    assert (engine.running, engine.waiting) == (1, 1)
    engine.abort(gone, 1000)
    assert (engine.running, engine.waiting, engine.next_due_ns) == (1, 0, 1000 + TTFT_NS)
    assert engine.advance() == [follows]
    assert engine.next_due_ns is None
    assert (gone.state, queued.state, follows.state) == (State.ABORTED, State.ABORTED, State.FINISHED)
