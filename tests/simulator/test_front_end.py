"""The HTTP layer as a line: who comes waits for those before, and the engine hears of it when it is through."""

import asyncio
import time

from hypothesis import given
from hypothesis import strategies as st

from loadgen.simulator.front_end import FrontEnd

MS = 1_000_000


@given(st.lists(st.integers(0, 50 * MS), min_size=1, max_size=30), st.integers(1, 9 * MS))
def test_one_after_another(gaps_ns: list[int], cost_ns: int) -> None:
    front_end, now_ns, last_ns = FrontEnd(cost_ns), 0, 0
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        through_ns = front_end.through_ns(now_ns)
        assert through_ns == max(now_ns, last_ns) + cost_ns
        last_ns = through_ns


def test_a_small_question_waits_for_those_before_it_and_costs_nothing() -> None:
    async def timed() -> None:
        front_end, now_ns = FrontEnd(20 * MS), time.monotonic_ns()
        through = await asyncio.gather(front_end.serve(now_ns), front_end.serve(now_ns))
        assert through == [now_ns + 20 * MS, now_ns + 40 * MS]
        third = asyncio.ensure_future(front_end.serve(time.monotonic_ns()))
        await asyncio.sleep(0)
        await front_end.pause()
        assert time.monotonic_ns() >= await third - MS
        assert front_end.through_ns(0) == await third + 20 * MS

    asyncio.run(timed())


def test_without_a_cost_there_is_no_line() -> None:
    front_end = FrontEnd()
    assert asyncio.run(front_end.serve(5)) == 5
    asyncio.run(front_end.pause())
