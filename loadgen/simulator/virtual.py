"""Drives an engine without a socket and without waiting: as fast as it can compute, to the same nanoseconds.

For experiments and tests. The server drives the same engines in real time; this knows arrivals and nothing of HTTP.
"""

from collections.abc import Callable, Iterable

from loadgen.simulator.engine import Engine
from loadgen.simulator.sequence import Sequence

Watch = Callable[[int, list[Sequence]], None]


def _see_nothing(due_ns: int, emitted: list[Sequence]) -> None:
    pass


def drive(engine: Engine, sequences: Iterable[Sequence], watch: Watch = _see_nothing) -> None:
    """Submit every sequence at its arrival, in that order, and go on until all have ended: they carry their stamps.

    `watch(due_ns, emitted)` is told of every step: when its tokens were due, and whose they were.
    """
    for sequence in sequences:
        while (due_ns := engine.next_due_ns) is not None and due_ns < sequence.arrival_ns:
            watch(due_ns, engine.advance())
        engine.submit([sequence])
    while (due_ns := engine.next_due_ns) is not None:
        watch(due_ns, engine.advance())
