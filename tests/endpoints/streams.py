"""Answers in the shapes that real servers give them, each with what it must be read as.

One byte string is one network read; read k (from 1) arrives at k × 1000 ns. The shapes were seen on running servers
(docs/engines.md has the table); the text is ours.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadgen.endpoints.answer import Answer, Reading
from loadgen.endpoints.tokens import Asked
from loadgen.exchange import Outcome

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Stream:
    """An answer to a request that asked for a stream, and the fields of its Reading that matter."""

    name: str
    reads: tuple[bytes, ...]
    outcome: Outcome
    expected: dict[str, Any]
    transport: Outcome = Outcome.OK  # what the transport says of it

    def __str__(self) -> str:
        return self.name

    @property
    def body(self) -> bytes:
        return b"".join(self.reads)

    def read(self, parts: list[int] | None = None) -> Reading:
        return read(self.reads, parts=parts, outcome=self.transport)


def read(
    reads: tuple[bytes, ...] | list[bytes],
    *,
    parts: list[int] | None = None,
    stream: bool = True,
    status: int = 200,
    outcome: Outcome = Outcome.OK,
    detail: str = "",
    asked: Asked | None = None,
) -> Reading:
    """Feed an Answer; a part of the answer ends before each read numbered in `parts`."""
    answer = Answer(stream, asked)
    places = sorted({0, len(reads), *(parts or [])})
    for a, b in itertools.pairwise(places):
        ends = np.cumsum([len(data) for data in reads[a:b]], dtype=np.int32)
        answer.feed(b"".join(reads[a:b]), ends, np.arange(a + 1, b + 1, dtype=np.int64) * 1000)
    return answer.finish(status, outcome, detail)


def _chat(content: str | None, finish: str | None = None, more: str = "") -> bytes:
    said = "null" if finish is None else f'"{finish}"'
    delta = "{}" if content is None else f'{{"content":"{content}"}}'
    return f'data: {{"id":"c","choices":[{{"index":0,"delta":{delta},"finish_reason":{said}}}]{more}}}\n\n'.encode()


def _text(text: str, finish: str | None = None, more: str = "", inside: str = "") -> bytes:
    said = "null" if finish is None else f'"{finish}"'
    choice = f'{{"index":0,"text":"{text}","finish_reason":{said}{inside}}}'
    return f'data: {{"id":"c","choices":[{choice}]{more}}}\n\n'.encode()


def _usage(prompt: int, completion: int) -> str:
    return (
        f',"usage":{{"prompt_tokens":{prompt},"total_tokens":{prompt + completion},"completion_tokens":{completion}}}'
    )


def _usage_event(prompt: int, completion: int) -> bytes:
    return f'data: {{"id":"c","choices":[]{_usage(prompt, completion)}}}\n\n'.encode()


_ROLE = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
_ROLE_NULL = _ROLE.replace(b'""', b"null")
_ROLE_ONLY = _ROLE.replace(b',"content":""', b"")

OK, EMPTY, TRUNCATED = Outcome.OK, Outcome.EMPTY, Outcome.TRUNCATED
STREAM_ERROR, NOT_OPENAI = Outcome.STREAM_ERROR, Outcome.NOT_OPENAI

STREAMS = [
    Stream(
        "vllm chat: the role comes with the first token, the finish with the last, usage and [DONE] in one read",
        (_ROLE + _chat("a"), _chat("b"), _chat("c", "length"), _usage_event(9, 3) + DONE),
        OK,
        {
            "first_event_ns": 1000,
            "token_ns": [1000, 2000, 3000],
            "token_counts": None,
            "input_tokens": 9,
            "output_tokens": 3,
            "token_source": "usage",
            "finish_reason": "length",
            "events": 5,
            "empty_events": 0,
            "multi_token_events": 0,
            "shared_stamps": 2,
        },
    ),
    Stream(
        "transformers chat: the role is sent before prefill, usage stands on the finish event, no [DONE]",
        (_ROLE_ONLY, _chat("a"), _chat("b") + _chat("c"), _chat(None, "length", _usage(9, 3))),
        OK,
        {
            "first_event_ns": 1000,
            "token_ns": [2000, 3000, 3000],
            "output_tokens": 3,
            "token_source": "usage",
            "empty_events": 0,
            "shared_stamps": 1,
        },
    ),
    Stream(
        "llama-server chat: role with null, an event of its own for the finish",
        (_ROLE_NULL + _chat("a"), _chat("b"), _chat(None, "stop") + _usage_event(2, 2) + DONE),
        OK,
        {"token_ns": [1000, 2000], "output_tokens": 2, "finish_reason": "stop", "events": 5},
    ),
    Stream(
        "llama-server, a list of prompts: null comes first",
        (b"data: null\n\n", _text("a"), _text("b", "length", _usage(2, 2)), DONE),
        OK,
        {"first_event_ns": 1000, "token_ns": [2000, 3000], "output_tokens": 2, "events": 3},
    ),
    Stream(
        "llama_cpp.server: never usage, so events are counted",
        (_ROLE_ONLY, _chat("a"), _chat("b"), _chat(None, "length"), DONE),
        OK,
        {"token_ns": [2000, 3000], "output_tokens": 2, "token_source": "events", "input_tokens": None},
    ),
    Stream(
        "llama_cpp.server: a token without an event, known only from the total",
        (_text("a"), _text("b"), _text("", "length", _usage(3, 4))),
        OK,
        {"token_ns": [1000, 2000, 3000], "output_tokens": 4, "multi_token_events": 1, "empty_events": 1},
    ),
    Stream(
        "vllm under ignore_eos: end-of-sequence tokens have no text and are tokens",
        (_text("a"), _text(""), _text(""), _text("", "length"), _usage_event(2, 4) + DONE),
        OK,
        {"token_ns": [1000, 2000, 3000, 4000], "token_counts": None, "output_tokens": 4, "empty_events": 3},
    ),
    Stream(
        "mii: half a character has no text and is a token, the finish is none",
        (_text("a"), _text(""), _text("é"), _text("", "length"), DONE),
        OK,
        {"token_ns": [1000, 2000, 3000], "output_tokens": 3, "token_source": "events", "empty_events": 1},
    ),
    Stream(
        "llama_cpp.server chat: a special token has no text and is a token, the role is none",
        (_ROLE_ONLY, _chat("a"), _chat(""), _chat(None, "length"), DONE),
        OK,
        {"token_ns": [2000, 3000], "output_tokens": 2, "token_source": "events", "empty_events": 1},
    ),
    Stream(
        "nobody counts: what comes before the first text or after the finish is no token",
        (_text(""), _text("a"), _text("b", "stop"), _text(""), DONE),
        OK,
        {"token_ns": [2000, 3000], "output_tokens": 2, "token_source": "events", "empty_events": 0},
    ),
    Stream(
        "nothing but events without text, which nobody counts",
        (_text(""), _text(""), _text("", "length"), DONE),
        OK,
        {"token_ns": [], "output_tokens": 0, "token_source": "events", "empty_events": 0},
    ),
    Stream(
        "vllm: stops at once, its only token is the end of the sequence",
        (_text("", "stop"), _usage_event(2, 1) + DONE),
        OK,
        {"token_ns": [1000], "output_tokens": 1, "empty_events": 1, "finish_reason": "stop"},
    ),
    Stream(
        "running usage: how many tokens each event carried",
        (
            _ROLE.replace(b"]}\n", b"]" + _usage(9, 0).encode() + b"}\n") + _chat("a", more=_usage(9, 1)),
            _chat("b c d", more=_usage(9, 4)),
            _chat("e", "length", _usage(9, 5)),
            _usage_event(9, 5) + DONE,
        ),
        OK,
        {"token_ns": [1000, 2000, 3000], "token_counts": [1, 3, 1], "output_tokens": 5, "multi_token_events": 1},
    ),
    Stream(
        "running usage: an event without a new token is none",
        (_text("a", more=_usage(1, 1)), _text("", more=_usage(1, 1)), _text("b", "stop", _usage(1, 2)), DONE),
        OK,
        {"token_ns": [1000, 3000], "token_counts": None, "output_tokens": 2, "empty_events": 0},
    ),
    Stream(
        "token ids: their number counts, without any usage",
        (_text("a", inside=',"token_ids":[5]'), _text("b c", "stop", inside=',"token_ids":[6,7]'), DONE),
        OK,
        {"token_ns": [1000, 2000], "token_counts": [1, 2], "output_tokens": 3, "token_source": "token_ids"},
    ),
    Stream(
        "tensorrt-llm: spaces before the newline",
        (_chat("a").replace(b"\n\n", b" \n\n"), _chat("b", "length").replace(b"\n\n", b" \n\n"), b"data: [DONE] \n\n"),
        OK,
        {"token_ns": [1000, 2000], "output_tokens": 2, "events": 2},
    ),
    Stream(
        "pings while the request waits, and between tokens",
        (b": ping - 12:00\n\n", b": ping\n\n", _text("a"), b":\n\n", _text("b", "stop"), DONE),
        OK,
        {"first_event_ns": 3000, "token_ns": [3000, 5000], "events": 2, "shared_stamps": 0},
    ),
    Stream(
        "one event in many reads has the stamp of the last",
        (_text("abc", "stop")[:9], _text("abc", "stop")[9:20], _text("abc", "stop")[20:], DONE[:5], DONE[5:]),
        OK,
        {"first_event_ns": 3000, "token_ns": [3000], "output_tokens": 1, "events": 1},
    ),
    Stream(
        "the blank line comes late: the event had arrived before",
        (_text("a")[:-1], b"\n" + _text("b", "stop")[:-1], b"\n" + DONE),
        OK,
        {"token_ns": [1000, 2000], "shared_stamps": 0},
    ),
    Stream(
        "the last blank line is missing",
        (_text("a"), _text("b", "length")[:-1]),
        OK,
        {"token_ns": [1000, 2000], "output_tokens": 2, "finish_reason": "length"},
    ),
    Stream(
        "reasoning and tool calls are output",
        (
            _ROLE,
            _chat("x").replace(b'"content"', b'"reasoning_content"'),
            _chat("x").replace(b'"content"', b'"reasoning"'),
            _chat("x").replace(b'"content":"x"', b'"tool_calls":[{"index":0,"function":{"arguments":"{"}}]'),
            _chat("x", "tool_calls"),
            DONE,
        ),
        OK,
        {"token_ns": [2000, 3000, 4000, 5000], "output_tokens": 4, "finish_reason": "tool_calls"},
    ),
    Stream(
        "two choices, an event each, usage counts both",
        (
            _text("a"),
            _text("b").replace(b'"index":0', b'"index":1'),
            _text("c", "length") + _text("d", "length").replace(b'"index":0', b'"index":1'),
            _usage_event(2, 4) + DONE,
        ),
        OK,
        {"token_ns": [1000, 2000, 3000, 3000], "output_tokens": 4, "token_counts": None},
    ),
    Stream(
        "two choices with a running usage of each: the sum does not fit, so every event is one token",
        (
            _text("a", more=_usage(2, 1)),
            _text("b", more=_usage(2, 1)).replace(b'"index":0', b'"index":1'),
            _text("c", "length", _usage(2, 2)),
            _text("d", "length", _usage(2, 2)).replace(b'"index":0', b'"index":1'),
            _usage_event(2, 4) + DONE,
        ),
        OK,
        {"token_ns": [1000, 2000, 3000, 4000], "output_tokens": 4, "token_counts": None, "token_source": "usage"},
    ),
    Stream(
        "two choices in one event, the second ends it",
        (
            b'data: {"choices":[{"index":0,"text":"a","finish_reason":null},{"index":1,"text":"b"}]}\n\n',
            (
                b'data: {"choices":[{"index":0,"text":"","finish_reason":null},'
                b'{"index":1,"text":"","finish_reason":"stop"}]}\n\n'
            ),
        ),
        OK,
        {"token_ns": [1000], "finish_reason": "stop"},
    ),
    Stream(
        "something after [DONE]",
        (_text("a", "stop"), DONE + b": bye\n\n" + DONE),
        OK,
        {"events": 1, "output_tokens": 1},
    ),
    Stream(
        "empty data is nobody's event",
        (b"data:\n\n", _text("a", "stop"), b"data: \n\n", DONE),
        OK,
        {"output_tokens": 1},
    ),
    Stream(
        "an error as an object, then [DONE]",
        (_text("a"), b'data: {"error":{"message":"out of memory","type":"x","code":500}}\n\n', DONE),
        STREAM_ERROR,
        {"detail": "out of memory", "output_tokens": 1},
    ),
    Stream("an error as text", (b'data: {"error": "CUDA error"}\n\n',), STREAM_ERROR, {"detail": "CUDA error"}),
    Stream(
        "an error by its object's name",
        (_text("a"), b'data: {"object":"error","message":"no room","code":40301}\n\n', DONE),
        STREAM_ERROR,
        {"detail": "no room"},
    ),
    Stream(
        "an error beside choices",
        (_text("a"), _text("", "error", more=',"error":{"message":"upstream"}'), DONE),
        STREAM_ERROR,
        {"detail": "upstream", "finish_reason": "error"},
    ),
    Stream("an empty answer", (), EMPTY, {"output_tokens": 0, "first_event_ns": -1, "token_ns": []}),
    Stream("nothing but [DONE]", (DONE,), EMPTY, {"events": 0}),
    Stream("nothing but a role", (_ROLE, DONE), EMPTY, {"events": 1, "token_ns": []}),
    Stream("pings, then the end", (b": ping\n\n", b": ping\n\n"), EMPTY, {"events": 0}),
    Stream("pings, then a broken connection", (b": ping\n\n", b": pi"), TRUNCATED, {"events": 0}, transport=TRUNCATED),
    Stream(
        "no finish_reason and no [DONE]",
        (_text("a"), _text("b")),
        TRUNCATED,
        {"detail": "the stream ended without a finish_reason", "token_ns": [1000, 2000]},
    ),
    Stream(
        "cut within an event",
        (_text("a"), _text("b")[:30]),
        TRUNCATED,
        {"token_ns": [1000], "events": 1, "output_tokens": 1},
        transport=TRUNCATED,
    ),
    Stream("cut within the first event", (_text("b")[:30],), TRUNCATED, {"events": 0}, transport=TRUNCATED),
    Stream(
        "the connection ended after the finish: all had come",
        (_text("a"), _text("b", "stop")),
        OK,
        {"detail": "", "output_tokens": 2},
        transport=TRUNCATED,
    ),
    Stream(
        "a web page",
        (b"<!DOCTYPE html><html><head><title>502 Bad\n Gateway</title></head>", b"<body>nginx</body></html>"),
        NOT_OPENAI,
        {"detail": "not an event stream: an HTML page: 502 Bad Gateway"},
    ),
    Stream("other words", (b"It works!",), NOT_OPENAI, {"detail": "not an event stream: It works!"}),
    Stream("other JSON in one piece", (b'{"status":"ok"}',), NOT_OPENAI, {}),
    Stream("other JSON as events", (b'data: {"status":"ok"}\n\n', DONE), NOT_OPENAI, {}),
    Stream("events that are no JSON", (b"data: hello\n\n", DONE), NOT_OPENAI, {}),
    Stream("events that are no text", (b'data: {"choices":[{"text":"\xff\xfe"}]}\n\n', DONE), NOT_OPENAI, {}),
    Stream(
        "JSON instead of a stream",
        (
            b'{"object":"text_completion","choices":[{"index":0,"text":"a b","finish_reason":"length"}]',
            b',"usage":{"prompt_tokens":2,"completion_tokens":2}}',
        ),
        OK,
        {"token_ns": [2000], "output_tokens": 2, "multi_token_events": 1, "finish_reason": "length"},
    ),
    Stream(
        "a long JSON instead of a stream",
        (b'{"choices":[{"index":0,"text":"' + b"a b " * 1000, b'","finish_reason":"length"}]}'),
        OK,
        {"token_ns": [2000], "output_tokens": 1, "body_bytes": 32 + 4000 + 28},
    ),
    Stream(
        "an error in JSON instead of a stream", (b'{"error":{"message":"busy"}}',), STREAM_ERROR, {"detail": "busy"}
    ),
]
