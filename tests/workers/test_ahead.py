"""Bodies are made ahead of the clock, and not further than the load process has room for."""

import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from loadgen.exchange import Body, Job, Tick
from loadgen.workers.local import LocalWorker
from loadgen.workers.worker import BODIES_AHEAD, BYTES_AHEAD

SECOND = 1_000_000_000
IN_SOCKETS = 24 << 20  # both ends' buffers, and what is on its way through Python; 13 MB were seen


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_a_plan_of_any_size_needs_the_memory_of_what_waits(size: int) -> None:
    """40,000 bodies, or 300 of a megabyte, none of them due yet: the maker is held back, by number or by bytes."""
    n = 300 if size == 1 << 20 else 40_000
    text = json.dumps({"prompt": "x" * size}).encode()
    made, ticks, changed_s = [], [], [time.monotonic()]

    def bodies() -> Iterator[Body]:
        for index in range(n):
            made.append(index)
            changed_s[0] = time.monotonic()
            yield Body(index, text)

    job = Job(
        due_ns=np.full(n, 3600 * SECOND).tobytes(),
        in_flight_max=0,
        stop_ns=0,
        drain_ns=0,
        transport="socket",
        url="http://127.0.0.1:9/v1/completions",
        address=(int(socket.AF_INET), "127.0.0.1", 9),
        proxy="",
        headers={},
        verify_tls=True,
        timeout_ns=SECOND,
    )
    with LocalWorker() as worker:

        def take(message: object) -> None:
            if isinstance(message, Tick):
                status = Path(f"/proc/{worker._process.pid}/status").read_text()
                ticks.append(int(status.partition("VmHWM:")[2].split()[0]) << 10)  # getrusage's is its parent's too

        def between() -> None:
            if len(ticks) > 3 and time.monotonic() - changed_s[0] > 0.5:  # nothing is made any more
                worker.stop(now=True)

        worker.run(job, bodies(), take, between)
    per_body = size + 200
    ahead = min(BODIES_AHEAD, BYTES_AHEAD // per_body)
    assert ahead <= len(made) <= ahead + 2 + IN_SOCKETS // per_body
    assert len(made) < n
    assert max(ticks) < (100 << 20) + 2 * BYTES_AHEAD
