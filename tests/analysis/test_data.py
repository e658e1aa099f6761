"""Reading records: the cut of the batches makes no difference, and token lists become gaps and counts exactly once."""

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import MS, S, batch, plan, record, run

from loadgen.analysis.bins import BINS_MAX, TimeBins
from loadgen.analysis.data import run_data
from loadgen.analysis.gaps import Gaps, bucket_of, middle_ns
from loadgen.analysis.sample import merged
from loadgen.analysis.slo import parse_slo
from loadgen.analysis.summary import summarise
from loadgen.exchange import Outcome
from loadgen.records.schema import RECORD


@st.composite
def requests(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Requests of every outcome, of any number of events, with and without counts, in the order of their ends."""
    rows = []
    for index in range(draw(st.integers(0, 12))):
        due_ms = draw(st.integers(0, 20_000))
        outcome = draw(st.sampled_from([Outcome.OK] * 4 + list(Outcome)))
        steps = draw(st.lists(st.integers(0, 300), max_size=6))
        given_row: dict[str, Any] = {"outcome": str(outcome), "input_tokens": draw(st.none() | st.integers(0, 99))}
        if outcome is not Outcome.OK:
            given_row["detail"] = draw(st.sampled_from(["", "refused", "too slow"]))
        if steps:
            given_row["tokens_ms"] = (due_ms + 5 + np.cumsum(steps)).tolist()
            if draw(st.booleans()):
                given_row["token_counts"] = draw(st.lists(st.integers(1, 4), min_size=len(steps), max_size=len(steps)))
            given_row["output_tokens"] = draw(st.none() | st.integers(1, 40))
        if outcome is Outcome.CENSORED:
            given_row["done_ns"] = None
        rows.append(record(index, due_ms, issued_ms=due_ms + draw(st.integers(0, 3)), **given_row))
    return rows


@given(rows=requests(), cuts=st.lists(st.integers(0, 12), max_size=4), exact_max=st.sampled_from([0, 3, 4_000_000]))
@settings(max_examples=60, deadline=None)
def test_batches_cut_anywhere_give_the_same_point_without_nan(
    rows: list[dict[str, Any]], cuts: list[int], exact_max: int
) -> None:
    planned = plan(sorted(row["due_ns"] for row in rows))
    slo = parse_slo("ttft_p99=100ms, e2el<1s@90%")
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    parts = [batch(rows[a:b]) for a, b in itertools.pairwise(edges)]
    whole = summarise(run_data([batch(rows)], planned, manifest={"warmup": "none"}, gaps=Gaps(exact_max)), slo)
    split = summarise(run_data(parts, planned, manifest={"warmup": "none"}, gaps=Gaps(exact_max)), slo)
    assert whole == split  # NaN anywhere would also make them differ
    assert whole["num_prompts"] == sum(whole[key] for key in ("completed", "failed", "censored", "unsent"))


def test_a_slice_of_a_batch_is_read_as_the_rows_it_has() -> None:
    rows = [record(k, 100 * k, tokens_ms=[100 * k + 10, 100 * k + 20 + k]) for k in range(6)]
    sliced = run_data([batch(rows).slice(2, 3)], plan([0] * 6))
    assert sliced.columns["index"].tolist() == [2, 3, 4]
    found = sliced.gaps.samples(np.zeros(3, np.int64), 1, np.zeros(3, np.int64))[0]
    assert (found.values / MS).tolist() == [12, 13, 14]


def test_only_requests_that_ended_well_have_gaps_and_all_have_tokens() -> None:
    rows = [
        record(0, tokens_ms=[10, 30]),
        record(1, tokens_ms=[10, 99], outcome="truncated"),
        record(2, outcome="timeout", done_ms=500),
    ]
    data = run(rows)
    assert (data.gaps.samples(np.zeros(3, np.int64), 1, np.zeros(3, np.int64))[0].values / MS).tolist() == [20]
    assert data.tokens.total == 4


def test_tokens_of_an_event_that_the_server_counted_are_shared_out_over_the_events() -> None:
    """Usage says 10 tokens, four events came: 2, 3, 2, 3 of them, ten in all."""
    data = run([record(0, tokens_ms=[0, 1000, 2000, 3000], output_tokens=10)])
    edges = np.array([0, 500, 1500, 2500, 3500]) * 1.0 * MS
    assert data.tokens.between(edges).tolist() == pytest.approx([2, 3, 2, 3])


def test_counts_of_another_length_than_the_events_are_not_believed() -> None:
    data = run([record(0, tokens_ms=[0, 10], token_counts=[1, 1, 1], output_tokens=2), record(1, tokens_ms=[5, 9])])
    assert data.columns["extra_tokens"].tolist() == [0, 0]
    assert data.tokens.total == 4


def test_stamps_that_run_backwards_are_counted() -> None:
    rows = [
        record(0, tokens_ms=[10, 20]),
        record(1, tokens_ms=[30, 20]),
        record(2, 50, tokens_ms=[40, 60]),
        record(3, tokens_ms=[10, 20], done_ms=15),
    ]
    assert run(rows).columns["backward"].tolist() == [0, 1, 1, 1]


def test_no_batches_and_empty_batches_are_an_empty_run() -> None:
    for batches in ([], [batch([])], [pa.RecordBatch.from_pylist([], schema=RECORD)] * 2):
        assert len(run_data(batches, plan([]))) == 0


def test_a_late_request_without_gaps_does_not_change_how_gaps_are_counted() -> None:
    rows = [record(0, 20_000, outcome="http_error", done_ms=20_010), record(1, 65, tokens_ms=[70, 70])]
    one, two = Gaps(exact_max=0), Gaps(exact_max=0)
    planned = plan([0, 0])
    run_data([batch(rows)], planned, gaps=one)
    run_data([batch(rows[:1]), batch(rows[1:])], planned, gaps=two)
    found = [each.samples(np.array([-1, 0]), 1, np.zeros(2, np.int64))[0].n for each in (one, two)]
    assert found == [1, 1]


@given(st.lists(st.integers(0, 2**41 - 1), min_size=1, max_size=50))
def test_a_bucket_keeps_three_significant_digits(gaps_ns: list[int]) -> None:
    values = np.array(gaps_ns)
    middles = middle_ns(bucket_of(values))
    assert np.all(np.abs(middles - values) <= values / 2048 + 0.5)
    small = values < 2048
    assert np.array_equal(middles[small], values[small])


def test_beyond_the_limit_percentiles_stay_within_a_thousandth_and_the_warm_up_can_be_left_out() -> None:
    rng = np.random.default_rng(1)
    per_row, rows = 50, 400
    gaps_ns = (rng.lognormal(2.5, 0.6, (rows, per_row)) * MS).astype(np.int64)
    gaps_ns[:100] *= 10  # a slow warm-up
    issued_ns = np.arange(rows) * S // 10
    exact, counted = Gaps(), Gaps(exact_max=1000)
    for some in np.array_split(np.arange(rows), 7):
        for each in (exact, counted):
            each.add(gaps_ns[some].ravel(), np.full(len(some), per_row), issued_ns[some])
    assert exact.exact
    assert not counted.exact
    part = np.where(np.arange(rows) < 100, -1, (np.arange(rows) - 100) * 5 // 300)
    nothing = np.zeros(rows, np.int64)
    truth = merged(exact.samples(part, 5, nothing))
    found = counted.samples(part, 5, nothing)
    assert abs(merged(found).n - truth.n) <= per_row * 14  # the slice of 1.024 s that holds the edge
    for share in (0.1, 0.5, 0.9, 0.99):
        assert merged(found).quantile(share) == pytest.approx(truth.quantile(share), rel=0.04)
    everything = np.zeros(rows, np.int64)
    every_gap = np.sort(gaps_ns.ravel())
    whole = counted.samples(everything, 1, nothing)[0]
    assert whole.n == rows * per_row
    assert merged([exact.samples(everything, 1, nothing)[0]]).values.tolist() == every_gap.tolist()


def test_memory_does_not_grow_with_tokens() -> None:
    """Ten million gaps in counts take what ten thousand take."""

    def kept_bytes(rounds: int) -> int:
        gaps, tokens = Gaps(exact_max=1000), TimeBins()
        block = np.full(100_000, 10 * MS)
        for _ in range(rounds):
            gaps.add(block, np.array([100_000]), np.array([0]))
            tokens.add(block, np.ones(100_000, np.int64))
        return sum(each.nbytes for counted in gaps._counted.values() for each in counted) + tokens._counts.nbytes

    assert kept_bytes(100) == kept_bytes(1)


@given(st.lists(st.tuples(st.integers(0, 10**13), st.integers(0, 5)), min_size=1, max_size=30), st.randoms())
def test_bins_do_not_depend_on_the_order_of_time(stamps: list[tuple[int, int]], random: Any) -> None:
    first, second = TimeBins(), TimeBins()
    shuffled = random.sample(stamps, len(stamps))
    first.add(np.array([t for t, _ in stamps]), np.array([n for _, n in stamps]))
    for t, n in shuffled:
        second.add(np.array([t]), np.array([n]))
    assert first.width_ns == second.width_ns
    edges = np.linspace(0, 1.1e13, 20)
    assert first.between(edges).tolist() == second.between(edges).tolist()
    assert first.total == second.total == sum(n for _, n in stamps)
    assert first.width_ns * BINS_MAX > max(t for t, _ in stamps)
