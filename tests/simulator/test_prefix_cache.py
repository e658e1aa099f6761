"""The prefix cache counts what a trace's own arithmetic says, and a hit is time that the prompt does not take."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import BadInputError
from loadgen.simulator.batching import Batch
from loadgen.simulator.engine import FixedEngine, SteppedEngine
from loadgen.simulator.gateway import Gateway
from loadgen.simulator.kv_cache import BlockPool
from loadgen.simulator.options import build_engine, parse_options
from loadgen.simulator.policies import POLICIES
from loadgen.simulator.prefix_cache import PrefixCache, prefix_keys
from loadgen.simulator.protocol import Body, Message
from loadgen.simulator.sequence import Sequence
from loadgen.trace.chains import chain, dense, hit_tokens, offsets_of
from loadgen.trace.table import Blocks
from loadgen.units import NS_PER_MS

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
prompts = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=6).map(
        lambda blocks: [16 * b + k for b in blocks for k in range(16)]
    ),
    min_size=1,
    max_size=12,
)


def asked(tokens: list[int], arrival_ns: int = 0, output_tokens: int = 2) -> Sequence:
    return Sequence(arrival_ns, len(tokens), output_tokens, prefix=prefix_keys(Body(prompt=tokens), chat=False)[0])


@given(prompts)
def test_without_a_limit_it_hits_what_a_trace_says_is_shared(tokens: list[list[int]]) -> None:
    """All but the block of the last token, which is always computed."""
    cache = PrefixCache()
    hits = [cache.admit(asked(each)) for each in tokens]
    lengths = np.array([len(each) for each in tokens])
    offsets = offsets_of(lengths // 16)
    ids = chain(offsets, np.concatenate([np.array(each[::16]) for each in tokens]))
    ideal = hit_tokens(Blocks(16, offsets, dense(ids)), lengths)
    assert hits == np.minimum(ideal, lengths - 16).tolist()
    assert (cache.queries, cache.hits) == (lengths.sum(), sum(hits))


@given(prompts, st.integers(1, 8))
def test_with_a_limit_it_never_hits_more(tokens: list[list[int]], blocks: int) -> None:
    small, large = PrefixCache(blocks), PrefixCache()
    for each in tokens:
        assert small.admit(asked(each)) <= large.admit(asked(each))
        assert len(small._kept) <= blocks


def test_the_end_of_a_prompt_goes_first_and_the_oldest_prompt_before_it() -> None:
    a, b = list(range(64)), list(range(1000, 1064))
    cache = PrefixCache(5)  # a: 4 blocks, b: 4
    assert [cache.admit(asked(each)) for each in (a, b, b)] == [0, 0, 48]
    assert cache.admit(asked(a)) == 16  # its first block was the last to go


def test_one_other_token_ends_the_match_and_moved_blocks_do_not_match() -> None:
    cache = PrefixCache()
    tokens = list(range(64))
    cache.admit(asked(tokens))
    assert cache.admit(asked([*tokens[:20], 7, *tokens[21:]])) == 16
    assert cache.admit(asked(tokens[16:])) == 0


def test_text_is_cut_by_its_own_words_and_a_chat_begins_with_its_template() -> None:
    words = " ".join(f"w{k}" for k in range(40))
    (text,) = prefix_keys(Body(prompt=words), chat=False)
    assert len(text) == 40 // 16
    first, second = Message("user", words), Message("user", words + " and more")
    (short,), (long,) = (prefix_keys(Body(messages=[each]), chat=True) for each in (first, second))
    assert len(short) == (40 + 7) // 16
    assert long[: len(short)] == short
    assert prefix_keys(Body(prompt=[words, list(range(16))]), chat=False) == [text, asked(list(range(16))).prefix]


def test_a_hit_is_work_that_no_step_does(drive: Callable[..., Any]) -> None:
    def first_tokens(cache: PrefixCache | None) -> list[int]:
        batch = Batch(BlockPool(1000), POLICIES["chunked"], prefix_cache=cache)
        engine = SteppedEngine(batch, lambda step: NS_PER_MS * (1 + step.prefill_tokens))
        tokens = list(range(1600))
        sequences = [asked(tokens), asked(tokens, 10**10), asked([*tokens[:800], *range(2000, 2800)], 2 * 10**10)]
        dues = drive(engine, sequences)
        return [(dues[each][0] - each.arrival_ns) // NS_PER_MS for each in sequences]

    assert first_tokens(None) == [1601, 1601, 1601]
    assert first_tokens(PrefixCache()) == [1601, 17, 801]


def test_who_comes_again_is_counted_once(drive: Callable[..., Any]) -> None:
    cache = PrefixCache()
    engine = SteppedEngine(Batch(BlockPool(6), POLICIES["chunked"], prefix_cache=cache), lambda _: NS_PER_MS)
    sequences = [asked(list(range(k, k + 32)), 0, 40) for k in (0, 100)]  # both together are too much for the cache
    drive(engine, sequences)
    assert engine.preemptions > 0
    assert (cache.queries, cache.hits) == (64, 0)


def test_metrics_tell_it_and_only_when_there_is_one(with_rim: Callable[..., None]) -> None:
    async def test(rim: Any) -> None:
        body = {"model": "m", "prompt": list(range(40)), "max_tokens": 1, "n": 2}
        for _ in range(2):
            await rim.post(COMPLETIONS, body)
        await rim.post(CHAT, {"model": "m", "messages": [{"role": "user", "content": "a b c"}], "max_tokens": 1})
        metrics = await rim.metrics()
        told = [
            next(v for k, v in metrics.items() if f"prefix_cache_{what}_total" in k) for what in ("queries", "hits")
        ]
        assert told == [4 * 40 + 10, 3 * 32]

    with_rim(test, FixedEngine(NS_PER_MS, NS_PER_MS, 1000, prefix_cache=PrefixCache()))

    async def test_none(rim: Any) -> None:
        assert not any("prefix_cache" in name for name in await rim.metrics())

    with_rim(test_none)


def test_options() -> None:
    def cache_of(*arguments: str) -> PrefixCache | None:
        return build_engine(parse_options([*arguments]))[0].prefix_cache

    assert cache_of() is None
    assert cache_of("--ttft-ms", "1") is None
    assert isinstance(cache_of("--prefix-cache"), PrefixCache)
    fixed = cache_of("--prefix-cache", "--ttft-ms", "1", "--kv-cache-tokens", "64")
    assert fixed is not None
    assert fixed._blocks == 4
    gateway = build_engine(parse_options(["--prefix-cache", "--gateway-limit", "2"]))[0]
    assert isinstance(gateway, Gateway)
    assert gateway.prefix_cache is not None
    with pytest.raises(BadInputError, match="pads prompts"):
        cache_of("--prefix-cache", "--batching", "static")
