"""The three ways to keep K and V between steps, each with random content: written to, then read as [b, heads, S, size].

concatenated  torch.cat of the whole cache and the new tokens at each step, as Transformers' dynamic cache does
blocked       one stretch of memory for each sequence, reserved for its whole length, written in place
paged         blocks of 16 tokens anywhere in a pool, found through a block table; read by gathering the blocks
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loadgen.profile.bench import Bench
from loadgen.profile.probe import triton_kernels
from loadgen.roofline.step import BLOCK_TOKENS

PAGE = BLOCK_TOKENS["paged"]
Pair = tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class KvCache:
    """`write` puts the new tokens in and returns what then holds K and V; `read` makes K and V of that, as attention
    takes them; `expected` is what `write` must return, from the state before it. `pages` and `table`: paged only."""

    write: Callable[[], Pair]
    read: Callable[[Pair], Pair]
    expected: Callable[[], Pair]
    held: Callable[[], Pair]
    table: Any = None


def concatenated(bench: Bench, b: int, s: int, context: int, heads: int, size: int) -> KvCache:
    """The old cache is copied whole, in prefill too, where it is empty and only the new tokens are copied."""
    torch = bench.torch
    old = [bench.normal(b, heads, context - s, size) for _ in range(2)]
    new = [bench.normal(b, heads, s, size) for _ in range(2)]

    def write() -> Pair:
        return torch.cat([old[0], new[0]], dim=2), torch.cat([old[1], new[1]], dim=2)

    def expected() -> Pair:
        made = []
        for before, fresh in zip(old, new, strict=True):
            whole = torch.empty((b, heads, context, size), device=bench.kind)
            whole[:, :, : context - s], whole[:, :, context - s :] = before, fresh
            made.append(whole)
        return made[0], made[1]

    return KvCache(write, lambda held: held, expected, write)


def blocked(bench: Bench, b: int, s: int, context: int, heads: int, size: int) -> KvCache:
    """A sequence's stretch has room for one more block than it holds: what attention reads is not contiguous."""
    room = context + BLOCK_TOKENS["blocked"]
    cache = (bench.normal(b, heads, room, size), bench.normal(b, heads, room, size))
    new = [bench.normal(b, heads, s, size) for _ in range(2)]

    def write() -> Pair:
        for whole, fresh in zip(cache, new, strict=True):
            whole[:, :, context - s : context].copy_(fresh)
        return cache

    def expected() -> Pair:
        made = [whole.float() for whole in cache]
        for whole, fresh in zip(made, new, strict=True):
            whole[:, :, context - s : context] = fresh.float()
        return made[0], made[1]

    return KvCache(write, lambda held: (held[0][:, :, :context], held[1][:, :, :context]), expected, lambda: cache)


def paged(bench: Bench, b: int, s: int, context: int, heads: int, size: int, *, fused: bool) -> KvCache:
    """`fused`: one Triton kernel writes K and V; else torch copies each by index."""
    blocks = -(-context // PAGE)
    pages = (bench.normal(b * blocks, PAGE, heads, size), bench.normal(b * blocks, PAGE, heads, size))
    table = bench.shuffled(b * blocks).view(b, blocks)
    new = [bench.normal(b * s, heads, size) for _ in range(2)]
    places = bench.torch.arange(context - s, context, device=bench.kind)
    slots = (table[:, places // PAGE] * PAGE + places % PAGE).flatten()
    table = table.to(bench.torch.int32)

    def write() -> Pair:
        if fused:
            triton_kernels().paged_write(new[0], new[1], pages[0], pages[1], slots)
        else:
            for pool, fresh in zip(pages, new, strict=True):
                pool.view(-1, heads, size).index_copy_(0, slots, fresh)
        return pages

    def read(held: Pair) -> Pair:
        gathered = [pool.index_select(0, table.flatten()).view(b, blocks * PAGE, heads, size) for pool in held]
        return gathered[0][:, :context].transpose(1, 2), gathered[1][:, :context].transpose(1, 2)

    def expected() -> Pair:
        made = [pool.float() for pool in pages]
        for pool, fresh in zip(made, new, strict=True):
            for k in range(b * s):
                sequence, token = divmod(k, s)
                block, place = divmod(context - s + token, PAGE)
                pool[table[sequence, block], place] = fresh[k].float()
        return made[0], made[1]

    return KvCache(write, read, expected, lambda: pages, table)


def make_cache(kind: str, bench: Bench, b: int, s: int, context: int, heads: int, size: int, **fused: bool) -> KvCache:
    """The cache of this name; `fused` matters to the paged one only."""
    if kind == "paged":
        return paged(bench, b, s, context, heads, size, fused=fused.get("fused", bench.triton))
    return {"concatenated": concatenated, "blocked": blocked}[kind](bench, b, s, context, heads, size)
