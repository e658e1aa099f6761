"""How many tokens an answer had, and when each came: the count and the events that came, reconciled.

The count is the server's where it says one, else the length that was asked for where the server says that it ended the
answer for its length, else that of the events. It never invents a stamp: a token that came with others, or without an
event, is counted and has none of its own. Apart from `answer`, which reads bytes: here are stamps, kinds and counts.
"""

from dataclasses import dataclass, field
from itertools import compress

import numpy as np

from loadgen.endpoints.openai import TokenKind, Usage, whole_number


@dataclass(slots=True)
class Tokens:
    """Events that may be tokens, side by side: stamp, kind, cumulative count where the server gave one."""

    stamps_ns: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)  # position → tokens of the event, by its token_ids
    cumulative: dict[int, int] = field(default_factory=dict)  # position → usage.completion_tokens so far
    one_choice: bool = True  # with several, running usage is of one of them and nobody says which
    until: int | None = None  # how many of these had come when the finish_reason did, its own event included


@dataclass(frozen=True, slots=True)
class Asked:
    """The length that a request asks for: an answer that ended for its length has it, unless its context was full.

    With fewer events than `events_min` it may have been that. Several tokens in an event look the same, so where the
    context is known to have room for all of them, 1 is the number to give.
    """

    tokens: int
    events_min: int


def count_tokens(
    tokens: Tokens, usage: Usage | None, asked: Asked | None = None
) -> tuple[list[int], list[int], int, int, str]:
    """(stamps of token events, tokens of each, how many were empty, total, source); `asked` of an answer that ended for
    its length, None of any other.

    Events with text are tokens for certain; events without are, in their order, as long as the count says that some are
    missing. What is still missing then sat in events that carried several: exactly known with token ids or running
    usage, otherwise only their number. Where nobody counts, an event without text is a token between the first text and
    the finish_reason: half a character, a special token, or one too long for llama_cpp.server. Before, it may announce
    an answer; the event of the finish_reason carries none at the servers that do not count.
    """
    text, sure = tokens.kinds.count(TokenKind.TEXT), [kind == TokenKind.TEXT for kind in tokens.kinds]
    total = whole_number(usage.completion_tokens) if usage is not None else None
    counts = [1] * len(sure)
    source = "usage" if total is not None else "events"
    if tokens.one_choice and tokens.cumulative and len(tokens.cumulative) == len(sure):
        steps = np.diff(np.array([0, *tokens.cumulative.values()]))
        if (steps >= 0).all():
            sure = (steps > 0).tolist()
            counts = steps.tolist()
    elif tokens.counts:
        counts = [tokens.counts.get(at, 0) for at in range(len(sure))]
        sure = [count > 0 for count in counts]
        source = "usage" if total is not None else "token_ids"
    else:
        empty = _places(tokens.kinds, TokenKind.EMPTY)
        likely = _inside(tokens, empty)
        if total is None and asked is not None and text <= asked.tokens and text + len(likely) >= asked.events_min:
            total, source = asked.tokens, "asked"
        if total is not None:
            missing = max(0, total - text)
            last = _places(tokens.kinds, TokenKind.EMPTY_LAST) if missing and source == "usage" else []
            likely = (empty + last)[:missing]
        for at in likely:
            sure[at] = True
    stamps, kept = list(compress(tokens.stamps_ns, sure)), list(compress(counts, sure))
    without = len(kept) - list(compress(tokens.kinds, sure)).count(TokenKind.TEXT)
    return stamps, kept, without, total if total is not None else sum(kept), source


def _places(kinds: list[int], wanted: int) -> list[int]:
    return [at for at, kind in enumerate(kinds) if kind == wanted] if wanted in kinds else []


def _inside(tokens: Tokens, empty: list[int]) -> list[int]:
    """Which of the events without text came after the first with some and before the one that ended the answer."""
    if not empty or TokenKind.TEXT not in tokens.kinds:
        return []
    first, until = tokens.kinds.index(TokenKind.TEXT), len(tokens.kinds) if tokens.until is None else tokens.until
    return [at for at in empty if first < at < until]
