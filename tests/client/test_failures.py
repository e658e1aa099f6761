"""Everything that can go wrong on the wire has its own outcome and words; nothing is an exception, nothing is lost."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rigs import Peer, Rig, run_rig
from scripted import Server, Visit, answering, chunked

from loadgen.exchange import Outcome

ANSWER = chunked(b"data: a\n\n", b"data: [DONE]\n\n")
EITHER = pytest.mark.parametrize("transport", ["socket", "aiohttp"])


def free_port(host: str = "127.0.0.1") -> int:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        return int(sock.getsockname()[1])


@EITHER
def test_nobody_listens(transport: str) -> None:
    async def test(rig: Rig) -> None:
        for index in range(3):
            landing = await rig.exchange(index)
            assert landing.done.outcome is Outcome.CONNECT_ERROR
            assert "refused" in landing.done.detail.lower() or "connect" in landing.done.detail.lower()
            assert (landing.done.status, landing.done.sent_ns, landing.body) == (0, -1, b"")
        assert rig.transport.counters.connections_open == 0

    run_rig(f"http://127.0.0.1:{free_port()}", test, transport=transport)


@EITHER
@pytest.mark.parametrize("sent", [ANSWER[:-5], ANSWER[:-7], ANSWER[: ANSWER.index(b"\r\n\r\n") + 4]])
def test_reset_in_mid_answer(sent: bytes, transport: str) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.write(sent)
        await visit.reader.read(1)  # until the test has seen it
        visit.reset()

    with Server(script) as server:
        # The stream reader belongs to the server's loop: wake it there.
        async def woken(rig: Rig) -> None:
            flight = rig.start()
            await rig.until(lambda: flight.reads or (transport == "aiohttp" and flight.status))
            server._loop.call_soon_threadsafe(server.visits[0].reader.feed_data, b".")
            landing = await rig.landing()
            assert (landing.done.outcome, landing.done.status) == (Outcome.TRUNCATED, 200)
            assert landing.done.detail
            if b"data: a" in sent:
                assert landing.body.startswith(b"data: a\n\n")

        run_rig(server.url, woken, transport=transport)


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_bytes_that_are_not_http(sent: bytes) -> None:
    async def test(rig: Rig) -> None:
        landing = await rig.exchange()
        assert landing.done.outcome is Outcome.PROTOCOL_ERROR
        assert landing.done.detail.startswith("not an HTTP answer (")
        assert rig.transport.counters.connections_open == 0

    with Server(answering(sent)) as server:
        run_rig(server.url, test)


@pytest.mark.parametrize("cut", range(1, len(ANSWER) - 1, 3))
def test_a_connection_that_ends_anywhere_in_the_answer(cut: int, peer: Peer) -> None:
    async def test(rig: Rig) -> None:
        flight = rig.start()
        await rig.until(lambda: flight.sent_ns > 0)
        sock = peer.accept()
        sock.recv(4096)
        sock.send(ANSWER[:cut])
        sock.shutdown(socket.SHUT_WR)
        done = (await rig.landing()).done
        assert (done.outcome, done.retries) == (Outcome.TRUNCATED, 0)

    run_rig(peer.url, test)


def test_ipv6() -> None:
    try:
        free_port("::1")
    except OSError:
        pytest.skip("this machine has no IPv6")

    async def test(rig: Rig) -> None:
        assert (await rig.exchange()).done.outcome is Outcome.OK

    with Server(answering(ANSWER), host="::1") as server:
        run_rig(server.url, test)
        assert f"Host: [::1]:{server.port}\r\n" in server.requests[0].head


def test_headers_of_any_text_reach_the_server() -> None:
    async def test(rig: Rig) -> None:
        assert (await rig.exchange(7, b'{"a": "%s"}')).done.outcome is Outcome.OK

    with Server(answering(ANSWER)) as server:
        run_rig(server.url, test)
        request = server.requests[0]
        assert request.line == "POST /v1/x HTTP/1.1"
        assert "X-Request-Id: 00000000-0000-4000-8000-000000000007\r\n" in request.head
        assert request.body == b'{"a": "%s"}'


_OUT_OF_DESCRIPTORS = """
import asyncio, json, os, resource, sys, uvloop
sys.path[:0] = sys.argv[2:]
from rigs import Rig, run_rig

async def test(rig):
    soft = len(os.listdir("/proc/self/fd")) + 4
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
    for index in range(12):
        rig.start(index)
    for index in range(12):
        await rig.landing(index)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
    found = [(str(rig.landed[index].done.outcome), rig.landed[index].done.detail) for index in range(12)]
    again = await rig.exchange(12)
    print(json.dumps([found, str(again.done.outcome), again.done.reused]))

run_rig(sys.argv[1], test)
"""


def test_out_of_file_descriptors_is_our_own_fault() -> None:
    with Server(answering(ANSWER)) as server:
        folders = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "wire")]
        command = [sys.executable, "-c", _OUT_OF_DESCRIPTORS, server.url, *folders]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 0, ended.stderr
    found, again, reused = json.loads(ended.stdout)
    kinds = {outcome for outcome, _ in found}
    assert kinds == {"ok", "client_error"}
    details = {detail for outcome, detail in found if outcome == "client_error"}
    assert details == {"no file descriptor left in this process (raise it with: ulimit -n 65536)"}
    assert (again, reused) == ("ok", True)
