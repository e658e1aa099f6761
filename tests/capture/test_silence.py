"""Clients that hold a connection and say nothing are let go; who waits for the server never is.

Time is told, not waited for: `proxy.look` is asked what it would do hours later.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from raw import Raw, Visit, raw

from loadgen.capture import downstream, proxy
from loadgen.capture.downstream import IDLE_S, REQUEST_S, Downstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
HOURS_S = 3 * 3600.0


async def always_ok(visit: Visit) -> None:
    while True:
        await visit.request()
        await visit.say(OK)


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many bytes each connection has been given, as `.told`."""
    received = Downstream.data_received

    def counted(self: Downstream, data: bytes) -> None:
        received(self, data)
        self.told = getattr(self, "told", 0) + len(data)  # type: ignore[attr-defined]

    monkeypatch.setattr(Downstream, "data_received", counted)


async def heard(held: Raw, words: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Downstream]:
    """A new client of whom the proxy has read all these words, and the proxy's side of it."""
    known = set(held.proxy.clients)
    reader, writer = await held.connect()
    writer.write(words)
    await until(lambda: held.proxy.clients != known)
    (client,) = held.proxy.clients - known
    await read_by(client, len(words))
    return reader, writer, client


async def read_by(client: Downstream, size: int) -> None:
    await until(lambda: getattr(client, "told", 0) >= size and not client._paused)  # paused: the server is connected to


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 (the other side's state, which has no event)
        await asyncio.sleep(0)


def later(held: Raw, seconds: float) -> None:
    held.proxy.look(time.monotonic() + seconds)


def test_a_client_that_never_sends_is_let_go(run, tmp_path: Path) -> None:
    async def test() -> None:
        async with raw(always_ok, tmp_path / "c") as r:
            reader, _, _ = await heard(r, b"")
            later(r, IDLE_S - 5)
            assert len(r.proxy.clients) == 1
            later(r, IDLE_S + 5)
            assert await reader.read() == b""
            assert not r.proxy.clients

    run(test())


def test_a_kept_connection_is_let_go_and_its_clock_begins_with_the_last_answer(run, tmp_path: Path) -> None:
    async def test() -> None:
        async with raw(always_ok, tmp_path / "c") as r:
            reader, writer, client = await heard(r, b"")
            for _ in range(2):
                client._quiet_since_s -= IDLE_S - 5  # as after a while
                writer.write(GET)
                assert await reader.readexactly(len(OK)) == OK
            later(r, IDLE_S - 5)
            writer.write(GET)
            assert await reader.readexactly(len(OK)) == OK
            later(r, IDLE_S + 5)
            assert await reader.read() == b""

    run(test())


@pytest.mark.parametrize(
    "words",
    [
        b"P",
        POST[:40],
        POST,
        POST + b"half ",
        b"POST /v1/files HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n",  # goes to the server as it comes
        POST.replace(b"Host: x", b"Expect: 100-continue"),
        GET + POST + b"half ",  # after an answer
    ],
)
def test_a_request_that_does_not_go_on_is_answered_408(run, tmp_path: Path, words: bytes) -> None:
    async def test() -> None:
        async with raw(always_ok, tmp_path / "c") as r:
            reader, _, _ = await heard(r, words)
            before = OK if words.startswith(GET) else b"HTTP/1.1 100 Continue\r\n\r\n" if b"100-c" in words else b""
            assert await reader.readexactly(len(before)) == before
            later(r, REQUEST_S - 5)
            assert len(r.proxy.clients) == 1
            later(r, REQUEST_S + 5)
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert b"Connection: close\r\n" in answer
            assert b"the request did not go on for 60 s" in answer
            assert not r.proxy.clients
        assert r.writer.held_bytes == 0

    run(test())


def test_a_head_has_its_time_from_its_first_byte_and_a_body_from_its_last_piece(run, tmp_path: Path) -> None:
    """A head that drips could drip for a month; a body of 16 MB over a thin line may take what it needs."""

    async def test() -> None:
        async with raw(always_ok, tmp_path / "c") as r:
            for words, more, lives in ((POST[:20], POST[20:22], False), (POST, b"ha", True)):
                reader, writer, client = await heard(r, words)
                client._quiet_since_s -= REQUEST_S - 5  # as after a while
                writer.write(more)
                await read_by(client, len(words + more))
                later(r, 6)
                if lives:
                    writer.write(b"x" * 8)
                    assert await reader.readexactly(len(OK)) == OK
                    writer.close()
                else:
                    assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
                await client.gone.wait()

    run(test())


def test_a_server_that_thinks_and_streams_for_hours_is_waited_for(run, tmp_path: Path) -> None:
    """With a whole request, and one behind it of which half has come: until it is its turn nobody is kept waiting."""
    asked, go_on = asyncio.Event(), asyncio.Semaphore(0)

    async def script(visit: Visit) -> None:
        await visit.request()
        asked.set()
        for piece in (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"so", b"on"):
            await go_on.acquire()
            await visit.say(piece)
        await visit.request()

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            reader, _, _ = await heard(r, POST + b"x" * 10 + POST[:30])
            await asked.wait()
            later(r, HOURS_S)
            go_on.release()
            go_on.release()
            head = await reader.readuntil(b"so")
            assert head.startswith(b"HTTP/1.1 200 OK")
            later(r, HOURS_S)
            go_on.release()
            assert await reader.readexactly(2) == b"on"
            later(r, REQUEST_S - 5)
            assert len(r.proxy.clients) == 1
            later(r, REQUEST_S + 5)
            assert (await reader.read()).startswith(b"HTTP/1.1 408 ")

    run(test())


def test_an_answer_that_began_before_the_request_ended_is_not_cut(run, tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.reader.readuntil(b"one\r\n")
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nso")
        await go_on.wait()
        await visit.say(b"on")

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            reader, writer = await r.connect()
            writer.write(b"POST /v1/files HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
            await reader.readuntil(b"so")
            later(r, HOURS_S)
            go_on.set()
            assert await reader.readexactly(2) == b"on"
            later(r, REQUEST_S + 5)  # answered, and still it does not end
            assert await reader.read() == b""

    run(test())


def test_a_server_that_does_not_take_the_body_is_not_the_clients_silence(run, tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        left = 30 << 20
        while left:
            left -= len(await visit.reader.read(1 << 20))
        await visit.say(OK)

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            reader, writer = await r.connect()
            writer.write(b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (30 << 20))
            writer.write(b"x" * (30 << 20))
            await until(lambda: any(each._paused and each._upload_waits for each in r.proxy.clients))
            later(r, HOURS_S)
            go_on.set()
            assert await reader.readexactly(len(OK)) == OK

    run(test())


def test_the_proxy_looks_by_itself(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With limits as small as a test needs; the clients that were silent are told, and the next one is served."""
    monkeypatch.setattr(downstream, "IDLE_S", 0.02)
    monkeypatch.setattr(downstream, "REQUEST_S", 0.02)
    monkeypatch.setattr(proxy, "LOOK_S", 0.01)

    async def test() -> None:
        async with raw(always_ok, tmp_path / "c") as r:
            (idle, _), (half, writer) = await r.connect(), await r.connect()
            writer.write(POST)
            assert await idle.read() == b""
            assert (await half.read()).startswith(b"HTTP/1.1 408 ")
            assert (await r.ask(GET)) == OK

    run(test())
