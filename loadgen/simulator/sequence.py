"""One answer in the making, as the engine sees it: lengths in, tokens out, no text and no socket.

It is apart because both engines, the KV cache and the batching policies share it and nothing else. It must never know
who asked: whoever wants its tokens leaves a function in `sink`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


class State(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    ABORTED = "aborted"


def ignore(_: int) -> None:
    """The sink of a sequence whose tokens nobody waits for."""


@dataclass(slots=True, eq=False)
class Sequence:
    """A prompt of `input_tokens` that will be answered with exactly `output_tokens`.

    `asked_tokens` is how long the answer was allowed to become, where that is more: what a careful engine promises.
    `prefix` are the keys of the prompt's blocks where a prefix cache wants to know them (prefix_cache.py).
    `sink(due_ns)` is called by the server once per token, with the time the token was due. `first_ns` and `end_ns` are
    the due times of the first and the last token, 0 before they were.

    The rest is the batch's. `computed` counts the tokens of a prompt whose keys and values are in the cache. While a
    sequence decodes, `emitted` is not kept up: known tokens = `offset` + the batch's round, and the last token comes
    with round `last_round`.
    """

    arrival_ns: int
    input_tokens: int
    output_tokens: int
    sink: Callable[[int], None] = ignore
    asked_tokens: int = 0
    prefix: list[int] = field(default_factory=list)
    first_ns: int = 0
    end_ns: int = 0
    computed: int = 0
    emitted: int = 0
    blocks: int = 0
    promised: int = 0
    offset: int = 0
    last_round: int = -1
    preemptions: int = 0
    state: State = State.WAITING

    @property
    def known(self) -> int:
        """Tokens that exist already: the prompt and what was answered so far. Not to be asked while it decodes."""
        return self.input_tokens + self.emitted

    @property
    def longest(self) -> int:
        """Tokens that it may come to, the prompt included."""
        return self.input_tokens + max(self.output_tokens, self.asked_tokens)

    def emit(self) -> bool:
        """Count one more token; True for the last one, which finishes the sequence."""
        self.emitted += 1
        if self.emitted < self.output_tokens:
            return False
        self.state = State.FINISHED
        return True
