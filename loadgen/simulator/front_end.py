"""The HTTP layer in front of an engine, as one busy thread: requests pass it one after another, each at a cost.

A real API server parses, applies templates and tokenizes in one process beside the engine. When that process is the
limit the engine idles while requests queue where its gauges do not look, and every other question to the server waits
in the same line. No CPU is burned: the line is kept in times, so that it is exact and costs this machine nothing.
"""

import asyncio
import time

from loadgen.units import NS_PER_S


class FrontEnd:
    """First come, first served. `cost_ns` of 0 is a front end that nobody notices."""

    def __init__(self, cost_ns: int = 0) -> None:
        self._cost_ns = cost_ns
        self._free_ns = 0

    def through_ns(self, arrival_ns: int) -> int:
        """When a request that arrives now has been dealt with; takes its place in the line."""
        self._free_ns = max(self._free_ns, arrival_ns) + self._cost_ns
        return self._free_ns

    async def serve(self, arrival_ns: int) -> int:
        """Wait for a request's turn and for its work; returns when it was through, on CLOCK_MONOTONIC in ns."""
        if not self._cost_ns:
            return arrival_ns
        through_ns = self.through_ns(arrival_ns)
        await _until(through_ns)
        return through_ns

    async def pause(self) -> None:
        """A small question costs nothing, but waits for those before it."""
        await _until(self._free_ns)


async def _until(ns: int) -> None:
    wait_ns = ns - time.monotonic_ns()
    if wait_ns > 0:
        await asyncio.sleep(wait_ns / NS_PER_S)
