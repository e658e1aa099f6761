"""From block ids to the numbers that prompts are made of: the same id gives the same numbers in every process and run.

A block's content depends on (namespace, id) alone, so it is made when it is needed and forgotten again: a trace of any
number of distinct tokens needs the memory of the few blocks in use. What no id covers is the request's own.
"""

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from loadgen.trace.table import Int64s, Trace

NUMBERS_KEPT = 500_000  # of blocks made lately: 2 MB in one piece, for pieces of their own would scatter the heap
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
        room = NUMBERS_KEPT // size + 1 if size else 0
        made, places = np.empty((room, size), np.int32), OrderedDict[int, int]()  # the block used last stands last

        def place_of(key: int) -> int:
            place = places.pop(key, None)
            if place is None:
                place = len(places) if len(places) < room else places.popitem(last=False)[1]
                made[place] = numbers(namespace, key, size, choices)
            places[key] = place
            return place

        def draw(index: int, n: int) -> Int64s:
            keys = trace.blocks.of(index)[: -(-n // size)].tolist() if trace.blocks else []
            drawn = np.empty(max(n, len(keys) * size), np.int64)
            for k, key in enumerate(keys):
                drawn[k * size : (k + 1) * size] = made[place_of(key)]  # at once: the next may take its place
            if (own := n - len(keys) * size) > 0:
                drawn[n - own :] = numbers(namespace, _OWN + index, own, choices)
            return drawn[:n]

        return draw

    return origin
