"""What a search sees of a run that still runs, against runs whose whole course is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.observed import Observed
from loadgen.endpoints.answer import Reading
from loadgen.exchange import Done, Looked, Outcome
from loadgen.plan import Plan
from loadgen.search.sight import Sight

MS = 1_000_000
TTFT_NS, ITL_NS, TOKENS = 20 * MS, 5 * MS, 9
STAY_NS = TTFT_NS + (TOKENS - 1) * ITL_NS


def plan_of(due_ns: list[int], in_flight_max: int = 0) -> Plan:
    n = len(due_ns)
    ones = np.ones(n, np.int64)
    return Plan(
        np.array(due_ns, np.int64), -ones, 0 * ones, 7 * ones, TOKENS * ones, 0 * ones, in_flight_max=in_flight_max
    )


def reading(start_ns: int, tokens: int = TOKENS, outcome: Outcome = Outcome.OK) -> Reading:
    stamps = [start_ns + TTFT_NS + k * ITL_NS for k in range(tokens)]
    return Reading(outcome, "", "stop", stamps[0], stamps, None, 7, tokens, "usage", tokens, 0, 0, 100, 0)


def done(index: int, start_ns: int, done_ns: int, outcome: Outcome = Outcome.OK) -> Done:
    return Done(index, start_ns, start_ns, start_ns, done_ns, 200, outcome, "", 0, False, 0, True)


def look_at(until_ns: int, running: list[int], issued_ns: list[int]) -> Looked:
    return Looked(until_ns, np.array(running, np.int64).tobytes(), np.array(issued_ns, np.int64).tobytes())


def seen_at(until_ns: int, due_ns: list[int]) -> Observed:
    """What Sight makes of a server that answers every request by the same clock."""
    sight = Sight(plan_of(due_ns))
    running, begun = [], {}
    for index, at_ns in enumerate(due_ns):
        if at_ns + STAY_NS <= until_ns:
            sight.ended(done(index, at_ns, at_ns + STAY_NS), reading(at_ns))
        elif at_ns <= until_ns:
            running.append(index)
            events = (until_ns - at_ns - TTFT_NS) // ITL_NS + 1
            if events > 0:
                begun[index] = (at_ns + TTFT_NS, events)
    return sight.observed(look_at(until_ns, running, [due_ns[index] for index in running]), begun)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=60), st.integers(1, 500))
def test_an_open_loop(due_ms: list[int], until_ms: int) -> None:
    due_ns, until_ns = [each * MS for each in sorted(due_ms)], until_ms * MS
    seen = seen_at(until_ns, due_ns)
    expected = [each for each in due_ns if each <= until_ns]
    assert seen.start_ns.tolist() == expected, "all that was due, and nothing else"
    assert seen.until_ns == until_ns
    assert seen.done.tolist() == [each + STAY_NS <= until_ns for each in expected]
    first_ns = [each + TTFT_NS for each in expected if each + TTFT_NS <= until_ns]
    assert seen.first_ns[~np.isnan(seen.first_ns)].tolist() == first_ns
    for start_ns, share in zip(seen.start_ns, seen.share, strict=True):
        tokens = np.clip((until_ns - start_ns - TTFT_NS) // ITL_NS + 1, 0, TOKENS)
        assert share == pytest.approx(tokens / TOKENS, abs=0.002)


def test_what_was_due_and_could_not_be_sent_is_seen_as_not_begun() -> None:
    sight = Sight(plan_of([0, 10 * MS, 20 * MS, 90 * MS]))
    seen = sight.observed(look_at(50 * MS, [0], [0]), {})
    assert seen.start_ns.tolist() == [0, 10 * MS, 20 * MS]
    assert np.isnan(seen.first_ns).all()
    assert seen.share.tolist() == [0, 0, 0]


def test_a_closed_loop_starts_when_its_slot_came_free() -> None:
    sight = Sight(plan_of([0] * 6, in_flight_max=2))
    sight.ended(done(0, 1 * MS, 61 * MS), reading(1 * MS))
    sight.ended(done(1, 2 * MS, 62 * MS), reading(2 * MS))
    seen = sight.observed(look_at(100 * MS, [2, 3], [61 * MS, 62 * MS]), {2: (81 * MS, 4)})
    assert seen.start_ns.tolist() == [1 * MS, 2 * MS, 61 * MS, 62 * MS]
    assert seen.done.tolist() == [True, True, False, False]
    assert seen.share.tolist() == pytest.approx([1, 1, 4 / TOKENS, 0])


def test_failures_end_without_an_answer_and_what_we_cut_is_taken_for_running() -> None:
    sight = Sight(plan_of([0, 1 * MS, 2 * MS]))
    sight.ended(done(0, 0, 30 * MS, Outcome.HTTP_ERROR), reading(0, 1, Outcome.HTTP_ERROR))
    sight.ended(done(1, 1 * MS, 40 * MS, Outcome.CENSORED), reading(1 * MS, 1, Outcome.CENSORED))
    assert sight.all_failed
    seen = sight.upto_end()
    assert seen.failed.tolist() == [False, False, False], "up to the last thing sent, nothing had failed yet"
    later = sight.observed(look_at(50 * MS, [1, 2], [1 * MS, 2 * MS]), {})
    assert later.failed.tolist() == [True, False, False]
    assert later.last_ns[0] == 30 * MS


def test_answers_shorter_than_asked_are_another_workload() -> None:
    due_ns = [k * MS for k in range(40)]
    sight = Sight(plan_of(due_ns))
    for index, at_ns in enumerate(due_ns):
        sight.ended(done(index, at_ns, at_ns + STAY_NS), reading(at_ns, tokens=3))
    assert sight.obtained_ratio == pytest.approx(3 / TOKENS)
    assert sight.observed(look_at(200 * MS, [], []), {}).output_tokens.tolist() == [3.0] * 40


def test_a_part_that_came_after_the_look_is_not_of_that_moment() -> None:
    """The parts of many streams are taken one after the other; some have more by then than at the look's own time."""
    sight = Sight(plan_of([0]))
    seen = sight.observed(look_at(30 * MS, [0], [0]), {0: (20 * MS, 2)})
    sight.ended(done(0, 0, STAY_NS), reading(0))
    ended_since = sight.observed(look_at(30 * MS, [0], [0]), {})
    for each in (seen, ended_since):
        assert not each.done.any()
        assert each.first_ns.tolist() == [20 * MS]
        assert 0 < each.share[0] < 0.5
