"""The recorded answers of five real servers: outcome, count and source as a person reads them; stamps by an oracle."""

import json
from typing import Any

import numpy as np
import pytest
from recorded import EXCHANGES, every_exchange, every_stream

from loadgen.endpoints.answer import Answer, Reading
from loadgen.exchange import Outcome
from loadgen.units import NS_PER_MS

# (finish_reason, input tokens, output tokens, whose count) of an answer with status 200 …
_USAGE_9 = ("length", 9, 5, "usage")
_USAGE_2 = ("length", 2, 5, "usage")
_EVENTS = ("length", None, 5, "events")
READ_AS: dict[str, dict[str, Any]] = {
    "vllm_cpu": {
        "chat_stream_usage": _USAGE_9,
        "chat_stream_plain": _EVENTS,
        "chat_stream_continuous_usage": _USAGE_9,
        "completion_stream_usage": _USAGE_2,
        "completion_ignore_eos": _USAGE_2,
        "completion_min_tokens": _EVENTS,
        "completion_eos_now": ("stop", 2, 1, "usage"),
        "chat_nonstream": _USAGE_9,
        "unknown_model": "HTTP 404: The model `nope` does not exist. Valid aliases: tiny.",
        "bad_json": "HTTP 400: 1 validation error: {'type': 'json_invalid'",
        "prompt_too_long_stream": "HTTP 400: This model's maximum context length is 2048 tokens.",
    },
    "llama_server": {
        "chat_stream_usage": _USAGE_9,
        "chat_stream_plain": _EVENTS,
        "chat_stream_continuous_usage": _USAGE_9,
        "completion_stream_usage": _USAGE_2,
        "completion_ignore_eos": _USAGE_2,
        "completion_min_tokens": _USAGE_2,
        "completion_eos_now": ("stop", 2, 1, "usage"),
        "chat_nonstream": _USAGE_9,
        "unknown_model": ("length", 1, 1, "usage"),
        "bad_json": "HTTP 400: [json.exception.parse_error.101]",
        "prompt_too_long_stream": "HTTP 400: request (12001 tokens) exceeds the available context size (2048 tokens",
    },
    "llama_cpp_python": {
        "chat_stream_usage": _EVENTS,
        "chat_stream_plain": _EVENTS,
        "chat_stream_continuous_usage": _EVENTS,
        "completion_stream_usage": _EVENTS,
        "completion_ignore_eos": _EVENTS,
        "completion_min_tokens": _EVENTS,
        "completion_eos_now": ("stop", None, 0, "events"),
        "chat_nonstream": _USAGE_9,
        "unknown_model": ("length", 1, 1, "usage"),
        "bad_json": "HTTP 500: Internal Server Error",
        "prompt_too_long_stream": Outcome.EMPTY,
    },
    "transformers_serve": {
        "chat_stream_usage": _USAGE_9,
        "chat_stream_plain": _USAGE_9,
        "chat_stream_continuous_usage": _USAGE_9,
        "completion_stream_usage": _USAGE_2,
        "completion_ignore_eos": "HTTP 422: Unexpected fields in the request: {'ignore_eos'}",
        "completion_min_tokens": "HTTP 422: Unexpected fields in the request: {'min_tokens'}",
        "completion_eos_now": _USAGE_2,
        "chat_nonstream": _USAGE_9,
        "unknown_model": "HTTP 400: Server is pinned to 'models/tiny-hf'; requested 'nope'.",
        "bad_json": "HTTP 422: [{'type': 'json_invalid'",
        "prompt_too_long_stream": Outcome.TRUNCATED,  # nothing came for 3 s, then the recording ended
    },
    "deepspeed_mii_http": {
        "chat_stream_usage": _EVENTS,
        "chat_stream_plain": _EVENTS,
        "chat_stream_continuous_usage": _EVENTS,
        "completion_stream_usage": _EVENTS,
        "completion_ignore_eos": _EVENTS,
        "completion_min_tokens": _EVENTS,
        "completion_eos_now": _EVENTS,
        "chat_nonstream": ("length", 2, 10, "usage"),  # its own count, of a stand-in's words
        "unknown_model": "HTTP 400: Model nope not found.",
        "bad_json": "HTTP 400: 1 validation error: {'type': 'json_invalid'",
        "prompt_too_long_stream": ("length", None, 4, "events"),  # from the same stand-in
    },
}


def read(exchange: Any, parts_of: int = 1 << 30) -> Reading:
    status, whole, reads = exchange.reads()
    answer = Answer(exchange.streamed)
    for at in range(0, len(reads), parts_of):
        some = reads[at : at + parts_of]
        ends = np.cumsum([len(data) for _, data in some], dtype=np.int32)
        stamps = np.array([round(ms * NS_PER_MS) for ms, _ in some])
        answer.feed(b"".join(data for _, data in some), ends, stamps)
    return answer.finish(status, Outcome.OK if whole else Outcome.TRUNCATED, "")


@every_exchange
def test_outcome_and_count(exchange: Any) -> None:
    reading, expected = read(exchange), READ_AS[exchange.server][exchange.case]
    if isinstance(expected, Outcome):
        assert (reading.outcome, reading.output_tokens) == (expected, 0)
    elif isinstance(expected, str):
        assert reading.outcome is Outcome.HTTP_ERROR
        assert reading.detail.startswith(expected)
    else:
        assert (reading.outcome, reading.detail) == (Outcome.OK, "")
        counted = (reading.finish_reason, reading.input_tokens, reading.output_tokens, reading.token_source)
        assert counted == expected
    assert read(exchange, parts_of=1) == read(exchange, parts_of=3) == reading


@every_stream
def test_stamps_are_the_arrivals_of_the_writes_that_ended_the_events(exchange: Any) -> None:
    """The oracle: after each write, split what has come so far into lines and see which hold text."""
    token_ms: list[float] = []
    event_ms: list[float] = []
    seen = b""
    for arrived_ms, data in exchange.reads()[2]:
        seen += data
        events = [line[6:] for line in seen.split(b"\n")[:-1] if line.startswith(b"data: ")]
        event_ms += [arrived_ms] * (len(events) - len(event_ms))
        with_text = [event for event in events if event.startswith(b"{") and _text(json.loads(event))]
        token_ms += [arrived_ms] * (len(with_text) - len(token_ms))
    reading = read(exchange)
    if exchange.case == "completion_eos_now" and not token_ms and reading.token_source == "usage":
        token_ms = event_ms[:1]  # its one token has no text
    assert reading.token_ns == [round(ms * NS_PER_MS) for ms in token_ms]
    assert reading.first_event_ns == (round(event_ms[0] * NS_PER_MS) if event_ms else -1)
    if reading.outcome is Outcome.OK:
        assert len(reading.token_ns) == reading.output_tokens
        assert reading.shared_stamps == len(event_ms) - len(set(event_ms))


def _text(event: dict[str, Any]) -> str:
    return "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in event["choices"])


def test_every_recorded_answer_has_its_expectation() -> None:
    if not EXCHANGES:
        pytest.skip("the recorded exchanges are not beside this checkout")
    cases = {(server, case) for server, table in READ_AS.items() for case in table}
    assert {(one.server, one.case) for one in EXCHANGES} == cases
