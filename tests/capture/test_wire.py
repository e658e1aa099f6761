"""What passes, byte for byte: heads, the end of a body, kept connections, and ends that come too early."""

import asyncio
import json
import ssl
import subprocess
from pathlib import Path

import pytest
from raw import Visit, raw

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def rows(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()][1:]


def post(body: bytes, *headers: bytes, path: bytes = b"/v1/completions") -> bytes:
    lines = b"".join(header + b"\r\n" for header in (b"Host: x", b"Content-Length: %d" % len(body), *headers))
    return b"POST %b HTTP/1.1\r\n%b\r\n%b" % (path, lines, body)


async def always_ok(visit: Visit) -> None:
    while True:
        await visit.request()
        await visit.say(OK)


def test_heads_keep_their_order_their_case_and_what_is_repeated(run, tmp_path: Path) -> None:
    heads = []

    async def script(visit: Visit) -> None:
        heads.append((await visit.request())[0])
        await visit.say(
            b"HTTP/1.1 299 Of my own\r\nSet-Cookie: a=1\r\nx-odd:  b \r\nSET-COOKIE: c=2\r\nX-Bytes: \xe4\xff\r\n"
            b"Connection: X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\ncontent-length: 0\r\n\r\n"
        )

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            answer = await r.ask(
                b"POST /a%2Fb?c=%20&c HTTP/1.1\r\nhost: theirs\r\nCookie: a\r\nX-b: 1\r\nCookie: \xfc\r\nX-Hop: 1\r\n"
                b"Connection: close, X-Hop, Content-Length\r\nTE: trailers\r\ncontent-Length: 2\r\n\r\nhi"
            )
            port = r.visits[0].writer.get_extra_info("sockname")[1]
        assert heads == [
            b"POST /a%%2Fb?c=%%20&c HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nCookie: a\r\nX-b: 1\r\nCookie: \xfc\r\n"
            b"content-Length: 2\r\n\r\n" % port
        ]
        assert answer == (
            b"HTTP/1.1 299 Of my own\r\nSet-Cookie: a=1\r\nx-odd: b \r\nSET-COOKIE: c=2\r\nX-Bytes: \xe4\xff\r\n"
            b"content-length: 0\r\nConnection: close\r\n\r\n"
        )

    run(test())


@pytest.mark.parametrize(
    ("version", "given", "expected"),
    [
        (b"1.1", b"\r\n\r\nall", b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nall\r\n0\r\n\r\n"),
        (b"1.0", b"\r\n\r\nall", b"Connection: close\r\n\r\nall"),
        (b"1.0", b"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n0\r\n\r\n", b"Connection: close\r\n\r\nall"),
        (b"1.0", b"\r\nContent-Length: 3\r\n\r\nall", b"Content-Length: 3\r\nConnection: close\r\n\r\nall"),
    ],
)
def test_the_end_of_a_body_is_told_as_the_client_understands_it(
    run, tmp_path: Path, version: bytes, given: bytes, expected: bytes
) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK", given)

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            answer = await r.ask(b"GET / HTTP/%b\r\nConnection: close\r\n\r\n" % version)
            assert answer == b"HTTP/1.1 200 OK\r\n" + expected

    run(test())


def test_an_old_client_may_keep_its_connection(run, tmp_path: Path) -> None:
    async def test() -> None:
        async with raw(always_ok, tmp_path / "c") as r:
            reader, writer = await r.connect()
            for _ in range(2):
                writer.write(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                assert b"Connection: keep-alive" in head
                assert await reader.readexactly(2) == b"ok"
            assert len(r.visits) == 1

    run(test())


def test_answers_that_have_no_body_leave_both_connections_good(run, tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        while True:
            method = (await visit.request())[0].split()[0]
            status = {b"HEAD": b"200", b"DELETE": b"204", b"PUT": b"304"}.get(method)
            await visit.say(b"HTTP/1.1 %b X\r\nContent-Length: 7\r\n\r\n" % status if status else OK)

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            reader, writer = await r.connect()
            for method in (b"HEAD", b"DELETE", b"PUT", b"HEAD"):
                writer.write(b"%b / HTTP/1.1\r\n\r\n" % method)
                assert b"Content-Length: 7" in await reader.readuntil(b"\r\n\r\n")
                writer.write(GET)
                assert await reader.readexactly(len(OK)) == OK
            assert len(r.visits) == 1

    run(test())


def test_interim_answers_are_not_the_answer(run, tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", OK)

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            assert (await r.ask(LAST_GET)).endswith(b"Content-Length: 2\r\nConnection: close\r\n\r\nok")

    run(test())


def test_a_wish_to_speak_something_else_is_not_passed_on(run, tmp_path: Path) -> None:
    """The server answers as if none had wished; the connection stays HTTP."""
    heads = []

    async def script(visit: Visit) -> None:
        while True:
            heads.append((await visit.request())[0])
            await visit.say(OK)

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            wish = b"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
            answer = await r.ask(wish + LAST_GET)
            assert answer.count(b"HTTP/1.1 200 OK") == 2
            assert heads[0].count(b"\r\n") == 4
            assert b"Sec-WebSocket-Version: 13" in heads[0]
            assert b"501" in await r.ask(b"CONNECT example.com:443 HTTP/1.1\r\n\r\nhello")
            assert len(heads) == 2

    run(test())


def test_a_request_to_a_forward_proxy_names_the_same_path(run, tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.say(b"HTTP/1.1 200 " + (await visit.request())[0].split()[1] + b"\r\nContent-Length: 0\r\n\r\n")

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            for target, path in ((b"http://up/v1/a?b", b"/v1/a?b"), (b"http://up", b"/"), (b"*", b"*")):
                request = b"OPTIONS %b HTTP/1.1\r\nConnection: close\r\n\r\n" % target
                assert (await r.ask(request)).startswith(b"HTTP/1.1 200 " + path + b"\r\n")

    run(test())


def test_a_kept_connection_that_was_closed_costs_one_more_and_no_request(run, tmp_path: Path) -> None:
    """The server takes the second request of its connection and closes without a word: it is sent again, afresh."""

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(OK)
        await visit.request()

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            reader, writer = await r.connect()
            for visits in (1, 2, 3):
                writer.write(post(b'{"prompt": "a"}'))
                assert await reader.readexactly(len(OK)) == OK
                assert len(r.visits) == visits
        assert [row["status"] for row in rows(tmp_path / "c")] == [200] * 3

    run(test())


@pytest.mark.parametrize("said", [b"", b"H", b"HTTP/1.1 200 OK\r\nContent-"])
def test_a_request_is_not_sent_again_when_it_may_have_been_heard(run, tmp_path: Path, said: bytes) -> None:
    """On a fresh connection that closes, and on a kept one when an answer had begun."""

    async def script(visit: Visit) -> None:
        if said:
            await visit.request()
            await visit.say(OK)
        await visit.request()
        await visit.say(said)

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            reader, writer = await r.connect()
            if said:
                writer.write(GET)
                assert await reader.readexactly(len(OK)) == OK
            writer.write(post(b'{"prompt": "a"}'))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 502 Bad Gateway")
            assert len(r.visits) == 1
        assert [row["status"] for row in rows(tmp_path / "c")] == [502]

    run(test())


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, b"HTTP/1.1 101 X\r\n\r\n"]
)
def test_a_server_that_speaks_something_else_is_a_502(run, tmp_path: Path, said: bytes) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(said)
        await asyncio.Event().wait()

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            reader, writer = await r.connect()
            writer.write(GET)
            assert (await reader.readline()).startswith(b"HTTP/1.1 502 Bad Gateway")

    run(test())


def test_a_server_that_closes_at_once_is_a_502(run, tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        visit.reset()

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            for _ in range(30):  # before or after the request was sent, as it happens
                assert (await r.ask(LAST_GET)).startswith(b"HTTP/1.1 502 ")

    run(test())


def test_bytes_after_an_answer_are_never_the_next_ones(run, tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            reader, writer = await r.connect()
            for visits in (1, 2):
                writer.write(GET)
                assert await reader.readexactly(len(OK)) == OK
                assert len(r.visits) == visits

    run(test())


@pytest.mark.parametrize(
    "begun", [b"Content-Length: 9\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n9\r\nhalf", b"\r\nhalf"]
)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_half_an_answer_never_looks_whole(run, tmp_path: Path, begun: bytes, version: bytes) -> None:
    passed = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\n", begun)
        await passed.wait()
        visit.reset()

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            reader, writer = await r.connect()
            writer.write(b"GET / HTTP/%b\r\n\r\n" % version)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"half" in await reader.read(20)
            passed.set()
            if version == b"1.0" and b"Content-Length" not in head:
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            else:
                assert b"0\r\n\r\n" not in await reader.read()

    run(test())


def test_an_early_answer_to_a_long_request_arrives_whole(run, tmp_path: Path) -> None:
    """The server refuses after the head; the client, who has not been read from to the end, hears it, and asks on."""
    refusal = b"HTTP/1.1 413 Too large\r\nContent-Length: 3\r\n\r\nno!"

    async def script(visit: Visit) -> None:
        head = await visit.reader.readuntil(b"\r\n\r\n")
        await visit.say(OK if head.startswith(b"GET") else refusal)

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            reader, writer = await r.connect()
            body = b"x" * (20 << 20)
            writer.write(post(body))
            assert await reader.readexactly(len(refusal)) == refusal
            await writer.drain()
            writer.write(GET)
            assert await reader.readexactly(len(OK)) == OK
            assert r.writer.missed == {"a body too large": 1}

    run(test())


def test_an_upload_passes_as_it_comes(run, tmp_path: Path) -> None:
    """What is not recorded is not gathered: the server has the first piece before the client has made the second."""
    seen = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.reader.readuntil(b"3\r\none\r\n")
        seen.set()
        await visit.reader.readuntil(b"3\r\ntwo\r\n0\r\n\r\n")
        await visit.say(OK)

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            reader, writer = await r.connect()
            writer.write(b"POST /v1/files HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
            await seen.wait()
            writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
            assert await reader.readexactly(len(OK)) == OK

    run(test())


def test_a_client_that_does_not_read_stops_the_server(run, tmp_path: Path) -> None:
    written = 0

    async def script(visit: Visit) -> None:
        nonlocal written
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await visit.say(b"x" * (1 << 16))
            written += 1 << 16

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            _, writer = await r.connect()
            writer.write(GET)
            await settled(lambda: written)
            assert 0 < written < 64 << 20  # what the kernel's buffers of two connections hold, and no more

    run(test())


def test_a_server_that_does_not_read_stops_the_client(run, tmp_path: Path) -> None:
    written = 0

    async def script(visit: Visit) -> None:
        visit.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            _, writer = await r.connect()
            writer.write(b"POST /v1/files HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n")

            async def fill() -> None:
                nonlocal written
                while True:
                    writer.write(b"x" * (1 << 16))
                    await writer.drain()
                    written += 1 << 16

            filling = asyncio.create_task(fill())
            await settled(lambda: written)
            assert 0 < written < 64 << 20
            filling.cancel()

    run(test())


async def settled(count) -> None:
    """Until it grows no more; a bounded number of looks, since it may never settle."""
    last, same = -1, 0
    for _ in range(2000):
        await asyncio.sleep(0.001)
        same = same + 1 if count() == last and last > 0 else 0
        last = count()
        if same == 50:
            return
    raise AssertionError(f"still growing at {last}")


def test_a_short_body_in_chunks_is_recorded_like_any_other(run, tmp_path: Path) -> None:
    bodies = []

    async def script(visit: Visit) -> None:
        head = await visit.reader.readuntil(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked\r\n" in head
        bodies.append(await visit.reader.readuntil(b"0\r\n\r\n"))
        await visit.say(OK)

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            reader, writer = await r.connect()
            writer.write(b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in (b'{"prompt"', b": [1, 2]}"):
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
            assert await reader.readexactly(len(OK)) == OK
        assert bodies == [b'12\r\n{"prompt": [1, 2]}\r\n0\r\n\r\n']
        assert [row["input_tokens"] for row in rows(tmp_path / "c")] == [2]

    run(test())


def test_what_comes_in_single_bytes(run, tmp_path: Path) -> None:
    async def test() -> None:
        async with raw(always_ok, tmp_path / "c") as r:
            reader, writer = await r.connect()
            for k in range(len(GET)):
                writer.write(GET[k : k + 1])
                await writer.drain()
            assert await reader.readexactly(len(OK)) == OK

    run(test())


def test_an_address_that_refuses_is_not_the_only_one(run, tmp_path: Path) -> None:
    """As `localhost` has two where a server listens at one; what was known of the name is asked for anew after that."""

    async def test() -> None:
        async with raw(always_ok, tmp_path / "c") as r:
            pool = r.proxy.pool
            (await pool.connect()).transport.abort()
            (known,) = pool._addresses
            pool._addresses = [("127.0.0.1", 9), known]
            assert (await r.ask(LAST_GET)).endswith(b"ok")
            (await pool.connect()).transport.abort()
            assert pool._addresses == [known]

    run(test())


def test_at_the_end_running_answers_end_and_idle_ones_go(run, tmp_path: Path) -> None:
    begun, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        if visit.number == 2:
            begun.release()
            await asyncio.Event().wait()  # this one has no end
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"o")
        begun.release()
        await go_on.wait()
        await visit.say(b"k")

    async def test() -> None:
        async with raw(script, tmp_path / "c") as r:
            readers = []
            for _ in range(3):
                reader, writer = await r.connect()
                writer.write(post(b'{"prompt": "a"}'))
                await begun.acquire()
                readers.append(reader)
            idle, _ = await r.connect()
            await asyncio.sleep(0)
            closing = asyncio.create_task(r.proxy.close(0.5))
            assert await idle.read() == b""
            go_on.set()
            assert [await reader.read() for reader in readers] == [OK, OK, b""]
            await closing
        assert [row["status"] for row in rows(tmp_path / "c")] == [200, 200, 499]

    run(test())


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """A server's context, and the file of who vouches for it."""
    folder: Path = tmp_path_factory.mktemp("tls")
    made = [str(folder / name) for name in ("key.pem", "certificate.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", made[0], "-out", made[1], "-days", "2", "-subj", "/CN=localhost"]
    try:
        subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl command")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made[1], made[0])
    return context, made[1]


@pytest.mark.parametrize("vouched", [True, False])
def test_a_server_behind_tls(run, tmp_path: Path, tls, monkeypatch: pytest.MonkeyPatch, vouched: bool) -> None:
    context, certificate = tls
    if vouched:
        monkeypatch.setenv("SSL_CERT_FILE", certificate)

    async def script(visit: Visit) -> None:
        while True:
            _, body = await visit.request()
            await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)

    async def test() -> None:
        async with raw(script, tmp_path / "c", context) as r:
            reader, writer = await r.connect()
            body = b"x" * (1 << 20)
            for _ in range(2):
                writer.write(post(body))
                head = await reader.readuntil(b"\r\n\r\n")
                if not vouched:
                    assert head.startswith(b"HTTP/1.1 502")
                    assert b"certificate" in await reader.read(500)
                    return
                assert await reader.readexactly(len(body)) == body
            assert len(r.visits) == 1

    run(test())
