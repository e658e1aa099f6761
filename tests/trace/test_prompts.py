"""Block ids become prompts: equal ids equal text, nothing else in common, of any number of tokens."""

import subprocess
import sys
import tracemalloc

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from made_traces import trace

from loadgen.trace import prompts
from loadgen.trace.prompts import block_numbers, numbers
from loadgen.workload.calibration import Calibration
from loadgen.workload.prompts import token_id_prompts, word_prompts

VOCABULARY = 32_000


def ids(prompt: str | msgspec.Raw) -> list[int]:
    assert not isinstance(prompt, str)
    return msgspec.json.decode(prompt, type=list[int])


def test_numbers_are_those_of_the_published_generator() -> None:
    """SplitMix64 from state 0: the first outputs of the reference implementation, before our own seeding."""
    found = numbers(0, 0, 3, 1 << 62)
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert found.tolist() == [each % (1 << 62) for each in expected]


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 62), st.integers(0, 300), st.integers(0, 300))
def test_a_longer_row_begins_with_the_shorter(namespace: int, key: int, n: int, more: int) -> None:
    np.testing.assert_array_equal(numbers(namespace, key, n + more, 1000)[:n], numbers(namespace, key, n, 1000))


def test_prompts_share_exactly_the_blocks_they_share() -> None:
    made = trace([0, 1, 2], blocks=[[0, 1, 2], [0, 1, 3], [4]], input_tokens=[40, 48, 10])
    prompt = token_id_prompts(block_numbers(made, 7), VOCABULARY)
    a, b, c = (ids(prompt(row, int(made.input_tokens[row]))) for row in range(3))
    assert [len(each) for each in (a, b, c)] == [40, 48, 10]
    assert a[:32] == b[:32]
    assert a[32] != b[32]
    assert a[0] != c[0]
    assert ids(prompt(0, 40)) == a  # whatever was made in between


def test_what_no_block_covers_is_the_requests_own() -> None:
    made = trace([0, 1], blocks=[[0], [0]], input_tokens=[50, 50])
    prompt = token_id_prompts(block_numbers(made, 7), VOCABULARY)
    first, second = ids(prompt(0, 50)), ids(prompt(1, 50))
    assert first[:16] == second[:16]
    assert first[16:] != second[16:]


def test_words_share_as_tokens_do() -> None:
    made = trace([0, 1], blocks=[[0, 1], [0, 2]], input_tokens=[32, 32])
    for each, words in ((1.0, 32), (2.0, 16)):
        prompt = word_prompts(block_numbers(made, 7), Calibration(each, 0.0))
        first, second = (str(prompt(row, 32)).split() for row in (0, 1))
        assert len(first) == words
        assert first[: words // 2] == second[: words // 2]
        assert first[words // 2] != second[words // 2]


def test_any_number_of_distinct_tokens_is_made_in_the_memory_of_a_few(monkeypatch) -> None:
    """2,000,000 of them where 100,000 are kept, and the first again, as they were."""
    monkeypatch.setattr(prompts, "NUMBERS_KEPT", 100_000)
    rows, per_row, size = 100, 40, 500
    ids = [[row * per_row + k for k in range(per_row)] for row in range(rows)]
    made = trace([float(row) for row in range(rows)], blocks=ids, size=size, input_tokens=[per_row * size] * rows)
    draw = block_numbers(made, 7)(30_000, 0, 1.0)
    first = draw(0, per_row * size)
    tracemalloc.start()
    for row in range(rows):
        assert len(draw(row, per_row * size)) == per_row * size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 100_000 * 1.5 + 4 * 8 * per_row * size  # int64s kept, and what one prompt takes on the way
    np.testing.assert_array_equal(draw(0, per_row * size), first)


def test_a_prompt_of_more_blocks_than_are_kept_has_them_all(monkeypatch) -> None:
    monkeypatch.setattr(prompts, "NUMBERS_KEPT", 20)
    row = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    draw = block_numbers(trace([0], blocks=[row], size=10, input_tokens=[97]), 7)(VOCABULARY, 0, 1.0)
    blocks = [numbers(7, key, 10, VOCABULARY) for key in row]
    np.testing.assert_array_equal(draw(0, 97), np.concatenate(blocks)[:97])


def test_a_long_prompt_of_ids_needs_no_object_a_token() -> None:
    """Objects were 32 bytes and their list 8, and the holes they left were what a replay's memory grew by."""
    n = 100_000
    prompt = token_id_prompts(block_numbers(trace([0], input_tokens=[n]), 7), VOCABULARY)
    tracemalloc.start()
    made = prompt(0, n)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(ids(made)) == n
    assert kept < 7 * n
    assert peak < 40 * n


def test_another_process_makes_the_same() -> None:
    program = "from loadgen.trace.prompts import numbers; print(numbers(5, 12345678901, 8, 30000).tolist())"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == str(numbers(5, 12345678901, 8, 30_000).tolist())
