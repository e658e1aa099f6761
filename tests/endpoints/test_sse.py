"""Event streams: whatever the network does to the bytes, the events and where they end stay the same."""

import itertools
from typing import Any

import pytest
import streams
from hypothesis import given
from hypothesis import strategies as st
from recorded import every_stream

from loadgen.endpoints.sse import SseReader

Events = list[tuple[bytes, int]]  # data, offset at which its last line ends


def read(*pieces: bytes) -> Events:
    reader = SseReader()
    found: Events = []
    for piece in pieces:
        found += zip(*reader.feed(piece), strict=True)
    return found + list(zip(*reader.finish(), strict=True))


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [(b"a", 8), (b"b", 17)]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [(b"a", 9), (b"b", 20)]),
        (b"data: a\r\rdata: b\r\r", [(b"a", 8), (b"b", 17)]),
        (b"data: a\n\r\ndata: b\r\n\n", [(b"a", 8), (b"b", 19)]),
        (b"data:a\n\ndata:  a \n\n", [(b"a", 7), (b" a ", 18)]),
        (b'data: {"x": 1} \n\ndata: [DONE]\n\n', [(b'{"x": 1} ', 16), (b"[DONE]", 30)]),
        (b"data: a\ndata: b\ndata:c\n\n", [(b"a\nb\nc", 23)]),
        (b": ping - 12:00\n\ndata: a\n\n", [(b"a", 24)]),
        (b"data: a\n: in between\ndata: b\n\n", [(b"a\nb", 29)]),
        (b"event: x\nid: 7\nretry: 5\ndata: a\n\nevent: none\n\n", [(b"a", 32)]),
        (b"\n\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [(b"a", 12), (b"b", 24)]),
        (b"data: a\n\ndata: b\n", [(b"a", 8), (b"b", 17)]),
        (b"data: a\n\ndata: b", [(b"a", 8), (b"b", 16)]),
        (b"data: a\n \ndata: b\n\n", [(b"a", 8), (b"b", 18)]),
        (b"datax: a\n\ndata\n\n data: a\n\n", []),
        (b"data: \xe2\x82\xac\x85\x0b\x1c\n\n", [(b"\xe2\x82\xac\x85\x0b\x1c", 13)]),  # newlines of text, not of bytes
        (b"", []),
    ],
)
def test_events_and_where_they_end(text: bytes, events: Events) -> None:
    assert read(text) == events
    for cut in range(len(text) + 1):
        assert read(text[:cut], text[cut:]) == events, f"cut at {cut}"
    assert read(*(text[at : at + 1] for at in range(len(text)))) == events


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("stream", streams.STREAMS, ids=str)
def test_our_streams_cut_at_every_byte(stream: Any, newline: bytes) -> None:
    text = stream.body.replace(b"\n", newline)
    whole = read(text)
    assert [data for data, _ in whole] == [data for data, _ in read(stream.body)]
    for cut in range(len(text) + 1):
        assert read(text[:cut], text[cut:]) == whole, f"cut at {cut}"


@every_stream
def test_recorded_streams_cut_at_every_byte(exchange: Any) -> None:
    text = b"".join(data for _, data in exchange.reads()[2])
    whole = read(text)
    assert len(whole) == text.count(b"data: ")
    assert all(text[:end].endswith(data + b"\n") for data, end in whole)
    for cut in range(len(text) + 1):
        assert read(text[:cut], text[cut:]) == whole, f"cut at {cut}"


_LINES = st.sampled_from([b"data: x", b"data:y ", b"data: ", b"data: [DONE]", b": ping", b"event: e", b"", b"", b" "])
_TEXTS = st.lists(st.tuples(_LINES, st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])), max_size=12)


@given(_TEXTS, st.lists(st.integers(0, 100), max_size=6))
def test_any_lines_cut_anywhere(lines: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    text = b"".join(line + newline for line, newline in lines)
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    assert read(*pieces) == read(text)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_bytes_of_any_kind_are_read_or_left(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    events = read(*pieces)
    ends = [end for _, end in events]
    assert ends == sorted(set(ends))
    assert all(0 < end <= len(text) for end in ends)


def test_what_waits_is_bounded_by_one_event() -> None:
    reader = SseReader()
    for turn in range(1, 100):
        reader.feed(b"data: abc\n\ndata: a")
        reader.feed(b"bc\n\n: ping\n\n")
        assert reader.consumed == turn * 30
    reader.feed(b"data: rest\n")
    assert reader.consumed == 99 * 30
