"""Ctrl-C, counted instead of raised, so that a run can end well."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(slots=True)
class Interrupts:
    """Ctrl-C: once, stop sending and drain; twice, leave now; what was measured is on disk."""

    count: int = 0

    @contextmanager
    def caught(self) -> Iterator["Interrupts"]:
        def note(_: int, __: FrameType | None) -> None:
            self.count += 1
            if self.count > 2:
                raise KeyboardInterrupt

        before = {kind: signal.signal(kind, note) for kind in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)
