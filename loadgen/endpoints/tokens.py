"""How many tokens an answer had, and when each came: the server's count and the events that came, reconciled.

Apart from `answer`, which reads bytes: here are only stamps, kinds and counts. It never invents a stamp: a token that
came with others, or without an event, is counted and has none of its own.
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


def count_tokens(tokens: Tokens, usage: Usage | None, stream: bool) -> tuple[list[int], list[int], int, int, str]:
    """(stamps of token events, tokens of each, how many were empty, total, source).

    The server's own count comes first. Events with text are tokens for certain; events without are, in their order, as
    long as the count says that some are missing. What is still missing then sat in events that carried several: exactly
    known with token ids or running usage, otherwise only their number.
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
    elif total is not None and total > text and stream:
        missing = total - text
        for wanted in (TokenKind.EMPTY, TokenKind.EMPTY_LAST):
            for at, kind in enumerate(tokens.kinds):
                if missing and kind == wanted:
                    sure[at] = True
                    missing -= 1
    stamps, kept = list(compress(tokens.stamps_ns, sure)), list(compress(counts, sure))
    empty = len(kept) - list(compress(tokens.kinds, sure)).count(TokenKind.TEXT)
    return stamps, kept, empty, total if total is not None else sum(kept), source
