"""Prompts: exact length, the same in every process, and different from their first word on."""

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Inner
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from loadgen.errors import BadInputError
from loadgen.workload.calibration import Calibration
from loadgen.workload.prompts import (
    PromptSource,
    exact_prompts,
    recorded_prompts,
    single_token_words,
    token_id_prompts,
    tokenizer_prompts,
    word_prompts,
)
from loadgen.workload.tokenizer import Tokenizer, load_tokenizer
from loadgen.workload.words import WORDS

ENGLISH = " ".join(f"{first} {second}" for first, second in zip(WORDS, reversed(WORDS), strict=True))
LATIN = """
arma virumque cano troiae qui primus ab oris italiam fato profugus laviniaque venit litora multum ille et terris
iactatus et alto vi superum saevae memorem iunonis ob iram multa quoque et bello passus dum conderet urbem
inferretque deos latio genus unde latinum albanique patres atque altae moenia romae musa mihi causas memora quo
numine laeso quidve dolens regina deum tot volvere casus insignem pietate virum tot adire labores impulerit
tantaene animis caelestibus
"""


def counted_prompts(seed: int, count: Callable[[str], int], overhead: int = 0, prefix_tokens: int = 0) -> PromptSource:
    return exact_prompts(seed, count, single_token_words(count, WORDS), overhead, prefix_tokens)


def trained(text: str, vocab_size: int, *, byte_level: bool = True) -> Inner:
    """A small BPE tokenizer that puts <s> before every text, as Llama's does."""
    inner = Inner(models.BPE(unk_token="<unk>"))
    if byte_level:
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    else:
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=["<unk>", "<s>"], show_progress=False)
    inner.train_from_iterator([text] * 3, trainer)
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    inner.enable_truncation(64)
    return inner


@pytest.fixture(scope="module", params=["english", "english-few-merges", "latin", "metaspace"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    inner = {
        "english": lambda: trained(ENGLISH, 1500),
        "english-few-merges": lambda: trained(ENGLISH, 400),  # many words of the list are two tokens or more
        "latin": lambda: trained(LATIN, 800),  # hardly any word of the list is one token
        "metaspace": lambda: trained(ENGLISH, 1500, byte_level=False),
    }[request.param]()
    folder = tmp_path_factory.mktemp(request.param)
    inner.save(str(folder / "tokenizer.json"))
    return load_tokenizer(folder)


def tokens(prompt: str | msgspec.Raw) -> list[Any]:
    return prompt.split() if isinstance(prompt, str) else msgspec.json.decode(prompt, type=list)


# --- exact lengths


@given(st.integers(1, 2000), st.integers(0, 10**9), st.integers(0, 2**63))
def test_token_ids_are_exactly_as_many_and_in_the_safe_range(n: int, index: int, seed: int) -> None:
    ids = tokens(token_id_prompts(seed, 128_256)(index, n))
    assert len(ids) == n
    assert min(ids) >= 100
    assert max(ids) < 30_000
    assert all(type(token) is int for token in ids)


@given(st.integers(3, 150), st.integers(0, 1000))
def test_token_ids_stay_inside_a_tiny_vocabulary(vocab_size: int, index: int) -> None:
    assert all(0 <= token < vocab_size for token in tokens(token_id_prompts(0, vocab_size)(index, 50)))


@settings(max_examples=60)
@given(n=st.integers(8, 1500), index=st.integers(0, 10**6))
def test_text_by_a_tokenizer_is_exactly_as_long_as_asked(tokenizer: Tokenizer, n: int, index: int) -> None:
    text = tokenizer_prompts(0, tokenizer, prefix_tokens=20)(index, n)
    assert isinstance(text, str)
    assert len(tokenizer.encode(text)) == n


@settings(max_examples=30)
@given(n=st.integers(40, 400), index=st.integers(0, 10**6))
def test_text_by_a_count_that_includes_bos_leaves_room_for_the_template(n: int, index: int) -> None:
    """`count` is the server's own /tokenize with BOS; 17 tokens of chat template come on top."""
    source = counted_prompts(0, lambda text: 1 + len(text.split()), overhead=17)
    assert 1 + len(str(source(index, n)).split()) + 17 == n


def test_a_tokenizer_that_joins_words_is_repaired() -> None:
    """Every 'of the', and every 'x x', is one token instead of two, which no count of single words foretells."""

    def count(text: str) -> int:
        words = text.split()
        return len(words) - sum(second in {first, "the"} for first, second in pairwise(words))

    prompts = [str(counted_prompts(0, count)(index, 700)) for index in range(30)]
    assert [count(text) for text in prompts] == [700] * 30
    assert any(len(text.split()) > 700 for text in prompts)


@pytest.mark.parametrize("n", [-5, 0, 1, 10, 17])
def test_a_prompt_shorter_than_the_overhead_is_one_word(n: int) -> None:
    assert len(str(counted_prompts(0, lambda text: len(text.split()), overhead=17)(3, n)).split()) == 1
    assert len(str(word_prompts(0, Calibration(1.0, 17.0))(3, n)).split()) == 1


@given(st.integers(1, 1500), st.integers(0, 10**6))
def test_words_are_as_many_as_the_calibration_says(n: int, index: int) -> None:
    calibration = Calibration(1.25, 9.0)
    assert len(str(word_prompts(0, calibration)(index, n)).split()) == calibration.words_for(n)


def test_single_token_words_are_found_with_few_counts() -> None:
    bad = {"people", "thought", "number"}
    calls = []

    def count(text: str) -> int:
        calls.append(text)
        return 1 + sum(2 if word in bad else 1 for word in text.split())

    assert single_token_words(count, WORDS) == tuple(word for word in WORDS if word not in bad)
    assert len(calls) < 60
    assert single_token_words(count, ()) == ()


def test_a_tokenizer_without_words_is_refused() -> None:
    with pytest.raises(BadInputError, match="only 0 of the words"):
        counted_prompts(0, lambda text: len(text.replace(" ", "")) * 2)


# --- the same everywhere, different from each other


SOURCES: dict[str, Callable[[int, int], PromptSource]] = {
    "ids": lambda seed, prefix: token_id_prompts(seed, 32_000, prefix),
    "words": lambda seed, prefix: word_prompts(seed, Calibration(), prefix),
    "counted": lambda seed, prefix: counted_prompts(seed, lambda text: len(text.split()), prefix_tokens=prefix),
}
each_source = pytest.mark.parametrize("source", SOURCES)


@each_source
def test_prompts_do_not_depend_on_the_order_of_asking(source: str) -> None:
    one, other = SOURCES[source](4, 5), SOURCES[source](4, 5)
    assert [one(index, 40) for index in range(20)] == [other(index, 40) for index in reversed(range(20))][::-1]


@each_source
def test_another_seed_makes_other_prompts(source: str) -> None:
    assert SOURCES[source](1, 0)(0, 40) != SOURCES[source](2, 0)(0, 40)


@each_source
def test_no_two_prompts_begin_alike(source: str) -> None:
    """Neighbours differ in the first token already, and any two of 5,000 requests within the first three."""
    begin = [
        tuple(tokens(SOURCES[source](0, 0)(index, 8))[:3]) for index in range(0, 5_000, 7 if source == "counted" else 1)
    ]
    assert len(set(begin)) == len(begin)
    assert all(here[0] != there[0] for here, there in pairwise(begin))


@each_source
def test_the_shared_prefix_is_shared_and_nothing_else_is(source: str) -> None:
    prompts = [tokens(SOURCES[source](0, 30)(index, 100)) for index in range(50)]
    assert {len(prompt) for prompt in prompts} == {100}
    assert len({tuple(prompt[:30]) for prompt in prompts}) == 1
    assert len({prompt[30] for prompt in prompts}) == 50


@each_source
def test_a_prompt_no_longer_than_the_prefix_keeps_a_token_of_its_own(source: str) -> None:
    prompts = [tokens(SOURCES[source](0, 30)(index, 10)) for index in range(50)]
    assert {len(prompt) for prompt in prompts} == {10}
    assert len({tuple(prompt[:9]) for prompt in prompts}) == 1
    assert len({prompt[9] for prompt in prompts}) == 50


DIGEST = """
import hashlib
import msgspec
from loadgen.workload.calibration import Calibration
from loadgen.workload.prompts import token_id_prompts, word_prompts
sources = token_id_prompts(7, 32_000), word_prompts(7, Calibration())
made = [source(index, 64) for source in sources for index in range(9)]
made = [each if isinstance(each, str) else msgspec.json.decode(each) for each in made]
print(hashlib.sha256(repr(made).encode()).hexdigest())
"""


def test_every_process_makes_the_same_bytes() -> None:
    """And so did every version: a change here makes old runs impossible to repeat, so say so in the change log."""
    found = []
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", DIGEST]
        found.append(
            subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
        )
    assert found == ["ed3e9ee53615b924eac7134f17a50b5a13e072b93b3d3bf2bcae9e567132ea60"] * 2


def test_a_vocabulary_of_nothing_is_refused() -> None:
    with pytest.raises(BadInputError, match="so few tokens"):
        token_id_prompts(0, 1)


def test_recorded_prompts_are_sent_as_they_are() -> None:
    assert [recorded_prompts(("a", "b"))(index, 99) for index in (1, 0)] == ["b", "a"]


def test_the_words_are_short_plain_and_different() -> None:
    assert len(set(WORDS)) == len(WORDS) >= 200
    assert all(word.isascii() and word.isalpha() and word.islower() and 2 <= len(word) <= 8 for word in WORDS)


# --- loading a tokenizer


def test_a_tokenizer_is_loaded_from_its_file_or_its_folder(tmp_path: Path) -> None:
    inner = trained(LATIN, 300)
    inner.save(str(tmp_path / "tokenizer.json"))
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        loaded = load_tokenizer(path)
        assert loaded.vocab_size == inner.get_vocab_size()
        assert loaded.count("arma virumque cano " * 50) == len(loaded.encode("arma virumque cano " * 50)) > 64


def test_a_missing_or_broken_tokenizer_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no tokenizer at") as refused:
        load_tokenizer(tmp_path)
    assert "tokenizer.json" in refused.value.hint
    (tmp_path / "tokenizer.json").write_text('{"model": 5}')
    with pytest.raises(BadInputError, match="is not a tokenizer"):
        load_tokenizer(tmp_path)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(BadInputError, match="package 'tokenizers'") as refused:
        load_tokenizer(tmp_path)
    assert "pip install" in refused.value.hint
