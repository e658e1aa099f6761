"""Prompts of a wanted token length, made when they are asked for.

Rule: a prompt depends on (seed, request index, length) only, never on order, process or earlier calls. No two requests
begin alike: the first three tokens (or words) after the shared prefix spell the request's index, so a prefix cache
cannot help unless `prefix_tokens` asks for it. The same seed makes the same prompts again, so a server that has seen a
run knows its prompts: give every run on a living server its own seed. Encoding into a request body is the caller's.
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from loadgen.errors import BadInputError
from loadgen.rng import generator
from loadgen.workload.calibration import Calibration
from loadgen.workload.distributions import Int64s
from loadgen.workload.tokenizer import Count, Tokenizer
from loadgen.workload.words import WORDS

PromptSource = Callable[[int, int], str | msgspec.Raw]  # (request index, input tokens) → a text, or ids as JSON

# Where a prompt's numbers come from: (request index, n) → int64[n], each below `choices`. A source of them is made for
# (choices, how many all prompts share, tokens that one number becomes); a seed stands for the usual one.
Draw = Callable[[int, int], Int64s]
Origin = int | Callable[[int, int, float], Draw]

TOKEN_ID_MIN, TOKEN_ID_MAX = 100, 30_000  # special tokens lie below or above in the vocabularies of the field
POOL_MIN = 32  # single-token words that are enough to make prompts differ
REPAIRS_MAX = 16


def recorded_prompts(texts: Sequence[str]) -> PromptSource:
    """The texts of a dataset, as they are; the index counts, the length does not."""
    return lambda index, _input_tokens: texts[index]


def token_id_prompts(seed: Origin, vocab_size: int, prefix_tokens: int = 0) -> PromptSource:
    """JSON lists of exactly `input_tokens` token ids, for servers whose completions endpoint takes them."""
    high = min(vocab_size, TOKEN_ID_MAX)
    low = min(TOKEN_ID_MIN, high // 2)
    draw = _draws(seed, high - low, prefix_tokens)
    spelled = np.array([f"{token}," for token in range(low, high)], "S")  # the JSON is the prompt: no object a token

    def prompt(index: int, input_tokens: int) -> msgspec.Raw:
        return msgspec.Raw(b"[%b]" % spelled[draw(index, input_tokens)].tobytes().replace(b"\0", b"")[:-1])

    return prompt


def word_prompts(
    seed: Origin, calibration: Calibration, prefix_tokens: int = 0, words: Sequence[str] = WORDS
) -> PromptSource:
    """Common words, as many as the calibration says; exact as far as every one of `words` costs the same."""
    prefix_words = round(prefix_tokens / calibration.tokens_per_word)
    draw = _draws(seed, len(words), prefix_words, calibration.tokens_per_word)
    table = np.array(words, dtype=object)  # one vectorised look-up a prompt
    return lambda index, input_tokens: " ".join(table[draw(index, calibration.words_for(input_tokens))])


def tokenizer_prompts(seed: Origin, tokenizer: Tokenizer, overhead: int = 0, prefix_tokens: int = 0) -> PromptSource:
    """Text of exactly `input_tokens` − `overhead` tokens by a local tokenizer, out of words that are one token each."""
    pool = single_token_words(tokenizer.count, WORDS)
    if len(pool) < POOL_MIN:  # a small vocabulary, or one of another language: take the words it has
        pool = single_token_words(tokenizer.count, tokenizer.vocabulary_words())
    return exact_prompts(seed, tokenizer.count, pool, overhead, prefix_tokens)


def single_token_words(count: Count, candidates: Sequence[str]) -> tuple[str, ...]:
    """The candidates that, after a space, add exactly one token to a text; found by halving, with few counts.

    A word adds at least one token, so a group that adds as many tokens as it has words is good as a whole.
    """
    if not candidates:
        return ()
    anchor = candidates[0]
    alone = count(anchor)

    def single(group: Sequence[str]) -> list[str]:
        if count(" ".join((anchor, *group))) - alone == len(group):
            return list(group)
        if len(group) == 1:
            return []
        half = len(group) // 2
        return single(group[:half]) + single(group[half:])

    return tuple(single(candidates))


def exact_prompts(seed: Origin, count: Count, pool: Sequence[str], overhead: int, prefix_tokens: int) -> PromptSource:
    """Text of `input_tokens` − `overhead` tokens by `count`, at least one word; counted, repaired, counted again.

    `pool`: words that are one token each. `count` may count a BOS token or not, as long as it always does.
    """
    if len(pool) < POOL_MIN:
        raise BadInputError(
            f"This tokenizer has only {len(pool)} of the words that prompts are made of as single tokens.",
            "Send token ids instead of text, or prompts of your own with --dataset custom.",
        )
    draw, table = _draws(seed, len(pool), prefix_tokens), np.array(pool, dtype=object)
    fixed = count(pool[0]) - 1  # BOS where it is counted, and what the first word costs for want of a space

    def prompt(index: int, input_tokens: int) -> str:
        wanted = input_tokens - overhead
        length = max(1, wanted - fixed)
        for _ in range(REPAIRS_MAX):
            text = " ".join(table[draw(index, length)])  # of another length: the same words, some more or some fewer
            excess = count(text) - wanted
            if excess == 0 or (length == 1 and excess > 0):
                return text
            length = max(1, length - excess)
        raise BadInputError(
            f"No text of exactly {wanted} tokens was found with this tokenizer.", "Send token ids instead of text."
        )

    return prompt


def _draws(seed: Origin, choices: int, prefix: int, tokens_each: float = 1.0) -> Draw:
    """A function (request index, n) → int64[n] of numbers below `choices`: shared prefix, index, then random.

    The prefix gives way to one number of the request's own, so that even the shortest prompts differ.
    """
    if choices < 2:
        raise BadInputError("A vocabulary of so few tokens makes no prompts.", "Check the vocabulary size.")
    if not isinstance(seed, int):
        return seed(choices, prefix, tokens_each)
    rng = generator(seed, "workload.prefix")
    offset = int(rng.integers(choices))
    shared: Int64s = rng.integers(0, choices, prefix)

    def draw(index: int, n: int) -> Int64s:
        numbers: Int64s = generator(seed, f"workload.prompt.{index}").integers(0, choices, n)
        start = min(prefix, n - 1)
        numbers[:start] = shared[:start]
        rest = index
        for place in range(start, min(start + 3, n)):
            rest, digit = divmod(rest, choices)
            numbers[place] = (digit + offset) % choices
        return numbers

    return draw
