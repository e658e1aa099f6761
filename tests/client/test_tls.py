"""TLS with a certificate of our own: the same exchange, over stamped reads of encrypted bytes."""

import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from rigs import Peer, Rig, run_rig
from scripted import Server, Visit, answering, chunked, http

from loadgen.exchange import Outcome

EVENTS = [b"data: %d\n\n" % number for number in range(200)]
ANSWER = chunked(*EVENTS)
EITHER = pytest.mark.parametrize("transport", ["socket", "aiohttp"])


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder: Path = tmp_path_factory.mktemp("tls")
    made = [str(folder / name) for name in ("key.pem", "certificate.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", made[0], "-out", made[1], "-days", "2", "-subj", "/CN=localhost"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=20)
    except FileNotFoundError:
        pytest.skip("no openssl command")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made[1], made[0])
    return context


@EITHER
def test_answers_over_tls(tls: ssl.SSLContext, transport: str) -> None:
    async def test(rig: Rig) -> None:
        for index in range(5):
            landing = await rig.exchange(index, b'"%d"' % index)
            assert (landing.done.outcome, landing.done.status) == (Outcome.OK, 200), landing.done.detail
            assert landing.body == b"".join(EVENTS)
            assert b"".join(landing.reads) == landing.body
            assert landing.stamps_ns == sorted(landing.stamps_ns)

    with Server(answering(ANSWER), tls=tls) as server:
        run_rig(server.url, test, transport=transport, verify_tls=False)
        assert server.connections == 1
        assert [request.body for request in server.requests] == [b'"%d"' % index for index in range(5)]


def test_the_kernels_stamps_are_kept(tls: ssl.SSLContext) -> None:
    async def test(rig: Rig) -> None:
        landing = await rig.exchange()
        assert landing.done.kernel_stamps
        assert all(0 <= delay < 1_000_000_000 for delay in landing.delays_ns)

    with Server(answering(ANSWER), tls=tls) as server:
        run_rig(server.url, test, verify_tls=False)


@EITHER
def test_a_certificate_that_nobody_vouches_for_is_refused(tls: ssl.SSLContext, transport: str) -> None:
    async def test(rig: Rig) -> None:
        done = (await rig.exchange()).done
        assert done.outcome is Outcome.CONNECT_ERROR
        assert "self" in done.detail
        assert "signed" in done.detail

    with Server(answering(ANSWER), tls=tls) as server:
        run_rig(server.url, test, transport=transport)
        assert server.requests == []


def test_a_large_request_over_tls(tls: ssl.SSLContext) -> None:
    body = b"x" * (4 << 20)

    async def test(rig: Rig) -> None:
        for index in range(2):
            done = (await rig.exchange(index, body)).done
            assert (done.outcome, done.reused) == (Outcome.OK, index > 0), done.detail
            assert done.issued_ns < done.sent_ns < done.done_ns

    with Server(answering(ANSWER), tls=tls) as server:
        run_rig(server.url, test, verify_tls=False)
        assert [len(request.body) for request in server.requests] == [len(body)] * 2


def test_a_large_answer_over_tls(tls: ssl.SSLContext) -> None:
    """More than one read takes, all of it there at once, and nothing after it."""
    body = b"x" * (1 << 20)

    async def test(rig: Rig) -> None:
        for index in range(3):
            landing = await rig.exchange(index)
            assert (landing.done.outcome, landing.body) == (Outcome.OK, body)

    with Server(answering(http(body)), tls=tls) as server:
        run_rig(server.url, test, verify_tls=False)


def test_a_server_that_closes_after_every_answer_costs_no_request(tls: ssl.SSLContext) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.write(ANSWER)

    async def test(rig: Rig) -> None:
        for index in range(20):
            done = (await rig.exchange(index)).done
            assert done.outcome is Outcome.OK, done.detail

    with Server(script, tls=tls) as server:
        run_rig(server.url, test, verify_tls=False)
        assert len(server.requests) == 20


def test_a_server_without_tls(peer: Peer) -> None:
    async def test(rig: Rig) -> None:
        flight = rig.start()
        await rig.until(lambda: flight.carrier.connected)  # type: ignore[attr-defined]
        sock = peer.accept()
        sock.recv(4096)
        sock.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        done = (await rig.landing()).done
        assert done.outcome is Outcome.CONNECT_ERROR
        assert done.detail.startswith("TLS: ")

    run_rig(peer.url.replace("http:", "https:"), test, verify_tls=False)
