"""Lengths as users write them: syntax, means, bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import BadInputError
from loadgen.rng import generator
from loadgen.workload.distributions import TOKENS_MAX, parse_distribution

N = 20_000


def draw(text: str, n: int = N) -> np.ndarray:
    return parse_distribution(text).draw(generator(7, "test"), n)


@pytest.mark.parametrize(("text", "tokens"), [("512", 512), ("8k", 8000), (" 1 ", 1)])
def test_a_number_is_that_number_every_time(text: str, tokens: int) -> None:
    assert draw(text, 5).tolist() == [tokens] * 5


@pytest.mark.parametrize(
    ("text", "mean", "sd"),
    [
        ("uniform:100-900", 500, np.sqrt((801**2 - 1) / 12)),
        ("normal:512,50", 512, 50),
        ("lognormal:512,0.6", 512, 512 * np.sqrt(np.exp(0.36) - 1)),
    ],
)
def test_means_and_spreads_are_those_asked_for(text: str, mean: float, sd: float) -> None:
    values = draw(text)
    assert abs(values.mean() - mean) < 5 * sd / np.sqrt(N)
    assert values.std() == pytest.approx(sd, rel=0.05)


def test_uniform_reaches_both_ends_and_no_further() -> None:
    assert set(draw("uniform:3-6").tolist()) == {3, 4, 5, 6}


def test_lognormal_sigma_is_that_of_the_logarithm() -> None:
    assert np.log(draw("lognormal:5000,0.6")).std() == pytest.approx(0.6, rel=0.03)


@pytest.mark.parametrize("text", ["normal:2,50", "lognormal:2,3", "normal:9m,5e6"])
def test_no_length_leaves_the_bounds(text: str) -> None:
    values = draw(text)
    assert values.min() >= 1
    assert values.max() <= TOKENS_MAX


@given(
    st.sampled_from(["512", "uniform:1-99", "normal:50,9", "lognormal:50,1"]), st.integers(1, 50), st.integers(1, 50)
)
def test_a_short_draw_is_the_beginning_of_a_long_one(text: str, short: int, more: int) -> None:
    assert draw(text, short + more)[:short].tolist() == draw(text, short).tolist()


NO_LENGTHS = """
abc 0 -5 1.5 20m : 8k,9 fixed:5 gauss:1,2 uniform:5 uniform:9-3 uniform:a-b uniform:0-5 uniform:1-20m
normal:5 normal:5,-1 normal:5,nan normal:5,inf normal:-5,1 lognormal:5,6
"""


@pytest.mark.parametrize("text", ["", *NO_LENGTHS.split()])
def test_what_is_no_length_is_refused_with_the_syntax(text: str) -> None:
    with pytest.raises(BadInputError) as refused:
        parse_distribution(text)
    assert "uniform:100-900" in refused.value.hint


@given(st.text(max_size=20))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        values = draw(text, 3)
    except BadInputError:
        return
    assert values.min() >= 1
