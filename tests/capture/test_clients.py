"""Whoever connects to the proxy: the official client, many at once, and people who do not speak HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web
from middle import between

from loadgen.simulator.engine import FixedEngine
from loadgen.simulator.server import Simulator
from loadgen.units import NS_PER_MS

MESSAGES: Any = [{"role": "user", "content": "import os"}]


@asynccontextmanager
async def simulator(**options: Any) -> AsyncIterator[str]:
    """The simulator on a free port; its URL."""
    found = Simulator(FixedEngine(NS_PER_MS, NS_PER_MS, 1000), models=["m"], max_model_len=256, **options)
    server = await asyncio.get_running_loop().create_server(found.new_connection, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await found.close()


async def never(request: web.Request) -> web.StreamResponse:
    raise AssertionError(request.path)


def test_the_official_client_sees_no_difference(run, tmp_path: Path) -> None:
    """Streams, whole answers, models and errors, as they are without the proxy."""

    async def ask(url: str, key: str = "right") -> list[Any]:
        said: list[Any] = []
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
            try:
                stream = await client.chat.completions.create(
                    model="m", messages=MESSAGES, max_tokens=3, stream=True, stream_options={"include_usage": True}
                )
                said += [(chunk.choices, chunk.usage) async for chunk in stream]
                whole = await client.chat.completions.create(model="m", messages=MESSAGES, max_tokens=3)
                said += [whole.choices, whole.usage]
                texts = await client.completions.create(model="m", prompt="a b", max_tokens=2, stream=True)
                said += [text.choices async for text in texts]
                raw = await client.completions.with_raw_response.create(model="m", prompt=[1, 2], max_tokens=2)
                said += [raw.http_response.status_code, sorted(raw.headers), raw.parse().choices]
                said.append([model.id async for model in client.models.list()])
                await client.chat.completions.create(model="other", messages=MESSAGES)
            except openai.APIStatusError as error:
                said += [type(error), error.status_code, error.message]
        return said

    async def test() -> None:
        async with simulator(api_key="right") as url, between(never, tmp_path / "c", upstream=url) as b:
            straight = await ask(url)
            assert straight[-3] is openai.NotFoundError
            assert await ask(b.url) == straight
            assert await ask(b.url, "wrong") == await ask(url, "wrong")
        rows = b.rows()
        assert [row["status"] for row in rows] == [200] * 4 + [404, 401]
        assert [(row["input_tokens"], row["output_tokens"]) for row in rows[:2]] == [(9, 3), (9, 3)]

    run(test())


def test_many_streams_at_once_on_few_connections(run, tmp_path: Path) -> None:
    """Three rounds of 100: each gets its own answer, and later rounds use the connections of the first."""
    connections: set[Any] = set()

    async def serve(request: web.Request) -> web.StreamResponse:
        number = int((await request.json())["model"])
        assert request.transport is not None
        connections.add(request.transport.get_extra_info("peername"))
        response = web.StreamResponse()
        await response.prepare(request)
        for k in range(number % 7 + 1):
            await response.write(b'data: {"choices": [{"text": " %d"}]}\n\n' % (1000 * number + k))
            await asyncio.sleep(0)
        return response

    async def test() -> None:
        async def one(number: int) -> None:
            body = {"model": str(number), "prompt": [1] * number, "stream": True}
            async with b.client.post(f"{b.url}/v1/completions", json=body) as answer:
                text = (await answer.read()).decode()
                assert [int(part.split('"')[0]) for part in text.split('"text": " ')[1:]] == [
                    1000 * number + k for k in range(number % 7 + 1)
                ]

        async with between(serve, tmp_path / "c") as b:
            for first in (1, 101, 201):
                await asyncio.gather(*map(one, range(first, first + 100)))
            assert b.writer.missed == {}
        assert len(connections) <= 100
        assert sorted((int(row["model"]), row["output_tokens"]) for row in b.rows()) == [
            (number, number % 7 + 1) for number in range(1, 301)
        ]

    run(test())


@pytest.mark.parametrize(
    "words",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello",  # TLS
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnot a chunk\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_nonsense_is_refused_and_the_next_one_served(run, tmp_path: Path, words: bytes) -> None:
    whole: list[str] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        await request.read()  # raises where the body breaks off
        whole.append(request.path)
        return web.Response()

    async def test() -> None:
        async with between(serve, tmp_path / "c") as b:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(b.url.rpartition(":")[2]))
            writer.write(words)
            writer.write_eof()
            assert b" 200 " not in await reader.readline()
            writer.close()
            async with b.client.get(f"{b.url}/v1/next") as answer:
                assert answer.status == 200
        assert whole == ["/v1/next"]
        assert all(row["output_tokens"] is None for row in b.rows())

    run(test())


def test_a_client_that_waits_for_100_continue_gets_it(run, tmp_path: Path) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        assert "Expect" not in request.headers
        return web.json_response({"bytes": len(await request.read())})

    async def test() -> None:
        async with between(serve, tmp_path / "c") as b:
            answer = await b.client.post(f"{b.url}/v1/completions", data=b"x" * 3000, expect100=True)
            assert await answer.json() == {"bytes": 3000}

    run(test())


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("OPTIONS", 200)])
def test_answers_without_a_body_stay_without_one(run, tmp_path: Path, method: str, status: int) -> None:
    async def serve(_: web.Request) -> web.StreamResponse:
        return web.Response(
            status=status, headers={"X-Thing": "1"} | ({"Content-Length": "7"} if method == "HEAD" else {})
        )

    async def test() -> None:
        async with between(serve, tmp_path / "c") as b:
            for _ in range(2):  # the connection is good for another
                async with b.client.request(method, f"{b.url}/v1/models") as answer:
                    assert (answer.status, answer.headers["X-Thing"], await answer.read()) == (status, "1", b"")
                    assert (
                        answer.headers.get("Content-Length", "7") == ("7" if method == "HEAD" else "0") or status != 200
                    )

    run(test())


def test_a_client_that_reads_slowly_holds_up_nobody_else(run, tmp_path: Path) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if request.path.endswith("long"):
            try:
                while True:
                    await response.write(b"x" * (1 << 20))
            except (ConnectionError, asyncio.CancelledError):
                return response
        return response

    async def test() -> None:
        async with between(serve, tmp_path / "c") as b:
            slow = await b.client.get(f"{b.url}/long")
            for _ in range(5):
                async with b.client.get(f"{b.url}/short") as answer:
                    assert await answer.read() == b""
            slow.close()

    run(test())


def test_a_broken_client_and_session_limits_leave_nothing_held(run, tmp_path: Path) -> None:
    """What the proxy holds of running requests is given back however they end."""
    begun = asyncio.Semaphore(0)

    async def serve(request: web.Request) -> web.StreamResponse:
        await request.read()
        begun.release()
        await asyncio.Event().wait()
        raise AssertionError

    async def test() -> None:
        async with between(serve, tmp_path / "c") as b, aiohttp.ClientSession() as other:
            asked = [
                asyncio.create_task(other.post(f"{b.url}/v1/completions", json={"prompt": "a"})) for _ in range(20)
            ]
            for _ in asked:
                await begun.acquire()
            for each in asked:
                each.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        assert b.writer.held_bytes == 0
        assert [row["status"] for row in b.rows()] == [499] * 20

    run(test())
