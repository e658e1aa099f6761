"""Offline plans: a warm-up, then the whole set in every repeat, with a barrier before each batch."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import BadInputError
from loadgen.schedule.batches import batch_plan, parse_batch_sizes


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 4))
def test_every_repeat_sends_the_whole_set_in_batches_of_that_size(prompts: int, size: int, repeats: int) -> None:
    inputs = np.arange(prompts) + 1
    plan = batch_plan(inputs, 2 * inputs, "s2s", batch_size=size, repeats=repeats)
    size = min(size, prompts)
    sizes = np.diff([0, *plan.barriers, len(plan)])
    assert sizes[0] == size  # the warm-up
    assert sizes.max() == size
    np.testing.assert_array_equal(plan.input_tokens[size:].reshape(repeats, prompts), np.tile(inputs, (repeats, 1)))
    np.testing.assert_array_equal(plan.output_tokens, 2 * plan.input_tokens)
    assert all(size + prompts * repeat in plan.barriers for repeat in range(repeats))  # no batch spans two repeats


def test_sizes() -> None:
    assert parse_batch_sizes("1..8") == (1, 2, 4, 8)
    assert parse_batch_sizes("3,all") == (3, math.inf)


@pytest.mark.parametrize("text", ["", "0", "1.5", "8..1", "many", "-2"])
def test_what_is_no_batch_size_is_refused(text: str) -> None:
    with pytest.raises(BadInputError):
        parse_batch_sizes(text)
