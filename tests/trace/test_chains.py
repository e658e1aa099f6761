"""Chains and hits in columns against the plain way of doing it, row by row."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from made_traces import blocks

from loadgen.trace import chains

ROWS = st.lists(st.lists(st.integers(0, 6), max_size=6), min_size=1, max_size=12)


def by_prefix(rows: list[list[int]]) -> list[list[int]]:
    """Each id stands for its row up to there; numbered as they are first seen."""
    known: dict[tuple[int, ...], int] = {}
    return [[known.setdefault(tuple(row[: k + 1]), len(known)) for k in range(len(row))] for row in rows]


@given(rows=ROWS)
def test_single_blocks_are_chained(rows: list[list[int]]) -> None:
    flat = blocks(rows, 16)
    chained = chains.chain(flat.offsets, flat.ids)
    want = [each for row in by_prefix(rows) for each in row]
    assert len(set(zip(chained.tolist(), want, strict=True))) == len(set(want)) == len(set(chained.tolist()))
    assert chains.broken_chain(flat.offsets, chained) is None


@given(rows=ROWS, wide=st.sampled_from([1, 2**40, 2**60]))
def test_chained_ids_are_numbered_as_they_are_first_seen(rows: list[list[int]], wide: int) -> None:
    flat = blocks(rows, 16)
    assert chains.chain(flat.offsets, flat.ids * wide).tolist() == [each for row in by_prefix(rows) for each in row]


@given(rows=ROWS)
def test_what_is_not_chained_is_noticed(rows: list[list[int]]) -> None:
    flat = blocks(rows, 16)
    before: dict[int, int] = {}
    honest = all(
        before.setdefault(each, row[k - 1] if k else -1) == (row[k - 1] if k else -1)
        for row in rows
        for k, each in enumerate(row)
    )
    assert (chains.broken_chain(flat.offsets, chains.dense(flat.ids)) is None) == honest


@given(rows=ROWS, tails=st.lists(st.integers(1, 16), min_size=12, max_size=12))
def test_hits_are_what_an_endless_cache_has(rows: list[list[int]], tails: list[int]) -> None:
    flat = blocks(by_prefix(rows), 16)
    lengths = np.array([16 * (len(row) - 1) + tail if row else 0 for row, tail in zip(rows, tails, strict=False)])
    cache: set[tuple[int, ...]] = set()
    want = []
    for row, length in zip(rows, lengths.tolist(), strict=True):
        prefixes = [tuple(row[: k + 1]) for k in range(len(row))]
        want.append(min(16 * sum(each in cache for each in prefixes), length))
        cache.update(prefixes)
    assert chains.hit_tokens(flat, lengths).tolist() == want


@given(rows=ROWS, order=st.lists(st.integers(0, 11), min_size=1, max_size=12))
def test_rows_are_taken_with_their_blocks(rows: list[list[int]], order: list[int]) -> None:
    flat = blocks(by_prefix(rows), 16)
    places = np.array([k % len(rows) for k in order])
    taken = chains.take(flat, places)
    want = [by_prefix(rows)[k] for k in places.tolist()]
    pairs = {(a, b) for k, row in enumerate(want) for a, b in zip(taken.of(k).tolist(), row, strict=True)}
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
