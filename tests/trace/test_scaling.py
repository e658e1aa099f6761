"""Parts and multiples of a trace: nothing is lost or shared that was not before."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_traces import S, trace, traces

from loadgen.trace.scaling import dequantized, faster, idle_capped, overlaid, repeated, sampled, take, window
from loadgen.trace.table import Edge, Trace


def sound(t: Trace) -> None:
    """What holds for every trace."""
    n = len(t)
    assert (np.diff(t.arrival_ns) >= 0).all()
    assert ((t.parent >= -1) & (t.parent < np.arange(n))).all()  # a parent comes first
    assert ((t.edge == Edge.NONE) == (t.parent < 0)).all()
    assert (t.session[t.parent >= 0] == t.session[t.parent[t.parent >= 0]]).all()
    if t.blocks is not None:
        assert len(t.blocks.offsets) == n + 1
        assert t.blocks.offsets[-1] == len(t.blocks.ids)


@given(traces(), st.data())
def test_any_rows_make_a_trace(t: Trace, data: st.DataObject) -> None:
    rows = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=len(t), max_size=len(t))))
    part = take(t, rows)
    sound(part)
    np.testing.assert_array_equal(part.row, t.row[rows])
    for k, row in enumerate(rows.tolist()):
        np.testing.assert_array_equal(part.blocks.of(k), t.blocks.of(row))


@given(traces(), st.integers(0, 100), st.integers(0, 100))
def test_a_window_holds_what_arrived_in_it(t: Trace, start_s: int, length_s: int) -> None:
    part = window(t, start_s * S, (start_s + length_s) * S)
    sound(part)
    inside = (t.arrival_ns >= start_s * S) & (t.arrival_ns < (start_s + length_s) * S)
    np.testing.assert_array_equal(part.arrival_ns, t.arrival_ns[inside] - start_s * S)


@given(traces(), st.integers(2, 4))
def test_copies_share_nothing_with_each_other(t: Trace, copies: int) -> None:
    for made in (overlaid(t, copies), repeated(t, copies)):
        sound(made)
        assert len(made) == copies * len(t)
        named = made.session[made.session >= 0]
        assert len(np.unique(named)) == copies * len(np.unique(t.session[t.session >= 0]))
        assert len(np.unique(made.blocks.ids)) == copies * len(np.unique(t.blocks.ids))
        assert np.bincount(made.row)[1:].tolist() == [copies] * len(t)


@given(traces())
def test_repeating_keeps_every_gap(t: Trace) -> None:
    twice = repeated(t, 2)
    np.testing.assert_array_equal(np.diff(twice.arrival_ns[: len(t)]), np.diff(twice.arrival_ns[len(t) :]))
    assert (twice.parent >= 0).sum() == 2 * (t.parent >= 0).sum()


@given(traces(), st.sampled_from((0.0, 0.3, 1.0)), st.integers(0, 9))
def test_sessions_are_kept_whole_or_not_at_all(t: Trace, share: float, seed: int) -> None:
    part = sampled(t, share, seed)
    sound(part)
    for name in np.unique(part.session[part.session >= 0]):
        assert (part.session == name).sum() == (t.session == name).sum()
    assert len(part) == (0 if share == 0 else len(part) if share < 1 else len(t))


def test_without_sessions_prompts_that_begin_alike_stay_together() -> None:
    rows = [[0, 1 + k % 7, 100 + k] for k in range(70)]
    part = sampled(trace(list(map(float, range(70))), blocks=rows), 0.5, seed=3)
    seconds, counts = np.unique([part.blocks.of(k)[1] for k in range(len(part))], return_counts=True)
    assert 0 < len(seconds) < 7
    assert (counts == 10).all()


@given(traces(), st.sampled_from((0.5, 2.0, 10.0)))
def test_speed_divides_every_gap(t: Trace, speed: float) -> None:
    made = faster(t, speed)
    sound(made)
    np.testing.assert_allclose(made.arrival_ns, t.arrival_ns / speed, atol=1)


def test_idle_stretches_are_cut_and_nothing_else() -> None:
    made = idle_capped(trace([0, 1, 100, 102]), 10 * S)
    assert made.arrival_ns.tolist() == [0, S, 11 * S, 13 * S]
    assert "1 idle stretches" in made.survey.oddities[0]


def test_ties_are_spread_over_their_tick_in_their_order() -> None:
    ticks = np.repeat(np.arange(200) * 3.0, 5).tolist()
    t = trace(ticks)
    made = dequantized(t, 3 * S, seed=1)
    sound(made)
    assert (made.row == t.row).all()
    jitter = made.arrival_ns - t.arrival_ns
    assert ((jitter >= 0) & (jitter < 3 * S)).all()
    assert jitter.mean() == pytest.approx(1.5 * S, rel=0.1)
