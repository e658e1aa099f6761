"""A request in flight, and the tape of what was read for it.

The read callback appends to the tape, nothing else; it is turned into arrays when the exchange is over. Apart from the
messages of `loadgen.exchange` because this is made for appending and those for travelling.
"""

from array import array

import numpy as np

from loadgen.exchange import Done, Outcome, Part
from loadgen.plan import Int64s

PARTIAL_READS = 256  # an answer longer than this many reads travels in parts, so that memory follows the streams


class Tape:
    """What was read, read by read. Kept by a connection for all its exchanges: the lists are emptied, never replaced,
    so that whoever appends can hold their `append` methods.

    bodies         pieces of the de-chunked body
    marks          len(bodies) after each read
    callbacks_ns   CLOCK_REALTIME ns at which the read callback ran
    kernel_stamps  per read the 48 bytes of struct scm_timestamping; fewer entries where the kernel gave none
    """

    __slots__ = ("bodies", "callbacks_ns", "kernel_stamps", "marks")

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.marks: list[int] = []
        self.callbacks_ns = array("q")
        self.kernel_stamps: list[bytes] = []


class Flight:
    """One HTTP exchange while it runs. Times are CLOCK_MONOTONIC ns, `due_ns` is on the run's clock."""

    __slots__ = (
        "carrier",
        "connection",
        "detail",
        "done_ns",
        "due_ns",
        "index",
        "issued_ns",
        "outcome",
        "parted",
        "retries",
        "reused",
        "sent_ns",
        "stamped_by_kernel",
        "status",
        "tape",
        "wire",
    )

    def __init__(self, index: int, due_ns: int, wire: bytes) -> None:
        self.index = index
        self.due_ns = due_ns
        self.wire = wire
        self.issued_ns = self.sent_ns = self.done_ns = -1
        self.tape: Tape | None = None
        self.parted = False  # a part of the answer has been taken already
        self.stamped_by_kernel = True
        self.status = 0
        self.outcome: Outcome | None = None
        self.detail = ""
        self.carrier: object = None  # what carries it: a connection or a task; the transport's own business
        self.connection = -1
        self.reused = False
        self.retries = 0

    @property
    def reads(self) -> int:
        """Reads on the tape since the last part."""
        return len(self.tape.marks) if self.tape is not None else 0

    def take_part(self, start_ns: int, realtime_offset_ns: int) -> Part:
        """What came since the last part, on the run's clock. `realtime_offset_ns` is REALTIME − MONOTONIC."""
        tape = self.tape if self.tape is not None else Tape()
        lengths = np.fromiter(map(len, tape.bodies), np.int32, len(tape.bodies))
        ends = np.concatenate((_ZERO, np.cumsum(lengths, dtype=np.int32)))[tape.marks]
        callbacks = np.array(tape.callbacks_ns, np.int64)
        stamps = self._stamps_realtime(tape, callbacks)
        part = Part(
            self.index,
            b"".join(tape.bodies),
            ends.tobytes(),
            (stamps - (realtime_offset_ns + start_ns)).tobytes(),
            (callbacks - stamps).tobytes(),
        )
        self.parted = self.parted or bool(tape.marks)
        tape.bodies.clear()
        tape.marks.clear()
        del tape.callbacks_ns[:]
        tape.kernel_stamps.clear()
        return part

    def _stamps_realtime(self, tape: Tape, callbacks: Int64s) -> Int64s:
        joined = b"".join(tape.kernel_stamps)
        if len(joined) == 48 * len(callbacks):
            fields = np.frombuffer(joined, np.int64).reshape(-1, 6)
            stamps: Int64s = fields[:, 0] * 1_000_000_000 + fields[:, 1]
            return stamps
        self.stamped_by_kernel = False  # one read without a stamp: say so for the whole exchange
        return callbacks

    def take_done(self, start_ns: int) -> Done:
        """How it ended, on the run's clock."""
        assert self.outcome is not None
        return Done(
            self.index,
            self.due_ns,
            self.issued_ns - start_ns,
            self.sent_ns - start_ns if self.sent_ns >= 0 else -1,
            self.done_ns - start_ns,
            self.status,
            self.outcome,
            self.detail[:300],
            self.connection,
            self.reused,
            self.retries,
            self.stamped_by_kernel,
        )


_ZERO = np.zeros(1, np.int32)
