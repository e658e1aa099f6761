"""Texts that count as they should, bytes that parse, lateness that is what it was."""

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.simulator.lateness import Lateness
from loadgen.simulator.styles import STYLES
from loadgen.simulator.styles.style import Style
from loadgen.simulator.text import CHAT_TEMPLATE_TOKENS, WORD_BYTES, WORDS, answer_text, count_tokens, token_ids
from loadgen.simulator.wire import (
    DONE,
    END,
    ChoiceEvents,
    Fields,
    answer_json,
    chunks,
    make_id,
    text_of,
    timings_field,
    usage_field,
)
from loadgen.units import NS_PER_MS


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


def fields(request_id: str = "id", model: str = "m", index: int = 0) -> Fields:
    named = {b"id": json.dumps(request_id).encode(), b"model": json.dumps(model).encode()}
    return {**named, b"created": 1_700_000_000, b"index": index}


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@given(model=st.text(min_size=1), request_id=st.text(), index=st.integers(0, 1000), token=st.integers(0, 100))
def test_events_are_whole_chunks_of_json(
    style: Style, chat: bool, model: str, request_id: str, index: int, token: int
) -> None:
    """Whatever the names: a style's bytes parse, and the plain event is the one that its slow way makes."""
    spelling = style.spelling(chat=chat)
    choice = ChoiceEvents(spelling, fields(request_id, model, index))
    usage = usage_field(style.usage_object, 9, 3)
    plain = choice.head + choice.tails[token % len(choice.tails)]
    assert plain == chunks([choice.token(text_of(token, 1))], glued=False)
    last = choice.last(text_of(token, 1), b"length", usage, timings_field(9, 5, 3, 7), ends=True)
    data = chunks([choice.role(), last, choice.usage(usage, b"")], glued=False) + plain + DONE + END
    events = parse_chunks(data)
    assert events.pop() == "[DONE]"
    assert all((event["id"], event["model"]) == (request_id, model) for event in events)
    assert [event["choices"][0]["index"] for event in events if event["choices"]].count(index) >= 2
    total = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    assert all(event["usage"].items() >= total.items() for event in events if event.get("usage"))


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
def test_glued_or_not_the_same_bytes_arrive(events: list[bytes]) -> None:
    def payloads(data: bytes) -> list[bytes]:
        found = []
        while data:
            size, _, rest = data.partition(b"\r\n")
            found.append(rest[: int(size, 16)])
            data = rest[int(size, 16) + 2 :]
        return found

    assert payloads(chunks(events, glued=False)) == events
    assert payloads(chunks(events, glued=True)) == ([b"".join(events)] if events else [])


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_an_answer_in_one_piece(style: Style) -> None:
    timings = timings_field(5, 1, 2, 1)
    answers = [(3, "length"), (2, "stop")]
    answer = json.loads(answer_json(style, style.completions, fields(), 5, answers, timings))
    assert [choice["text"] for choice in answer["choices"]] == [" water light stone", " water"]  # a stop says nothing
    counted = 3 if style.copies == "first" else 4 + style.counts_stop
    assert answer["usage"].items() >= {"prompt_tokens": 5, "completion_tokens": counted}.items()
    chat = json.loads(answer_json(style, style.chat, fields(), CHAT_TEMPLATE_TOKENS + 1, [(1, "length")], timings))
    assert chat["choices"][0]["message"].items() >= {"role": "assistant", "content": " water"}.items()


@pytest.mark.parametrize(
    ("form", "looks"),
    [
        ("hex16", "[0-9a-f]{16}"),
        ("hex32", "[0-9a-f]{32}"),
        ("uuid", "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        ("alnum22", "[0-9A-Za-z]{22}"),
        ("alnum32", "[0-9A-Za-z]{32}"),
    ],
)
def test_ids_look_as_they_should_and_repeat_with_the_seed(form: str, looks: str) -> None:
    ids = [make_id(form, random.Random(seed)) for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]
    assert all(re.fullmatch(looks, one) for one in ids)


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
