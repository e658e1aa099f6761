"""Texts that count as they should, bytes that are what vLLM sends, lateness that is what it was."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.simulator.lateness import Lateness
from loadgen.simulator.text import CHAT_TEMPLATE_TOKENS, WORD_BYTES, WORDS, answer_text, count_tokens, token_ids
from loadgen.simulator.wire import CHAT, COMPLETION, DONE, ChoiceEvents, Spelling, answer_json, usage_json
from loadgen.units import NS_PER_MS

FIXTURE = Path(__file__).parents[3] / "shared" / "fixtures" / "vllm_cpu.jsonl"


@given(st.integers(0, 500))
def test_an_answer_counts_as_many_tokens_as_it_was_asked(tokens: int) -> None:
    assert count_tokens(answer_text(tokens)) == tokens


@given(st.text())
def test_a_text_has_an_id_for_every_token(text: str) -> None:
    ids = token_ids(text, 1000)
    assert len(ids) == count_tokens(text) == sum(-(-len(run) // 8) for run in re.findall(r"\S+", text))
    assert all(0 <= one < 1000 for one in ids)


def test_all_words_have_one_length() -> None:
    assert {len(word.encode()) for word in WORDS} == {WORD_BYTES}


def parse_chunks(data: bytes) -> list[Any]:
    """HTTP chunks → the JSON of their events; the size of each is checked."""
    events = []
    while data:
        size, _, rest = data.partition(b"\r\n")
        payload, data = rest[: int(size, 16)], rest[int(size, 16) :]
        assert data.startswith(b"\r\n")
        data = data[2:]
        if payload:
            assert payload.startswith(b"data: ")
            assert payload.endswith(b"\n\n")
            events.append(payload[6:-2].decode())
    return [event if event == "[DONE]" else json.loads(event) for event in events]


@pytest.mark.parametrize("spelling", [CHAT, COMPLETION])
@given(model=st.text(min_size=1), request_id=st.text(), index=st.integers(0, 1000), token=st.integers(0, 100))
def test_events_are_whole_chunks_of_json(
    spelling: Spelling, model: str, request_id: str, index: int, token: int
) -> None:
    choice = ChoiceEvents(spelling, request_id, 1_700_000_000, model, index)
    usage = usage_json(9, 3) + b"}"
    data = choice.role(None) + choice.head + choice.tails[token % len(choice.tails)] + choice.token(token, usage[:-1])
    data += choice.last(token, b"length", None, fingerprint=True) + choice.usage(usage[:-1]) + DONE
    events = parse_chunks(data)
    assert events.pop() == "[DONE]"
    assert all((event["id"], event["model"]) == (request_id, model) for event in events)
    assert all(event["choices"][0]["index"] == index for event in events[:-1])
    assert events[-1]["choices"] == []
    assert events[-1]["usage"] == {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def shape(value: Any) -> Any:
    """What a client can see of a JSON value apart from its contents: keys in order, and types."""
    if isinstance(value, dict):
        return [(key, shape(one)) for key, one in value.items()]
    return [shape(one) for one in value] if isinstance(value, list) else type(value).__name__


@pytest.mark.skipif(not FIXTURE.exists(), reason="the recorded exchanges are not here")
@pytest.mark.parametrize("case", ["chat_stream_usage", "chat_stream_plain", "completion_stream_usage"])
def test_events_have_the_shape_of_vllms(case: str) -> None:
    recorded = next(row for row in map(json.loads, FIXTURE.read_text().splitlines()) if row["case"] == case)
    stream = "".join(text for _, text in recorded["chunks"]).partition("\r\n\r\n")[2].encode()
    spelling, with_usage = CHAT if "chat" in case else COMPLETION, "usage" in case
    choice = ChoiceEvents(spelling, spelling.id_prefix + "0", 0, "tiny", 0)
    ours = choice.role(None) + b"".join(choice.head + choice.tails[k] for k in range(4))
    ours += choice.last(4, b"length", None, fingerprint=not with_usage)
    ours += (choice.usage(usage_json(9, 5)) if with_usage else b"") + DONE
    assert [shape(event) for event in parse_chunks(ours)] == [shape(event) for event in parse_chunks(stream)]


def test_an_answer_in_one_piece() -> None:
    answer = json.loads(answer_json(COMPLETION, "cmpl-1", 0, "m", 5, [(3, "length"), (2, "stop")]))
    assert [choice["text"] for choice in answer["choices"]] == [" water light stone", " water"]  # a stop says nothing
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    chat = json.loads(answer_json(CHAT, "chatcmpl-1", 0, "m", CHAT_TEMPLATE_TOKENS + 1, [(1, "length")]))
    assert chat["choices"][0]["message"] == {"role": "assistant", "content": " water"}


def test_lateness_is_told_within_a_bin_and_forgotten_after_ten_seconds() -> None:
    lateness = Lateness()
    for k in range(1000):
        lateness.add(k * 10_000)  # 0 … 10 ms
    window = lateness.window()
    assert window["0.5"] == pytest.approx(5 * NS_PER_MS, abs=20_000)
    assert window["0.99"] == pytest.approx(9.9 * NS_PER_MS, abs=20_000)
    assert window["max"] == pytest.approx(10 * NS_PER_MS, abs=20_000)
    assert lateness.is_late(step_ns=100 * NS_PER_MS)  # more than 5 ms
    for _ in range(10):
        lateness.turn_second()
    assert lateness.window() == {"0.5": 0, "0.99": 0, "max": 0}
    assert not lateness.is_late(step_ns=100 * NS_PER_MS)
    assert lateness.overall() == window


def test_a_fifth_of_a_step_is_late() -> None:
    lateness = Lateness()
    lateness.add(1 * NS_PER_MS)
    assert not lateness.is_late(step_ns=6 * NS_PER_MS)
    assert lateness.is_late(step_ns=4 * NS_PER_MS)
