"""The line between words and the server's token count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import TargetError
from loadgen.workload.calibration import Calibration, fit


@given(
    st.floats(0.5, 4.0),
    st.floats(0.0, 200.0),
    st.lists(st.integers(1, 4000), min_size=2, max_size=8, unique=True),
)
def test_a_known_line_is_recovered(tokens_per_word: float, overhead: float, words: list[int]) -> None:
    found = fit(words, [tokens_per_word * count + overhead for count in words])
    assert found.tokens_per_word == pytest.approx(tokens_per_word, rel=1e-6)
    assert found.overhead == pytest.approx(overhead, abs=1e-4 * max(words))


@given(st.integers(0, 60), st.integers(1, 5000))
def test_a_word_a_token_and_a_template_are_met_exactly(template: int, input_tokens: int) -> None:
    """What the server then reports, template included, is what was asked, wherever that is possible."""
    calibration = fit([8, 64, 256], [count + template for count in (8, 64, 256)])
    assert calibration.words_for(input_tokens) + template == max(input_tokens, template + 1)


def test_noise_of_long_words_averages_out() -> None:
    rng = np.random.default_rng(1)
    words = [16, 64, 256, 1024]
    found = fit(words, [round(1.3 * count + 25 + rng.normal(0, 2)) for count in words])
    assert found.tokens_per_word == pytest.approx(1.3, rel=0.02)
    assert found.words_for(525) == pytest.approx(500 / 1.3, rel=0.02)


def test_without_calibration_a_word_is_a_token() -> None:
    assert Calibration().words_for(77) == 77


@pytest.mark.parametrize("prompt_tokens", [[0, 0], [50, 50], [90, 40]])
def test_a_server_that_does_not_count_is_found_out(prompt_tokens: list[int]) -> None:
    with pytest.raises(TargetError, match="cannot be right"):
        fit([10, 100], prompt_tokens)


def test_one_length_is_no_line() -> None:
    with pytest.raises(ValueError, match="two different lengths"):
        fit([10, 10], [12, 12])
