"""The reference transport: aiohttp, its own pool, stamps taken in user space. Slower, and known to be right about HTTP.

It exists to be compared with (`--transport aiohttp`) and to go through HTTP proxies.
"""

import asyncio
import ssl
import time

import aiohttp

from loadgen.client.flight import Flight, Tape
from loadgen.client.tls import tls_context
from loadgen.client.transport import REQUEST_ID, REQUEST_ID_OF, Counters, Landed, Wiring
from loadgen.exchange import Outcome


class AiohttpTransport:
    """One task per flight; the same interface as SocketTransport."""

    def __init__(self, wiring: Wiring, landed: Landed) -> None:
        self.counters = Counters()
        self._landed = landed
        self._wiring = wiring
        tls: ssl.SSLContext | bool = tls_context(wiring.verify_tls) if wiring.url.scheme == "https" else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls),
            timeout=aiohttp.ClientTimeout(total=None),
            headers=wiring.headers,
            auto_decompress=False,
            read_bufsize=1 << 20,
        )

    def prepare(self, index: int, body: bytes) -> bytes:  # noqa: ARG002 (the index travels with the flight)
        return body

    def start(self, flight: Flight) -> None:
        flight.carrier = asyncio.get_running_loop().create_task(self._exchange(flight))

    async def _exchange(self, flight: Flight) -> None:
        flight.stamped_by_kernel = False
        flight.tape = Tape()
        outcome, detail = Outcome.OK, ""
        try:
            await self._post(flight, flight.tape)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientConnectionError, OSError) as error:
            outcome = Outcome.TRUNCATED if flight.status else Outcome.CONNECT_ERROR
            detail = str(error) or type(error).__name__
        except aiohttp.ClientPayloadError as error:
            outcome, detail = Outcome.TRUNCATED, str(error)
        except (aiohttp.ClientError, ValueError) as error:
            outcome, detail = Outcome.PROTOCOL_ERROR, str(error) or type(error).__name__
        flight.outcome, flight.detail = outcome, detail
        self._landed(flight)

    async def _post(self, flight: Flight, tape: Tape) -> None:
        headers = {REQUEST_ID: REQUEST_ID_OF % flight.index}
        proxy = self._wiring.proxy or None
        async with self._session.post(
            self._wiring.url.geturl(), data=flight.wire, headers=headers, proxy=proxy
        ) as answer:
            flight.sent_ns = flight.issued_ns  # aiohttp does not tell when the last byte left
            flight.status = answer.status
            async for data in answer.content.iter_any():
                tape.callbacks_ns.append(time.time_ns())
                tape.body += data
                tape.ends.append(len(tape.body))

    def cancel(self, flight: Flight) -> None:
        if isinstance(flight.carrier, asyncio.Task):
            flight.carrier.cancel()

    def tick(self, elapsed_ns: int) -> None:
        """Nothing to adapt."""

    async def close(self) -> None:
        await self._session.close()
