"""Who decides, while a run runs, how long it goes on. The run asks and obeys; it does not know why.

Apart from the run because whoever decides must not need it: it is told what has ended and what still comes, no more.
"""

from typing import Protocol

from loadgen.endpoints.answer import Reading
from loadgen.exchange import Done, Looked


class Overseer(Protocol):
    """Times are ns on the run's clock.

    next_look_ns  when it wants to look next
    note          what it has to say at the moment, for who watches
    """

    next_look_ns: float
    note: str

    def ended(self, done: Done, reading: Reading, /) -> None:
        """An exchange is over."""

    def look(self, looked: Looked, begun: dict[int, tuple[int, int]], /) -> int | None:
        """The moment has come; `begun` as of `Recorder.begun`. None to go on; else send no more, and how long what is
        in flight may take to end by itself, ns."""


class Nobody:
    """The overseer of a run that goes on to the end of its plan."""

    next_look_ns = float("inf")
    note = ""

    def ended(self, _: Done, __: Reading, /) -> None:
        return

    def look(self, _: Looked, __: dict[int, tuple[int, int]], /) -> int | None:
        return None
