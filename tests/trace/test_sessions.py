"""The three ways to replay a conversation, on hand-made ones and on any."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from made_traces import S, trace, traces

from loadgen.trace.sessions import MODES, course
from loadgen.trace.table import Edge, Trace

R, A = int(Edge.AFTER_RESPONSE), int(Edge.AFTER_START)


def talk() -> Trace:
    """Turn 1 at 0 s took 2 s, turn 2 at 12 s took 3 s, turn 3 at 20 s; somebody else at 5 s."""
    return trace(
        [0, 5, 12, 20], session=[0, 1, 0, 0], parent=[-1, -1, 0, 2], edge=[0, 0, R, R], duration_ns=[2 * S, S, 3 * S, S]
    )


def test_strict_knows_no_sessions() -> None:
    found = course(talk(), "strict")
    assert (found.due_ns / S).tolist() == [0, 5, 12, 20]
    assert found.after.tolist() == [-1] * 4


def test_causal_waits_for_the_turn_before() -> None:
    found = course(talk(), "causal")
    assert (found.due_ns / S).tolist() == [0, 5, 12, 20]
    assert found.after.tolist() == [-1, -1, 0, 2]
    assert found.think_ns.tolist() == [0] * 4


def test_closed_pays_the_think_time_and_not_the_old_server() -> None:
    found = course(talk(), "closed")
    assert found.row.tolist() == [0, 1, 2, 3]
    assert (found.think_ns / S).tolist() == [0, 0, 10, 5]  # 12 − (0 + 2), 20 − (12 + 3)
    assert (found.due_ns / S).tolist() == [0, 5, 10, 15]  # no earlier, were the server infinitely fast
    assert found.after.tolist() == [-1, -1, 0, 2]
    assert found.guessed == 0


def test_closed_without_a_recorded_duration_is_causal_and_says_so() -> None:
    found = course(trace([0, 12], session=[0, 0], parent=[-1, 0], edge=[0, R]), "closed")
    assert (found.due_ns / S).tolist() == [0, 12]
    assert (found.after.tolist(), found.think_ns.tolist(), found.guessed) == ([-1, 0], [0, 0], 1)


def test_an_agent_joins_its_sub_agents() -> None:
    agents = trace(
        [0, 4, 4, 9],
        session=[0, 0, 0, 0],
        parent=[-1, 0, 0, 0],
        edge=[0, R, A, R],
        duration_ns=[S, 3 * S, 2 * S, S],
        joins=np.array([[3, 1], [3, 2]]),
    )
    for mode in ("causal", "closed"):
        found = course(agents, mode)
        assert found.joins == ((3, 1), (3, 2))
        assert found.after.tolist() == [-1, 0, -1, 0]


@given(traces(), st.sampled_from(MODES))
def test_every_request_is_there_once_and_follows_an_earlier_one(t: Trace, mode) -> None:
    found = course(t, mode)
    assert sorted(found.row.tolist()) == list(range(len(t)))
    assert (np.diff(found.due_ns) >= 0).all()
    assert (found.after < np.arange(len(t))).all()
    for k, followed in enumerate(found.after.tolist()):
        if followed >= 0:
            assert t.parent[found.row[k]] == found.row[followed]
