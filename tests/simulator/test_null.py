"""The server that does nothing but answer: as many events as asked, each with the time of its own write."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from loadgen.endpoints.answer import Answer
from loadgen.exchange import Outcome
from loadgen.simulator.null import serve

MS = 1_000_000
PATIENCE_S = 20.0


async def exchange(port: int, request: bytes, *, cut: int = 0) -> bytes:
    """The bytes of one answer, up to its last chunk or its Content-Length; the request in two pieces if `cut`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request[:cut])
    await writer.drain()
    await asyncio.sleep(0)
    writer.write(request[cut:])
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    body = await (reader.readexactly(int(length[1])) if length else reader.readuntil(b"\r\n0\r\n\r\n"))
    writer.close()
    return head + body


def with_server(talk: Callable[[int], Awaitable[object]]) -> None:
    async def main() -> None:
        stopped = asyncio.Event()
        listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(serve(listening.set_result, stopped))
        await talk(int((await listening).rpartition(":")[2]))
        stopped.set()
        await serving

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


def post(tokens: int, gap_ms: float) -> bytes:
    body = json.dumps({"prompt": "x", "max_tokens": tokens, "itl_ms": gap_ms}).encode()
    return b"POST /v1/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def unchunked(answer: bytes) -> bytes:
    rest, body = answer.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return body


@pytest.mark.parametrize(("tokens", "gap_ms"), [(1, 0), (1, 5), (3, 0), (5, 4)])
def test_as_many_events_as_asked_and_a_decoder_agrees(tokens: int, gap_ms: float) -> None:
    async def talk(port: int) -> None:
        before_ns = time.monotonic_ns()
        body = unchunked(await exchange(port, post(tokens, gap_ms), cut=30))
        written = [int(each) for each in re.findall(rb"\d{20}", body)]
        assert len(written) == tokens
        assert written == sorted(written)
        assert before_ns < written[0] <= written[-1] < time.monotonic_ns()
        assert written[-1] - written[0] >= (tokens - 1) * gap_ms * MS * 0.9
        answer = Answer(True)
        answer.feed(body, np.array([len(body)]), np.array([0]))
        reading = answer.finish(200, Outcome.OK, "")
        assert (reading.outcome, reading.output_tokens) == (Outcome.OK, tokens)

    with_server(talk)


def test_it_says_how_late_and_how_busy_it_was() -> None:
    async def talk(port: int) -> None:
        await exchange(port, post(5, 2))
        page = await exchange(port, b"GET /stats HTTP/1.1\r\n\r\n")
        stats = json.loads(page.partition(b"\r\n\r\n")[2])
        assert stats["late_p50_ns"] > 0
        assert 0 < stats["cpu_fraction"] <= 1.5
        again = await exchange(port, b"GET /stats HTTP/1.1\r\n\r\n")
        assert json.loads(again.partition(b"\r\n\r\n")[2])["late_p50_ns"] == 0
        assert b"404" in await exchange(port, b"GET /metrics HTTP/1.1\r\n\r\n")

    with_server(talk)
