"""HTTP answers of every framing, cut at every byte: the same exchange, and one stamp for each read."""

import asyncio
import socket
from typing import Any

import pytest
from recorded import every_exchange
from rigs import Landing, Peer, Rig, run_rig
from scripted import Server, Visit, answering, chunked, http

from loadgen.exchange import Outcome

EVENTS = (b"data: a\n\n", b"data: bc\n\ndata: d\n\n", b"data: [DONE]\n\n")
BODY = b"".join(EVENTS)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
KEPT = {
    "chunked": chunked(*EVENTS),
    "chunked, extension and trailer": chunked(*EVENTS)
    .replace(b"9\r\n", b"9;x=y\r\n", 1)
    .replace(b"0\r\n\r\n", b"0\r\nX-Trailer: 1\r\n\r\n"),
    "content-length": _HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
    "100 Continue first": b"HTTP/1.1 100 Continue\r\n\r\n" + chunked(*EVENTS),
    "HTTP/1.0, kept alive": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    + BODY,
}
NOT_KEPT = {
    "chunked, then Connection: close": chunked(*EVENTS, head="Connection: close\r\n"),
    "HTTP/1.0 with a length": b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
}
CLOSE_DELIMITED = {
    "until the connection closes": _HEAD + b"\r\n" + BODY,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
}


async def in_two(rig: Rig, peer: Peer, sock: socket.socket | None, index: int, *, pieces: tuple[bytes, ...]) -> Landing:
    """One exchange whose answer comes in pieces, each read before the next is written."""
    flight = rig.start(index)
    await rig.until(lambda: flight.sent_ns > 0)
    sock = sock or peer.accept()
    sock.recv(4096)
    for at, piece in enumerate(pieces):
        sock.send(piece)
        if at < len(pieces) - 1:
            await rig.until(lambda at=at: flight.reads == at + 1)
    return await rig.landing(index)


@pytest.mark.parametrize("answer", KEPT.values(), ids=KEPT.keys())
def test_an_answer_cut_at_every_byte(answer: bytes, peer: Peer) -> None:
    async def test(rig: Rig) -> None:
        sock = None
        for cut in range(1, len(answer)):
            landing = await in_two(rig, peer, sock, cut, pieces=(answer[:cut], answer[cut:]))
            sock = sock or peer._open[-1]
            assert (landing.done.outcome, landing.done.status, landing.body) == (Outcome.OK, 200, BODY), cut
            assert len(landing.stamps_ns) == len(landing.delays_ns) == len(landing.reads) == 2
            assert landing.stamps_ns[0] < landing.stamps_ns[1] <= landing.done.done_ns
            assert landing.done.reused is (cut > 1)
        assert rig.transport.counters.connections_opened == 1
        assert rig.transport.counters.connections_open == 1

    run_rig(peer.url, test)


@pytest.mark.parametrize("answer", NOT_KEPT.values(), ids=NOT_KEPT.keys())
def test_a_server_that_says_it_will_close_is_believed(answer: bytes, peer: Peer) -> None:
    """The connection is not used again, even while it stays open."""

    async def test(rig: Rig) -> None:
        for cut in range(1, len(answer), 7):
            landing = await in_two(rig, peer, None, cut, pieces=(answer[:cut], answer[cut:]))
            assert (landing.done.outcome, landing.done.status, landing.body) == (Outcome.OK, 200, BODY), cut
            assert not landing.done.reused
            assert rig.transport.counters.connections_open == 0

    run_rig(peer.url, test)


@pytest.mark.parametrize("answer", CLOSE_DELIMITED.values(), ids=CLOSE_DELIMITED.keys())
def test_an_answer_that_ends_with_its_connection(answer: bytes, peer: Peer) -> None:
    """Nobody can tell it from a cut one but who reads its content: the transport says so, with all that came."""

    async def test(rig: Rig) -> None:
        for index, cut in enumerate(range(1, len(answer), 7)):
            flight = rig.start(index)
            await rig.until(lambda flight=flight: flight.sent_ns > 0)
            sock = peer.accept()
            sock.recv(4096)
            sock.send(answer[:cut])
            await rig.until(lambda flight=flight: flight.reads == 1)
            sock.send(answer[cut:])
            sock.close()
            landing = await rig.landing(index)
            assert (landing.done.outcome, landing.done.status, landing.body) == (Outcome.TRUNCATED, 200, BODY), cut
            assert landing.done.detail == "the connection ended before the answer did"

    run_rig(peer.url, test)


def test_every_byte_alone(peer: Peer) -> None:
    answer = KEPT["chunked, extension and trailer"]

    async def test(rig: Rig) -> None:
        landing = await in_two(rig, peer, None, 0, pieces=tuple(answer[at : at + 1] for at in range(len(answer))))
        assert landing.body == BODY
        assert len(landing.stamps_ns) == len(answer)
        assert landing.stamps_ns == sorted(landing.stamps_ns)
        assert b"".join(landing.reads) == BODY
        assert all(len(read) <= 1 for read in landing.reads)

    run_rig(peer.url, test)


@pytest.mark.parametrize("transport", ["socket", "aiohttp"])
@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (http(b'{"detail":"x"}', "404 Not Found"), 404, b'{"detail":"x"}'),
        (http(b"", "500 Internal Server Error"), 500, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (http(b"x", "301 Moved"), 301, b"x"),
        (b"HTTP/1.1 200\r\ncontent-length:1\r\n\r\nx", 200, b"x"),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"y" * 7000 + b"\r\nContent-Length: 1\r\n\r\nz", 200, b"z"),
    ],
    ids=["404", "500", "204", "301", "no reason", "long header"],
)
def test_statuses(answer: bytes, status: int, body: bytes, transport: str) -> None:
    async def test(rig: Rig) -> None:
        for index in range(2):
            landing = await rig.exchange(index)
            assert (landing.done.outcome, landing.done.status, landing.body) == (Outcome.OK, status, body)

    with Server(answering(answer)) as server:
        run_rig(server.url, test, transport=transport)
        assert server.connections == 1


@pytest.mark.parametrize("transport", ["socket", "aiohttp"])
@every_exchange
def test_recorded_answers_replayed_write_by_write(exchange: Any, transport: str) -> None:
    """Both transports hand over the same bytes and the same end."""
    status, whole, reads = exchange.reads()

    async def script(visit: Visit) -> None:
        await visit.request()
        for _, data in exchange.writes:
            await visit.write(data)
            await asyncio.sleep(0)

    async def test(rig: Rig) -> None:
        landing = await rig.exchange()
        assert landing.done.outcome is (Outcome.OK if whole else Outcome.TRUNCATED)
        assert (landing.done.status, landing.body) == (status, b"".join(data for _, data in reads))

    with Server(script) as server:
        run_rig(server.url, test, transport=transport)
