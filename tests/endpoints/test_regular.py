"""The short cut through an answer's like events reads what the decoder reads, whatever stands where a text should."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from streams import read

from loadgen.endpoints import answer
from loadgen.endpoints.openai import decode_event
from loadgen.endpoints.regular import Shape, regular, shape_of

_CHAT = b'{"id":"c-1","choices":[{"index":0,"delta":{"content":%s},"finish_reason":null}]}'
_TEXT = b'{"id":"c-1","choices":[{"index":0,"text":%s,"finish_reason":null}]}'
_FINISH = b'{"id":"c-1","choices":[{"index":0,"delta":{},"finish_reason":"length"}]}'
_AWKWARD = st.lists(st.sampled_from([b'"', b"\\", b",", b"]", b"}", b"a", b"\xc3\xa9", b"\xff", b"\t", b"n", b"u0041"]))

raw_texts = st.one_of(
    st.text(max_size=6).map(lambda text: json.dumps(text).encode()),
    st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")),
    _AWKWARD.map(lambda pieces: b'"' + b"".join(pieces) + b'"'),
    st.sampled_from([b"null", b"7", b'"a"],"usage":{"completion_tokens":3},"x":["', b'"a","token_ids":[1,2],"x":"b"']),
)


def _shape(form: bytes) -> Shape:
    data = form % b'"word "'
    event = decode_event(data)
    assert event is not None
    shape = shape_of(data, event)
    assert shape == Shape(data[: data.index(b"word")], data[data.index(b"word") + 5 :])
    return shape


@pytest.mark.parametrize("form", [_CHAT, _TEXT], ids=["chat", "completions"])
def test_like_events_are_counted_up_to_the_others_at_the_end(form: bytes) -> None:
    shape = _shape(form)
    tokens = [form % b'"%d"' % number for number in range(100)]
    assert regular(tokens, shape) == 100
    assert regular([*tokens, _FINISH], shape) == 100
    assert regular([_FINISH, *tokens], shape) == 0
    assert regular([*tokens, _FINISH, *tokens], shape) == 0
    assert regular([_FINISH], shape) == 0
    assert regular([form % b'"say \\"hi\\", \\u00e9\\\\"'], shape) == 1


@pytest.mark.parametrize(
    "text", [b'""', b'"a', b'a"', b'"\\"', b'"\\x"', b'"\xff"', b'"\n"', b'"\t"', b'"a","b":"c"', b'"\\\\\\"', b"null"]
)
def test_what_is_no_text_is_left_to_the_decoder(text: bytes) -> None:
    shape = _shape(_CHAT)
    for events in ([text], [text, b'"a"'], [b'"a"', text], [b'"a"', text, b'"b"'], [text, text]):
        assert regular([_CHAT % each for each in events], shape) <= events.index(text)


def test_an_event_that_says_more_than_a_text_gives_no_shape() -> None:
    for data in (
        _CHAT % b"null",
        _CHAT % b'""',
        _CHAT % b'"c-1"',  # stands twice
        _CHAT % b'"\\n"',  # written otherwise than it reads
        _FINISH,
        _TEXT % b'"a","token_ids":[5]',
        _TEXT % b'"a","index":1',
        b'{"choices":[{"text":"a"}],"usage":{"completion_tokens":1}}',
        b'{"choices":[{"text":"a"},{"text":"b"}]}',
        b'{"choices":[{"text":"a"}],"error":"x"}',
        b'{"usage":{"completion_tokens":1}}',
    ):
        event = decode_event(data)
        assert event is not None
        assert shape_of(data, event) is None, data


@given(st.lists(raw_texts, min_size=1, max_size=12), st.sampled_from([_CHAT, _TEXT]), st.lists(st.integers(0, 12)))
@example([b'"a"', b'"b"', b'"c"', b'"d\\"', b'",\\"', b'"e"'], _CHAT, [])
@example([b'"a"', b'"b"', b'"c"', b'"a"b\\"', b'"e"'], _CHAT, [])
def test_the_same_reading_as_without_it(texts: list[bytes], form: bytes, parts: list[int]) -> None:
    reads = [b"data: " + form % text + b"\n\n" for text in [b'"word"', *texts]]
    reads += [b"data: " + _FINISH + b"\n\n", b"data: [DONE]\n\n"]
    quick = read(reads, parts=parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer, "shape_of", lambda data, event: None)
        assert read(reads, parts=parts) == quick
