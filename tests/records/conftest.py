"""Exchanges made up by hand, with known times."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from loadgen.exchange import Done, Outcome, Part
from loadgen.plan import Plan

MS = 1_000_000
ZERO_NS = 1_790_000_000_123_456_789  # CLOCK_REALTIME when the run began


def made_plan(n: int) -> Plan:
    """n requests, one a ms, two labels in turn."""
    count = np.arange(n)
    none = np.full(n, -1)
    return Plan(count * MS, none, count * 0, count * 0 + 5, count * 0 + 3, count % 2, ("short", "long"))


def made_exchange(index: int, ttft_ns: int, itl_ns: int, tokens: int = 3) -> tuple[Part, Done]:
    """An answer whose tokens come one a read, `ttft_ns` after the due time and `itl_ns` after each other."""
    due_ns = index * MS
    pieces, stamps = [], []
    for token in range(tokens):
        reason = "length" if token == tokens - 1 else None
        event = {"choices": [{"index": 0, "text": "a", "finish_reason": reason}]}
        pieces.append(b"data: " + json.dumps(event).encode() + b"\n\n")
        stamps.append(due_ns + ttft_ns + token * itl_ns)
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": tokens}}
    pieces[-1] += b"data: " + json.dumps(usage).encode() + b"\n\ndata: [DONE]\n\n"
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int32)
    arrived = np.array(stamps, np.int64) + ZERO_NS
    kernel = np.zeros((tokens, 6), np.int64)
    kernel[:, 0], kernel[:, 1] = np.divmod(arrived, 1000 * MS)
    callbacks = arrived + 1000
    part = Part(index, b"".join(pieces), ends.tobytes(), callbacks.tobytes(), kernel.tobytes(), ZERO_NS)
    done = Done(index, due_ns, due_ns + 10, due_ns + 20, stamps[-1], 200, Outcome.OK, "", 1, index > 0, 0, True)
    return part, done


@pytest.fixture
def exchange() -> Callable[..., tuple[Part, Done]]:
    return made_exchange


@pytest.fixture
def plan() -> Callable[[int], Plan]:
    return made_plan
