"""Connections: kept, used again, given up; and the one case in which a request is sent twice."""

import asyncio
import json
import socket
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rigs import Peer, Rig, run_rig
from scripted import Server, Visit, answering, chunked, http

from loadgen.client.connection import READ_BYTES, RX_SOFTWARE_AND_REPORT, SO_TIMESTAMPING
from loadgen.client.socket_transport import SocketTransport
from loadgen.exchange import Outcome

ANSWER = chunked(b"data: a\n\n", b"data: [DONE]\n\n")
MS = 1_000_000
LARGE = json.dumps("x" * (8 << 20)).encode()  # more than the buffers of both ends


def receive(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(1 << 20)
        assert piece, "the client closed early"
        data += piece
    return bytes(data)


def test_one_connection_serves_one_request_after_another() -> None:
    async def test(rig: Rig) -> None:
        for index in range(20):
            done = (await rig.exchange(index)).done
            assert (done.outcome, done.connection, done.reused, done.retries) == (Outcome.OK, 1, index > 0, 0)

    with Server(answering(ANSWER)) as server:
        rig = run_rig(server.url, test)
        assert server.connections == 1
        ids = [request.head.lower().split("x-request-id: ")[1].split("\r\n")[0] for request in server.requests]
        assert [int(each.rpartition("-")[2]) for each in ids] == list(range(20))
        assert all(UUID(each).version == 4 for each in ids)  # a server may insist on that
    assert rig.transport.counters.connections_open == 0  # closed with the transport


def test_as_many_connections_as_requests_in_flight_and_the_newest_first(peer: Peer) -> None:
    async def test(rig: Rig) -> None:
        for index in range(3):
            rig.start(index)
        await rig.until(lambda: all(flight.sent_ns > 0 for flight in rig.flights.values()))
        socks = [peer.accept() for _ in range(3)]
        for index, sock in enumerate(socks):
            sock.recv(4096)
            sock.send(ANSWER)
            await rig.landing(index)
        flight = rig.start(3)
        await rig.until(lambda: flight.sent_ns > 0)
        socks[2].recv(4096)
        socks[2].send(ANSWER)
        assert (await rig.landing(3)).done.connection == 3
        assert rig.transport.counters.connections_opened == 3

    run_rig(peer.url, test)


def test_three_hundred_at_once_each_with_its_own_answer() -> None:
    async def echo(visit: Visit) -> None:
        while (request := await visit.request()) is not None:
            await visit.write(chunked(b"data: ", request.body, b"\n\n"))

    async def test(rig: Rig) -> None:
        for round_ in range(2):
            indices = range(300 * round_, 300 * (round_ + 1))
            for index in indices:
                rig.start(index, b"%d" % index * 50)
            for index in indices:
                landing = await rig.landing(index)
                assert landing.done.outcome is Outcome.OK, landing.done.detail
                assert landing.body == b"data: %s\n\n" % (b"%d" % index * 50)
        assert rig.transport.counters.connections_opened == 300

    with Server(echo) as server:
        run_rig(server.url, test)
        assert server.connections == 300


def test_a_connection_that_the_server_closed_while_idle_is_not_used(peer: Peer) -> None:
    async def test(rig: Rig) -> None:
        await answer(rig, peer, 0).close_it()
        await rig.until(lambda: rig.transport.counters.connections_open == 0)
        await answer(rig, peer, 1).leave_it()
        assert [landing.done.retries for landing in rig.landed.values()] == [0, 0]
        assert rig.transport.counters.connections_opened == 2

    run_rig(peer.url, test)


class answer:  # noqa: N801 (reads as a verb)
    """Start a request, accept its connection, answer it."""

    def __init__(self, rig: Rig, peer: Peer, index: int) -> None:
        self.rig, self.peer, self.index = rig, peer, index
        self.flight = rig.start(index)

    async def leave_it(self) -> socket.socket:
        await self.rig.until(lambda: self.flight.sent_ns > 0)
        sock = self.peer.accept()
        sock.recv(4096)
        sock.send(ANSWER)
        assert (await self.rig.landing(self.index)).done.outcome is Outcome.OK
        return sock

    async def close_it(self) -> None:
        (await self.leave_it()).close()


def test_a_request_that_met_the_server_closing_is_sent_again(peer: Peer) -> None:
    """The race that every keep-alive server has: its FIN and our request pass each other."""

    async def test(rig: Rig) -> None:
        await answer(rig, peer, 0).close_it()
        again = answer(rig, peer, 1)  # before the loop has seen the FIN
        sent_in_vain_ns = again.flight.sent_ns
        assert sent_in_vain_ns > 0
        await rig.until(lambda: again.flight.sent_ns > sent_in_vain_ns)
        await again.leave_it()
        done = rig.landed[1].done
        assert (done.outcome, done.retries, done.reused, done.connection) == (Outcome.OK, 1, False, 2)
        assert done.issued_ns < done.sent_ns <= done.done_ns
        assert rig.transport.counters.retries == 1

    run_rig(peer.url, test)


def test_a_server_that_promises_to_keep_and_closes_after_every_answer() -> None:
    """llama-server does. No request may fail for it."""

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.write(ANSWER.replace(b"\r\n", b"\r\nKeep-Alive: timeout=5, max=100\r\n", 1))

    async def test(rig: Rig) -> None:
        for index in range(100):
            assert (await rig.exchange(index)).done.outcome is Outcome.OK
        retries = sum(landing.done.retries for landing in rig.landed.values())
        assert rig.transport.counters.retries == retries
        assert rig.transport.counters.connections_opened == 100

    with Server(script) as server:
        run_rig(server.url, test)
        assert server.connections == 100
        assert len(server.requests) == 100  # what was sent twice was read once


def test_sent_again_once_and_no_more(peer: Peer) -> None:
    async def test(rig: Rig) -> None:
        await answer(rig, peer, 0).close_it()
        rig.start(1)
        await rig.until(lambda: rig.transport.counters.retries == 1)
        peer.accept().close()
        done = (await rig.landing(1)).done
        assert (done.outcome, done.retries) == (Outcome.CONNECT_ERROR, 1)
        assert rig.transport.counters.connections_opened == 2

    run_rig(peer.url, test)


@pytest.mark.parametrize("start", [b"H", b"HTTP/1.1 200 OK\r\n", ANSWER[:-4]])
def test_not_sent_again_when_a_byte_of_the_answer_had_come(start: bytes, peer: Peer) -> None:
    async def test(rig: Rig) -> None:
        sock = await answer(rig, peer, 0).leave_it()
        flight = rig.start(1)
        await rig.until(lambda: flight.sent_ns > 0)
        sock.recv(4096)
        sock.send(start)
        sock.close()
        done = (await rig.landing(1)).done
        assert (done.outcome, done.retries, done.reused) == (Outcome.TRUNCATED, 0, True)

    run_rig(peer.url, test)


def test_not_sent_again_on_a_fresh_connection(peer: Peer) -> None:
    async def test(rig: Rig) -> None:
        flight = rig.start(0)
        await rig.until(lambda: flight.sent_ns > 0)
        sock = peer.accept()
        sock.recv(4096)
        sock.close()
        done = (await rig.landing(0)).done
        assert (done.outcome, done.retries) == (Outcome.CONNECT_ERROR, 0)
        assert done.detail == "the server closed the connection without an answer"

    run_rig(peer.url, test)


def test_a_large_request_waits_for_room_and_is_sent_when_its_last_byte_is(peer: Peer) -> None:
    async def test(rig: Rig) -> None:
        flight = rig.start(0, LARGE)
        for _ in range(50):
            await asyncio.sleep(0)
        assert flight.sent_ns < 0
        sock = peer.accept()
        wire = await asyncio.to_thread(receive, sock, len(flight.wire))
        assert wire == flight.wire
        await rig.until(lambda: flight.sent_ns > 0)
        sock.send(ANSWER)
        assert (await rig.landing(0)).done.outcome is Outcome.OK
        assert (await answer_again(rig, sock, 1)).done.reused

    run_rig(peer.url, test)


async def answer_again(rig: Rig, sock: socket.socket, index: int) -> "object":
    flight = rig.start(index)
    await rig.until(lambda: flight.sent_ns > 0)
    sock.recv(4096)
    sock.send(ANSWER)
    return await rig.landing(index)


def test_a_large_request_is_sent_again_from_its_start(peer: Peer) -> None:
    """The server closes while half of it is under way: the fresh connection gets all of it."""

    async def test(rig: Rig) -> None:
        sock = await answer(rig, peer, 0).leave_it()
        flight = rig.start(1, LARGE)
        for _ in range(5):
            await asyncio.sleep(0)
        assert flight.sent_ns < 0
        sock.close()  # unread bytes in it: the kernel sends a RST
        await rig.until(lambda: rig.transport.counters.retries == 1)
        fresh = peer.accept()
        wire = await asyncio.to_thread(receive, fresh, len(flight.wire))
        assert wire == flight.wire
        fresh.send(ANSWER)
        done = (await rig.landing(1)).done
        assert (done.outcome, done.retries, done.reused) == (Outcome.OK, 1, False)

    run_rig(peer.url, test)


def test_an_answer_before_the_request_was_through(peer: Peer) -> None:
    """A server may refuse early. The rest of the request would be taken for the next one: not used again."""

    async def test(rig: Rig) -> None:
        flight = rig.start(0, LARGE)
        await rig.until(lambda: flight.carrier.connected)  # type: ignore[attr-defined]
        sock = peer.accept()
        sock.recv(4096)
        sock.send(http(b"too large", "413 Content Too Large"))
        landing = await rig.landing(0)
        assert (landing.done.outcome, landing.done.status, landing.done.sent_ns) == (Outcome.OK, 413, -1)
        assert landing.body == b"too large"
        assert rig.transport.counters.connections_open == 0

    run_rig(peer.url, test)


def test_bytes_that_nobody_asked_for_end_the_connection_and_no_request(peer: Peer) -> None:
    async def test(rig: Rig) -> None:
        sock = await answer(rig, peer, 0).leave_it()
        sock.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await rig.until(lambda: rig.transport.counters.connections_open == 0)
        await answer(rig, peer, 1).leave_it()
        assert rig.landed[1].done.retries == 0

    run_rig(peer.url, test)


@pytest.mark.parametrize("transport", ["socket", "aiohttp"])
def test_a_cancelled_request_closes_its_connection_and_is_not_reported(transport: str) -> None:
    seen: list[int] = []

    async def script(visit: Visit) -> None:
        while (request := await visit.request()) is not None:
            if b"wait" in request.body:
                await visit.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            else:
                await visit.write(ANSWER)
        seen.append(visit.number)

    async def test(rig: Rig) -> None:
        flight = rig.start(0, b'"wait"')
        await rig.until(lambda: flight.reads)
        rig.transport.cancel(flight)
        del rig.flights[0]
        await rig.until(lambda: seen == [1])
        assert (await rig.exchange(1)).done.outcome is Outcome.OK
        assert 0 not in rig.landed
        part = flight.take_part(0, 0)
        assert part.body == b"a"  # what had come is kept

    with Server(script) as server:
        run_rig(server.url, test, transport=transport)


def test_a_server_that_closes_every_connection_does_not_end_the_kernels_stamps() -> None:
    """They end with the last socket that wants them and begin late: one is kept that asks for nothing else."""
    kept: list[socket.socket] = []

    async def test(rig: Rig) -> None:
        transport = rig.transport
        assert isinstance(transport, SocketTransport)
        kept.append(transport._stamping)
        for index in range(3):
            assert (await rig.exchange(index)).done.kernel_stamps
        assert kept[0].getsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING) == RX_SOFTWARE_AND_REPORT

    with Server(answering(ANSWER.replace(b"200 OK\r\n", b"200 OK\r\nConnection: close\r\n"))) as server:
        run_rig(server.url, test)
        assert server.connections == 3
    assert kept[0].fileno() == -1


@pytest.mark.parametrize("on_the_beat", [False, True])
@pytest.mark.parametrize("closes", [False, True])
def test_more_than_a_read_takes_comes_whole_and_so_does_the_end_after_it(closes: bool, on_the_beat: bool) -> None:
    """All is there at the first look, and nothing more will make the socket ready again."""
    body = b"x" * (5 * READ_BYTES + 7)
    head = b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if closes else b"Content-Length: %d\r\n\r\n" % len(body))

    async def script(visit: Visit) -> None:
        while await visit.request() is not None:
            await visit.write(head + body)
            if closes:
                return

    async def test(rig: Rig) -> None:
        for index in range(3):
            if on_the_beat:
                rig.transport.tick(1)
            landing = await rig.exchange(index)
            assert landing.body == body
            assert landing.done.outcome is (Outcome.TRUNCATED if closes else Outcome.OK)  # its content says if whole

    with Server(script) as server:
        run_rig(server.url, test)


@given(st.integers(1, 100_000), st.integers(0, 500))
@settings(max_examples=30, deadline=None)
def test_the_beat_is_a_quarter_of_the_gap_between_a_streams_events(events: int, streams: int) -> None:
    async def test(rig: Rig) -> None:
        transport = rig.transport
        assert isinstance(transport, SocketTransport)
        transport._events, transport.counters.connections_open = events, streams
        transport.tick(100 * MS)
        wanted_ns = min(max(streams / events * 100 * MS / 4, MS), 2 * MS) if events > 400 else 0
        assert transport._beat_ns == pytest.approx(wanted_ns, abs=1)

    run_rig("http://127.0.0.1:9", test)


def test_on_the_beat_and_off_it_answers_arrive_all_the_same() -> None:
    async def test(rig: Rig) -> None:
        await rig.exchange(0)
        rig.transport.tick(1)  # a few events in a nanosecond: served on the beat from now on
        for index in range(1, 10):
            assert (await rig.exchange(index)).done.outcome is Outcome.OK
        rig.transport.tick(1_000_000_000)  # a few in a second: at every arrival again
        for index in range(10, 20):
            assert (await rig.exchange(index)).done.outcome is Outcome.OK
        rig.transport.tick(1)
        assert (await rig.exchange(20)).done.connection == 1

    with Server(answering(ANSWER)) as server:
        run_rig(server.url, test)
