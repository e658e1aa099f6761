"""The plan of an offline experiment: the same set of requests in batches of one size, again and again, after a warm-up.

Every request of a batch goes at once, and the next batch when the last answer of the one before has ended: the
experiment of arXiv 2404.11502 (batch inference), with the warm-up and the repeats that its script lacked.
"""

import math

import numpy as np

from loadgen.errors import BadInputError
from loadgen.plan import Int64s, Plan
from loadgen.schedule.rates import parse_rates


def parse_batch_sizes(text: str) -> tuple[float, ...]:
    """`1..32` (doubling), `1,4,16`, `1..32,all`: whole numbers, infinity for "all at once". Raises BadInputError."""
    hint = "Write 1..32 (doubling), 1,4,16 or 1..32,all."
    try:
        sizes = parse_rates(text.replace("all", "inf"))
    except BadInputError:
        raise BadInputError(f"'{text}' is not a list of batch sizes.", hint) from None
    if any(math.isfinite(size) and not (size == int(size) >= 1) for size in sizes):
        raise BadInputError(f"A batch size is a whole number: '{text}'.", hint)
    return sizes


def batch_plan(
    input_tokens: Int64s,
    output_tokens: Int64s,
    label: str,
    *,
    batch_size: int,
    repeats: int,
    seed: int = 0,
    drain_ns: int = 0,
) -> Plan:
    """`input_tokens`, `output_tokens`: int64[n], the set. The warm-up is the first batch of it, not counted."""
    n = len(input_tokens)
    batch_size = min(batch_size, n)
    rows = np.concatenate([np.arange(batch_size), np.tile(np.arange(n), repeats)])
    begins = [batch_size + n * repeat + first for repeat in range(repeats) for first in range(0, n, batch_size)]
    zeros = np.zeros(len(rows), np.int64)
    return Plan(
        due_ns=zeros,
        after=zeros - 1,
        think_ns=zeros,
        input_tokens=input_tokens[rows],
        output_tokens=output_tokens[rows],
        label=zeros,
        labels=(label,),
        drain_ns=drain_ns,
        seed=seed,
        barriers=tuple(begins),
        shape={"loop": "batch", "batch_size": batch_size, "prompts": n, "repeats": repeats},
    )
