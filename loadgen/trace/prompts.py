"""From block ids to the numbers that prompts are made of: the same id gives the same numbers in every process and run.

A block's content depends on (namespace, id) alone, so it is made when it is needed and forgotten again: a trace of any
number of distinct tokens needs the memory of the few blocks in use. What no id covers is the request's own.
"""

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from loadgen.trace.table import Int64s, Trace

NUMBERS_KEPT = 500_000  # of blocks made lately: 4 MB; a block is made again in 15 µs, more of them scatter the heap
_GAMMA, _MIX_1, _MIX_2 = (np.uint64(each) for each in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_OWN = 1 << 62  # ids from here on stand for what a request shares with nobody


def numbers(namespace: int, key: int, n: int, choices: int) -> Int64s:
    """int64[n] below `choices`: SplitMix64 (Steele, Lea, Flood 2014) in counter mode, seeded by namespace and key.

    A longer row begins with the shorter one.
    """
    with np.errstate(over="ignore"):
        seed = _mixed(np.array([namespace], np.uint64) * _GAMMA + np.array([key], np.uint64))
        counter = seed + np.arange(1, n + 1, dtype=np.uint64) * _GAMMA
        return (_mixed(counter) % np.uint64(choices)).astype(np.int64)


def _mixed(z: "np.typing.NDArray[np.uint64]") -> "np.typing.NDArray[np.uint64]":
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


def block_numbers(trace: Trace, namespace: int) -> Callable[[int, int, float], Callable[[int, int], Int64s]]:
    """An origin for prompts (workload.prompts): request i of the trace is made of its blocks, then of its own numbers.

    `tokens_each`: tokens that one number becomes, so that a block of 512 tokens is fewer numbers where words are long.
    Without blocks every request is its own.
    """

    def origin(choices: int, _shared: int, tokens_each: float) -> Callable[[int, int], Int64s]:
        size = max(1, round(trace.blocks.size / tokens_each)) if trace.blocks else 0
        made: OrderedDict[int, Int64s] = OrderedDict()

        def block(key: int) -> Int64s:
            found = made.pop(key, None)
            if found is None:
                found = numbers(namespace, key, size, choices)
                if len(made) * size > NUMBERS_KEPT:
                    made.popitem(last=False)
            made[key] = found
            return found

        def draw(index: int, n: int) -> Int64s:
            keys = trace.blocks.of(index)[: -(-n // size)].tolist() if trace.blocks else []
            own = n - len(keys) * size
            parts = [block(key) for key in keys]
            if own > 0:
                parts.append(numbers(namespace, _OWN + index, own, choices))
            return np.concatenate(parts)[:n]

        return draw

    return origin
