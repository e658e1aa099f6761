"""Automatic prefix caching: which blocks of prompts have been computed before, by chained hashes, as vLLM keeps them.

Only full blocks are known, and the last token of a prompt is always computed. The cache forgets what was used longest
ago, the end of a prompt before its beginning, when it has more blocks than the KV cache. Two simplifications: a block
is there from the step in which its prompt is admitted, and what is shared is still counted once for each sequence in
the memory that decides admission. Pure bookkeeping: no text is kept and no time is known.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence

from loadgen.simulator.kv_cache import BLOCK_TOKENS
from loadgen.simulator.protocol import Body
from loadgen.simulator.sequence import Sequence as Answering
from loadgen.simulator.text import CHAT_TEMPLATE_TOKENS, pieces


class PrefixCache:
    """At most `blocks` blocks of 16 tokens, None for any number; `queries` and `hits` count tokens of prompts."""

    def __init__(self, blocks: int | None = None) -> None:
        self._blocks = blocks
        self._kept: OrderedDict[int, None] = OrderedDict()
        self.queries = 0
        self.hits = 0

    def admit(self, sequence: Answering) -> int:
        """Tokens of the prompt that need not be computed; from now on all of its blocks are kept.

        A sequence that comes again after a preemption finds its blocks and is not counted again.
        """
        kept, hit = self._kept, 0
        for key in sequence.prefix:
            if key not in kept:
                break
            hit += 1
        for key in reversed(sequence.prefix):
            kept[key] = None
            kept.move_to_end(key)
        if self._blocks is not None:
            while len(kept) > self._blocks:
                kept.popitem(last=False)
        cached = min(hit, (sequence.input_tokens - 1) // BLOCK_TOKENS) * BLOCK_TOKENS
        if not sequence.preemptions:
            self.queries += sequence.input_tokens
            self.hits += cached
        return cached


def prefix_keys(body: Body, chat: bool) -> list[list[int]]:
    """For each prompt of a request, the keys of its full blocks: ids as they are, text by the words of text.py."""
    if chat:
        words = [word for message in body.messages or () for word in pieces(message.text())]
        return [_chained([*range(CHAT_TEMPLATE_TOKENS), *words])]
    prompt = body.prompt
    if isinstance(prompt, str):
        return [_chained(pieces(prompt))]
    if not prompt or isinstance(prompt[0], int):
        return [_chained(prompt or [])]  # type: ignore[arg-type]
    return [_chained(pieces(one) if isinstance(one, str) else one) for one in prompt if not isinstance(one, int)]


def _chained(tokens: Sequence[Hashable]) -> list[int]:
    keys, previous = [], 0
    for end in range(BLOCK_TOKENS, len(tokens) + 1, BLOCK_TOKENS):
        previous = hash((previous, *tokens[end - BLOCK_TOKENS : end]))
        keys.append(previous)
    return keys
