"""The seam between issuer and wire: what a transport offers. Two exist: our socket path, and aiohttp as reference."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import SplitResult

from loadgen.client.flight import Flight

# Carries the request's index, so that a server's log can be joined with our records; a UUID in form, because a server
# may insist on one (llama_cpp.server answers 400 to anything else).
REQUEST_ID, REQUEST_ID_OF = "X-Request-Id", "00000000-0000-4000-8000-%012d"

Landed = Callable[[Flight], None]
"""Called exactly once per started flight, with `outcome` and `done_ns` set."""


@dataclass(slots=True)
class Wiring:
    """How to reach the endpoint; everything a transport needs to know and nothing about time."""

    url: SplitResult
    address: tuple[int, str, int]  # address family, host, port: resolved once, before the run
    headers: dict[str, str]
    verify_tls: bool = True
    proxy: str = ""
    may_read_late: bool = True  # False where the next send waits for a read: a closed loop


@dataclass(slots=True)
class Counters:
    """What a transport did besides answering; read by the tick."""

    connections_opened: int = 0
    connections_open: int = 0
    retries: int = 0


class Transport(Protocol):
    """`start` never blocks and never raises: what goes wrong becomes the flight's outcome."""

    counters: Counters

    def prepare(self, index: int, body: bytes) -> bytes:
        """What will be sent for this body, made ahead of time."""
        ...

    def start(self, flight: Flight) -> None: ...

    def cancel(self, flight: Flight) -> None:
        """Stop a flight; it is not reported as landed: whoever cancels knows why."""
        ...

    def tick(self, elapsed_ns: int) -> None:
        """Called ten times a second with the time since the last call."""
        ...

    async def close(self) -> None: ...
