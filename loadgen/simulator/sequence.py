"""One answer in the making, as the engine sees it: lengths in, tokens out, no text and no socket.

It is apart because both engines, the KV cache and the batching policies share it and nothing else. It must never know
who asked: whoever wants its tokens leaves a function in `sink`.
"""

from collections.abc import Callable
from dataclasses import dataclass
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

    `computed` counts the tokens whose keys and values are in the cache, `blocks` the cache blocks that hold them.
    `sink(due_ns)` is called by the server once per token, with the time the token was due.
    """

    arrival_ns: int
    input_tokens: int
    output_tokens: int
    sink: Callable[[int], None] = ignore
    computed: int = 0
    emitted: int = 0
    blocks: int = 0
    preemptions: int = 0
    state: State = State.WAITING

    @property
    def known(self) -> int:
        """Tokens that exist already: the prompt and what was answered so far."""
        return self.input_tokens + self.emitted

    def emit(self) -> bool:
        """Count one more token; True for the last one, which finishes the sequence."""
        self.emitted += 1
        if self.emitted < self.output_tokens:
            return False
        self.state = State.FINISHED
        return True
