"""What an answer is read as: outcome, tokens, their stamps; the same for every cut of its bytes; never an exception."""

import itertools
from dataclasses import asdict
from typing import Any

import msgspec
import pytest
import streams
from hypothesis import example, given, settings
from hypothesis import strategies as st
from streams import DONE, STREAMS, Stream, read

from loadgen.endpoints.answer import Reading
from loadgen.endpoints.tokens import Asked
from loadgen.exchange import FAILED, Outcome


@pytest.mark.parametrize("stream", STREAMS, ids=str)
def test_what_it_is_read_as(stream: Stream) -> None:
    reading = stream.read()
    assert (reading.outcome, reading.detail if "detail" in stream.expected else "") == (
        stream.outcome,
        stream.expected.get("detail", ""),
    )
    found = asdict(reading)
    assert {name: found[name] for name in stream.expected} == stream.expected
    assert reading.body_bytes == len(stream.body)


@pytest.mark.parametrize("stream", STREAMS, ids=str)
def test_parts_of_any_size_give_the_same_reading(stream: Stream) -> None:
    whole = stream.read()
    count = len(stream.reads)
    assert stream.read(parts=list(range(count))) == whole
    for at in range(count):
        assert stream.read(parts=[at]) == whole


@pytest.mark.parametrize("stream", STREAMS, ids=str)
def test_a_read_cut_in_two_with_one_stamp_gives_the_same_reading(stream: Stream) -> None:
    """Every byte position ends a read and a part. Only stamps may move, to the second of the two reads."""
    text = stream.body
    whole = read([text], outcome=stream.transport)
    for cut in range(1, len(text)):
        both = read([text[:cut], text[cut:]], parts=[1], outcome=stream.transport)
        assert both == read([text[:cut], text[cut:]], outcome=stream.transport), f"cut at {cut}"
        assert _without_times(both) == _without_times(whole), f"cut at {cut}"
        assert set(both.token_ns) <= {1000, 2000}


def _said(text: str, finish: str | None = None, index: int = 0) -> bytes:
    event = {"choices": [{"index": index, "text": text, "finish_reason": finish}]}
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


_FEW = (_said("a"), _said(""), _said("b"), _said("", "length"), DONE)  # three tokens at the least


@pytest.mark.parametrize(
    ("reads", "asked", "expected"),
    [
        pytest.param(_FEW, Asked(3, 3), (3, "asked", [1000, 2000, 3000], 0), id="as many events as were asked for"),
        pytest.param(_FEW, Asked(9, 1), (9, "asked", [1000, 2000, 3000], 3), id="several tokens in an event"),
        pytest.param(_FEW, Asked(9, 8), (3, "events", [1000, 2000, 3000], 0), id="perhaps its context was full"),
        pytest.param(
            _FEW, Asked(1, 1), (3, "events", [1000, 2000, 3000], 0), id="more than asked: it does not heed it"
        ),
        pytest.param(_FEW, Asked(2, 1), (2, "asked", [1000, 3000], 0), id="an empty event that is no token"),
        pytest.param(
            (_said(""), *_FEW),
            Asked(4, 3),
            (4, "asked", [1000, 2000, 3000, 4000], 0),
            id="it begins with half a letter",
        ),
        pytest.param((_said("a"), _said("", "stop")), Asked(2, 1), (1, "events", [1000], 0), id="it ended by itself"),
        pytest.param((_said("a"), _said("b")), Asked(9, 1), (2, "events", [1000, 2000], 0), id="it was cut"),
        pytest.param(
            (_said("a", "length"), _said("b", "length", 1)),
            Asked(9, 1),
            (2, "events", [1000, 2000], 0),
            id="two answers",
        ),
        pytest.param(
            (
                _said("a"),
                b'data: {"choices":[{"text":"","finish_reason":"length"}],"usage":{"completion_tokens":1}}\n\n',
            ),
            Asked(2, 1),
            (1, "usage", [1000], 0),
            id="the server counts",
        ),
        pytest.param(
            (b'data: {"choices":[{"text":"a b","token_ids":[5,6],"finish_reason":"length"}]}\n\n',),
            Asked(9, 1),
            (2, "token_ids", [1000], 1),
            id="the server names the tokens",
        ),
    ],
)
def test_an_answer_that_ended_for_its_length_has_the_length_asked_for(
    reads: tuple[bytes, ...], asked: Asked, expected: tuple[int, str, list[int], int]
) -> None:
    """(tokens, whose count, stamps, events that may have carried several)."""
    for parts in (None, list(range(len(reads)))):
        reading = read(reads, asked=asked, parts=parts)
        found = (reading.output_tokens, reading.token_source, reading.token_ns, reading.multi_token_events)
        assert found == expected


@pytest.mark.parametrize(("choices", "expected"), [(1, (9, "asked")), (2, (1, "events"))])
def test_an_answer_in_one_piece_without_usage(choices: int, expected: tuple[int, str]) -> None:
    body = msgspec.json.encode({"choices": [{"text": "a b", "finish_reason": "length"}] * choices})
    reading = read([body], stream=False, asked=Asked(9, 1))
    assert (reading.output_tokens, reading.token_source) == expected


def _without_times(reading: Reading) -> dict[str, Any]:
    timed = {"first_event_ns", "token_ns", "shared_stamps"}
    return {name: value for name, value in asdict(reading).items() if name not in timed} | {"n": len(reading.token_ns)}


@given(st.sampled_from(STREAMS), st.lists(st.integers(1, 4000), max_size=12), st.data())
@settings(max_examples=150)
def test_any_reads_in_any_parts(stream: Stream, cuts: list[int], data: st.DataObject) -> None:
    text = stream.body
    places = sorted({0, len(text), *(cut % max(len(text), 1) for cut in cuts)})
    reads = [text[a:b] for a, b in itertools.pairwise(places)]
    parts = data.draw(st.lists(st.integers(0, len(reads)), max_size=6))
    assert read(reads, parts=parts, outcome=stream.transport) == read(reads, outcome=stream.transport)


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.CENSORED, Outcome.CLIENT_ERROR, Outcome.PROTOCOL_ERROR])
def test_what_the_transport_knows_for_certain_stands(outcome: Outcome) -> None:
    """The tokens that came are kept all the same."""
    reading = read([STREAMS[0].reads[0]], outcome=outcome, detail="why")
    assert (reading.outcome, reading.detail, reading.token_ns) == (outcome, "why", [1000])


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (
            b'{"error":{"message":"The model `m` does not exist.","code":404}}',
            "HTTP 404: The model `m` does not exist.",
        ),
        (b'{"object":"error","message":"Model m not found.","code":40301}', "HTTP 404: Model m not found."),
        (b'{"detail":"Not Found"}', "HTTP 404: Not Found"),
        (b'{"error":"text"}', "HTTP 404: text"),
        (b'{"detail":[{"msg":"bad"}]}', "HTTP 404: [{'msg': 'bad'}]"),
        (b"<html><title>404 Not Found</title></html>", "HTTP 404: an HTML page: 404 Not Found"),
        (b"Internal\r\nServer Error", "HTTP 404: Internal Server Error"),
        (b'"\xff"', 'HTTP 404: "\N{REPLACEMENT CHARACTER}"'),
        (b"", "HTTP 404"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_is_told_in_the_servers_words(body: bytes, detail: str, stream: bool) -> None:
    reading = read([body], status=404, stream=stream)
    assert (reading.outcome, reading.detail) == (Outcome.HTTP_ERROR, detail)


def test_a_long_refusal_is_cut() -> None:
    assert len(read([b'{"detail":"' + b"x" * 5000 + b'"}'], status=500).detail) == 300


_WHOLE = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"a b"},"finish_reason":"stop"}]%s}'


@pytest.mark.parametrize(
    ("body", "outcome", "expected"),
    [
        (
            _WHOLE % b',"usage":{"prompt_tokens":9,"completion_tokens":2}',
            Outcome.OK,
            {
                "input_tokens": 9,
                "output_tokens": 2,
                "token_source": "usage",
                "finish_reason": "stop",
                "token_ns": [1000],
            },
        ),
        (_WHOLE % b"", Outcome.OK, {"output_tokens": 1, "token_source": "events", "multi_token_events": 0}),
        (b'{"choices":[{"text":"a","finish_reason":"length"}]}', Outcome.OK, {"finish_reason": "length"}),
        # The end of the sequence at once: one token, no text.
        (
            b'{"choices":[{"text":"","finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":1}}',
            Outcome.OK,
            {"output_tokens": 1, "token_ns": [1000]},
        ),
        (b'{"choices":[{"message":{"content":null,"tool_calls":[{}]}}]}', Outcome.OK, {"token_ns": [1000]}),
        (b'{"choices":[{"text":"","finish_reason":"stop"}]}', Outcome.EMPTY, {"token_ns": []}),
        (b'{"choices":[{"message":{"role":"assistant","content":""}}]}', Outcome.EMPTY, {"token_ns": []}),
        (b'{"choices":[]}', Outcome.EMPTY, {}),
        (b'{"error":"no"}', Outcome.STREAM_ERROR, {"detail": "no"}),
        (b'{"object":"error","message":"no"}', Outcome.STREAM_ERROR, {"detail": "no"}),
        (b'{"status":"ok"}', Outcome.NOT_OPENAI, {}),
        (b"null", Outcome.NOT_OPENAI, {}),
        (b"[1]", Outcome.NOT_OPENAI, {}),
        (b"", Outcome.NOT_OPENAI, {"detail": "no body"}),
        (b"<html>", Outcome.NOT_OPENAI, {"detail": "not a completion: an HTML page"}),
        (b'{"choices":[{"text":"\xff"}]}', Outcome.NOT_OPENAI, {}),
    ],
)
def test_answers_in_one_piece(body: bytes, outcome: Outcome, expected: dict[str, Any]) -> None:
    reading = read([body], stream=False)
    assert reading.outcome is outcome, reading.detail
    assert {name: asdict(reading)[name] for name in expected} == expected
    halves = [body[: len(body) // 2], body[len(body) // 2 :]]
    assert _without_times(read(halves, parts=[1], stream=False)) == _without_times(reading)


def test_an_answer_in_one_piece_that_was_cut() -> None:
    body = _WHOLE % b""
    assert read([body[:-9]], stream=False, outcome=Outcome.TRUNCATED).outcome is Outcome.TRUNCATED
    assert read([body], stream=False, outcome=Outcome.TRUNCATED).outcome is Outcome.OK  # ended by closing: HTTP/1.0


_NUMBERS = [-1, 2.0, 2.5, 1 << 70, "3", True, None, [], {}]


@pytest.mark.parametrize("number", _NUMBERS, ids=repr)
@pytest.mark.parametrize("stream", [True, False])
def test_usage_that_is_no_count_is_no_count(number: Any, stream: bool) -> None:
    event = {"choices": [{"text": "a", "finish_reason": "stop"}], "usage": {"completion_tokens": number}}
    body = msgspec.json.encode(event)
    reading = read([b"data: " + body + b"\n\n"] if stream else [body], stream=stream)
    assert reading.outcome is Outcome.OK
    expected = (2, "usage") if number == 2.0 else (1, "events")
    assert (reading.output_tokens, reading.token_source) == expected


@pytest.mark.parametrize("said", ['{"x": 1}', "5", "true", '["stop"]'])
def test_a_finish_reason_of_any_kind_is_text(said: str) -> None:
    body = f'{{"choices":[{{"text":"a","finish_reason":{said}}}]}}'.encode()
    for stream, reads in ((True, [b"data: " + body + b"\n\n"]), (False, [body])):
        reading = read(reads, stream=stream)
        assert isinstance(reading.finish_reason, str), stream


# Arbitrary answers: no bytes of a server may end a run.

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _object(*names: str, **known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, _VALUES) | known)


_DELTAS = _object("role", "content", "reasoning_content", "tool_calls")
_CHOICES = st.lists(
    _object("index", "text", "finish_reason", "token_ids", delta=_DELTAS | _VALUES, message=_DELTAS | _VALUES),
    max_size=3,
)
_USAGES = _object("prompt_tokens", "completion_tokens")
_EVENTS = _object("error", "object", "message", choices=_CHOICES | _VALUES, usage=_USAGES | _VALUES)
_PIECES = st.one_of(
    _EVENTS.map(lambda event: b"data: " + msgspec.json.encode(_small(event)) + b"\n\n"),
    _EVENTS.map(lambda event: msgspec.json.encode(_small(event))),
    st.sampled_from(
        [streams.DONE, b"data: ", b"\n\n", b"\r\n", b"{}", b",", b'{"choices":[{"text":"a"}]}', b": x\n\n"]
    ),
    st.binary(max_size=20),
)


def _small(value: Any) -> Any:
    """msgspec writes no integer beyond 64 bits; a text of digits is read back as one by no decoder of ours."""
    if isinstance(value, dict):
        return {key: _small(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_small(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
        return msgspec.Raw(str(value).encode())
    return value


@given(
    st.lists(_PIECES, max_size=8),
    st.booleans(),
    st.sampled_from([0, 200, 200, 200, 404]),
    st.sampled_from([Outcome.OK, Outcome.OK, Outcome.TRUNCATED, Outcome.TIMEOUT]),
    st.sampled_from([None, Asked(2, 1), Asked(9, 5)]),
)
@example([b"data: " + b'{"error":' + b"[" * 100_000 + b"\n\n"], True, 200, Outcome.OK, None)
@example([b'{"error":' + b"[" * 100_000], True, 200, Outcome.OK, None)
@example([b"[" * 100_000], False, 200, Outcome.OK, None)
@example([b"[" * 100_000], False, 500, Outcome.OK, None)
@example([b"data: {},{}\n\n", b"data: {}\n\n"], True, 200, Outcome.OK, None)
@settings(max_examples=300)
def test_no_answer_is_an_exception(
    pieces: list[bytes], stream: bool, status: int, outcome: Outcome, asked: Asked | None
) -> None:
    fixed: dict[str, Any] = {"stream": stream, "status": status, "outcome": outcome, "asked": asked}
    reading = read(pieces, **fixed)
    assert reading == read(pieces, parts=list(range(len(pieces))), **fixed)
    assert reading.outcome is Outcome.OK or reading.outcome in FAILED
    assert 0 <= reading.output_tokens < 1 << 53
    assert reading.input_tokens is None or 0 <= reading.input_tokens < 1 << 53
    assert reading.token_ns == sorted(reading.token_ns)
    assert reading.token_counts is None or len(reading.token_counts) == len(reading.token_ns)
    assert 0 <= reading.empty_events <= len(reading.token_ns) <= reading.events
    assert reading.finish_reason is None or reading.finish_reason.encode() is not None
    reading.detail.encode()  # what cannot be encoded cannot be written
