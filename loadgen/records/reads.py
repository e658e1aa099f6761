"""The clocks of a part's reads, put on the run's clock. The load process only takes them down."""

import numpy as np

from loadgen.exchange import STAMP_BYTES, Part
from loadgen.plan import Int64s

_NS_PER_S = 1_000_000_000


def times_of(part: Part) -> tuple[Int64s, Int64s]:
    """(when the bytes of each read arrived on the run's clock, how much later our callback ran), int64[reads] ns.

    Without the kernel's stamps the arrival is when the callback ran, and the delay 0.
    """
    callbacks_ns = np.frombuffer(part.callbacks_ns, np.int64)
    arrived_ns = callbacks_ns
    if part.kernel_stamps:
        fields = np.frombuffer(part.kernel_stamps, np.int64).reshape(-1, STAMP_BYTES // 8)
        arrived_ns = fields[:, 0] * _NS_PER_S + fields[:, 1]
    return arrived_ns - part.zero_ns, callbacks_ns - arrived_ns
