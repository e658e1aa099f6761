"""A request in flight, and the tape of what was read for it.

The read callback appends to the tape, nothing else; it travels as it is, and the recorder reads it. Apart from the
messages of `loadgen.exchange` because this is made for appending and those for travelling.
"""

from array import array

from loadgen.exchange import STAMP_BYTES, Done, Outcome, Part

PARTIAL_READS = 256  # an answer longer than this many reads travels in parts, so that memory follows the streams


class Tape:
    """What was read, read by read. Kept by a connection for all its exchanges: emptied, never replaced, so that whoever
    appends can hold its `append` and `extend` methods. Bytes in a row instead of lists of objects: hundreds of streams
    fill it in turn, and each object would be a miss of the cache.

    body           the de-chunked body
    ends           len(body) after each read
    callbacks_ns   CLOCK_REALTIME ns at which the read callback ran
    kernel_stamps  per read the STAMP_BYTES of struct scm_timestamping; less where the kernel gave none
    """

    __slots__ = ("body", "callbacks_ns", "ends", "kernel_stamps")

    def __init__(self) -> None:
        self.body = bytearray()
        self.ends = array("i")
        self.callbacks_ns = array("q")
        self.kernel_stamps = bytearray()

    def clear(self) -> None:
        del self.body[:], self.ends[:], self.callbacks_ns[:], self.kernel_stamps[:]


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
        return len(self.tape.ends) if self.tape is not None else 0

    def take_part(self, start_ns: int, realtime_offset_ns: int) -> Part:
        """What came since the last part, on the run's clock. `realtime_offset_ns` is REALTIME − MONOTONIC."""
        tape = self.tape if self.tape is not None else Tape()
        kernel_stamps = bytes(tape.kernel_stamps)
        if len(kernel_stamps) != STAMP_BYTES * len(tape.ends):
            self.stamped_by_kernel = False  # one read without a stamp: say so for the whole exchange
            kernel_stamps = b""
        zero_ns = realtime_offset_ns + start_ns
        body, ends, callbacks = bytes(tape.body), tape.ends.tobytes(), tape.callbacks_ns.tobytes()
        self.parted = self.parted or bool(tape.ends)
        tape.clear()
        return Part(self.index, body, ends, callbacks, kernel_stamps, zero_ns)

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
