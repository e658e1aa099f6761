"""However TCP cuts it, and however a body's length is told: what went in comes out, in order, on one connection.

Both connections of the proxy without a network: what is fed is cut at random, what they write is taken apart here.
"""

from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.capture import downstream
from loadgen.capture.downstream import Downstream
from loadgen.capture.head import HEAD_BYTES_MAX
from loadgen.capture.upstream import Upstream

bodies = st.binary(max_size=300)
exchanges = st.lists(
    st.tuples(bodies, st.sampled_from(["length", "chunked"]), bodies, st.sampled_from(["length", "chunked", "close"])),
    min_size=1,
    max_size=6,
)


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written, self.reading, self.closed = b"", True, False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        assert not self.closed
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.closed
        self.reading = True

    def write_eof(self) -> None:
        assert not self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, _: str) -> Any:
        return SimpleNamespace(setsockopt=lambda *_: None)


class Connections:
    """A pool that connects at once."""

    def __init__(self) -> None:
        self.all: list[Upstream] = []
        self.idle: list[Upstream] = []

    def take(self) -> Upstream:
        if self.idle:
            return self.idle.pop()
        upstream = Upstream(self)  # type: ignore[arg-type]
        upstream.connection_made(Wire())  # type: ignore[arg-type]
        self.all.append(upstream)
        return upstream

    def put(self, upstream: Upstream) -> None:
        self.idle.append(upstream)

    def drop(self, upstream: Upstream) -> None:
        """It is closed."""


def client_of(connections: Connections) -> tuple[Downstream, Wire]:
    recording = SimpleNamespace(begin=lambda *_: None)
    owner: Any = SimpleNamespace(
        pool=connections, recording=recording, authority=b"up", prefix=b"/p", leaving=False, clients=set()
    )
    client, wire = Downstream(owner), Wire()
    client.connection_made(wire)  # type: ignore[arg-type]
    return client, wire


def message(start: bytes, body: bytes, how: str, random: Random) -> bytes:
    if how == "length":
        return b"%b\r\nContent-Length: %d\r\n\r\n%b" % (start, len(body), body)
    if how == "close":
        return b"%b\r\n\r\n%b" % (start, body)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in cut(body, random))
    return b"%b\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\nX-Trailer: 1\r\n\r\n" % (start, chunks)


def cut(data: bytes, random: Random) -> list[bytes]:
    places = sorted({0, len(data), *(random.randint(0, len(data)) for _ in range(random.randint(0, 8)))})
    return [data[a:b] for a, b in pairwise(places)]


def taken(wire: bytes) -> tuple[bytes, bytes, bytes] | None:
    """The first message: (start line, body, what follows); None when it is not complete."""
    head, blank, rest = wire.partition(b"\r\n\r\n")
    if not blank:
        return None
    start, *lines = head.split(b"\r\n")
    headers = {name.lower(): value for name, value in (line.split(b": ") for line in lines)}
    assert len(headers) == len(lines)  # nothing was put in twice
    assert b"x-trailer" not in headers
    if b"transfer-encoding" not in headers:
        length = int(headers.get(b"content-length", b"0"))
        return (start, rest[:length], rest[length:]) if len(rest) >= length else None
    body = b""
    while True:
        size, line, rest = rest.partition(b"\r\n")
        if not line or len(rest) < int(size, 16) + 2:
            return None
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        if int(size, 16) == 0:
            return start, body, rest


@given(exchanges, st.randoms(use_true_random=False), st.sampled_from([0, 40, 1000]))
def test_pipelined_exchanges_come_through_whole(
    planned: list[tuple[bytes, str, bytes, str]], random: Random, gathered_max: int
) -> None:
    connections = Connections()
    client, wire = client_of(connections)
    asked: list[tuple[bytes, bytes]] = []

    def serve() -> None:
        """Answer each request that is there, in pieces."""
        for upstream in connections.all:
            sent = upstream.transport
            while isinstance(sent, Wire) and (found := taken(sent.written)):
                start, body, sent.written = found
                _, _, text, how = planned[len(asked)]
                asked.append((start, body))
                for piece in cut(message(b"HTTP/1.1 200 OK", text, how, random), random):
                    upstream.data_received(piece)
                if how == "close":
                    sent.close()
                    upstream.connection_lost(None)

    come = b"".join(message(b"POST /%d HTTP/1.1" % n, each[0], each[1], random) for n, each in enumerate(planned))
    with patch.object(downstream, "BODY_BYTES_MAX", gathered_max):
        for segment in cut(come, random):
            while not wire.reading:
                before = len(asked)
                serve()
                assert len(asked) > before, "it waits for ever"
            client.data_received(segment)
            if random.random() < 0.7:
                serve()
        serve()
    assert asked == [(b"POST /p/%d HTTP/1.1" % n, each[0]) for n, each in enumerate(planned)]
    answers = []
    while found := taken(wire.written):
        answers.append(found[1])
        wire.written = found[2]
    assert wire.written == b""
    assert answers == [each[2] for each in planned]
    assert wire.reading
    assert not wire.closed
    assert len(connections.all) <= 1 + sum(each[3] == "close" for each in planned)


def test_a_head_without_an_end_is_refused() -> None:
    client, wire = client_of(Connections())
    client.data_received(b"GET / HTTP/1.1\r\nX: ")  # the first read is not counted
    client.data_received(b"y" * HEAD_BYTES_MAX)
    assert wire.written == b""
    client.data_received(b"y")
    assert wire.written.startswith(b"HTTP/1.1 431 ")
    assert wire.closed


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", b"HTTP/1.1 413 No\r\n\r\n", b"?"])
def test_one_side_goes_while_the_other_still_speaks(answer: bytes) -> None:
    """A transport is closed a moment before its protocol is told, and refuses whatever is asked of it."""
    for client_first in (True, False):
        connections = Connections()
        client, wire = client_of(connections)
        client.data_received(b"POST /v1/files HTTP/1.1\r\nConnection: close\r\nContent-Length: 99999999\r\n\r\n")
        (upstream,) = connections.all
        (wire if client_first else upstream.transport).close()
        if client_first:
            upstream.data_received(answer)
        else:
            client.data_received(b"x" * 100)
            assert wire.written == b""
        client.pause_writing()
        client.resume_writing()
        upstream.pause_writing()
        upstream.connection_lost(None)
        client.connection_lost(None)


def test_who_takes_no_answer_is_sent_none_of_the_next_one_either() -> None:
    connections = Connections()
    client, _ = client_of(connections)
    client.pause_writing()
    client.data_received(b"GET / HTTP/1.1\r\n\r\n")
    (upstream,) = connections.all
    assert isinstance(upstream.transport, Wire)
    assert not upstream.transport.reading
    client.resume_writing()
    assert upstream.transport.reading


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_bytes_from_either_side_are_an_accident(asked: bytes, answered: bytes) -> None:
    """Whatever comes, nothing is raised, and an answer that is none never looks like a whole one."""
    connections = Connections()
    client, wire = client_of(connections)
    client.data_received(asked)
    if not wire.closed:
        client.data_received(b"GET / HTTP/1.1\r\n\r\n")
    for upstream in list(connections.all):
        upstream.data_received(answered)
        upstream.connection_lost(ConnectionResetError())
    assert b" 200 " not in wire.written or b" 200" in answered
