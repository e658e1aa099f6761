"""Which rows of a trace are sent, by the policies of --rows, each one counted; and that nothing else is changed."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "trace"))
from made_traces import trace

from loadgen.config import Settings
from loadgen.errors import BadInputError
from loadgen.replay import LEAD_NS, in_words, plan_of, playable, shaped
from loadgen.trace.sessions import course

CONTEXT = 1000
MADE: dict[str, Any] = {
    "input_tokens": [100, 100, 900, 999, 100, 0, 2000],
    "output_tokens": [10, 0, 200, 10, 10, 5, 3],
    "status": [200, 200, 200, 200, 500, 200, 200],
}


def made() -> Any:
    return trace([0.0, 1, 2, 3, 4, 5, 6], **MADE)


def settings(**rows: str) -> Settings:
    return Settings(rows=rows)


def test_by_default_what_cannot_be_answered_is_left_out_and_counted() -> None:
    part, treated = playable(made(), settings(), CONTEXT)
    assert part.row.tolist() == [1]
    assert treated == {
        "failed when recorded: left out": 1,
        "no output recorded: left out": 1,
        "longer than the context of 1,000: left out": 3,
        "empty prompt: left out": 1,
    }
    assert sum(treated.values()) + len(part) == 7


def test_every_policy_does_what_it_says_and_touches_no_other_row() -> None:
    part, treated = playable(made(), settings(zero="one", overflow="clamp", failed="send"), CONTEXT)
    assert part.row.tolist() == [1, 2, 3, 4, 5, 7]
    assert part.output_tokens.tolist() == [10, 1, 200, 10, 10, 3]
    assert part.input_tokens.tolist() == [100, 100, 800, 990, 100, 997]
    assert (part.input_tokens + part.output_tokens).max() <= CONTEXT
    assert treated == {
        "no output recorded: one token asked for": 1,
        "longer than the context of 1,000: cut": 3,
        "empty prompt: left out": 1,
    }


def test_sending_what_is_too_long_changes_no_length() -> None:
    part, treated = playable(made(), settings(overflow="send"), None)
    assert part.input_tokens.tolist() == [100, 900, 999, 2000]
    assert not any("context" in what for what in treated)


def test_lengths_that_nobody_recorded_are_asked_for_and_then_drawn() -> None:
    some = trace([0.0, 1, 2], output_tokens=[10, -1, -1])
    with pytest.raises(BadInputError, match="how long the answers of 2 requests were"):
        shaped(some, settings())
    part, treated = playable(shaped(some, Settings(output_len="7")), Settings(output_len="7"), CONTEXT)
    assert part.output_tokens.tolist() == [10, 7, 7]
    assert treated == {"output length not recorded: drawn": 2}


def test_a_recorded_text_is_sent_as_it_is_whatever_length_is_asked_for() -> None:
    some = trace([0.0, 1], input_tokens=[-1, -1], texts=["hello", None])
    with pytest.raises(BadInputError, match="how long the prompts of 1 requests were"):
        shaped(some, settings())
    part, treated = playable(shaped(some, Settings(input_len="7")), Settings(input_len="7"), CONTEXT)
    assert part.input_tokens.tolist() == [-1, 7]
    assert treated == {
        "input length not recorded: drawn": 1,
        "prompt length not recorded: the recorded text is sent": 1,
    }
    assert plan_of(part, course(part, "causal"), Settings(), "t").input_tokens.tolist() == [0, 7]


def test_what_needs_a_longer_context_everywhere_is_told_how_long() -> None:
    with pytest.raises(BadInputError, match="3 longer than the context of 50") as raised:
        playable(trace([0.0, 1, 2]), settings(), 50)
    assert "context of 110" in raised.value.hint


def test_nothing_left_is_said_with_the_reasons() -> None:
    with pytest.raises(BadInputError, match="2 failed when recorded: left out"):
        playable(trace([0.0, 1], status=[500, 429]), settings(), CONTEXT)


def test_the_plan_is_the_trace_and_a_lead() -> None:
    part, _ = playable(made(), settings(zero="one", failed="send"), None)
    plan = plan_of(part, course(part, "causal"), Settings(), "t")
    np.testing.assert_array_equal(plan.due_ns, part.arrival_ns + LEAD_NS)
    np.testing.assert_array_equal(plan.input_tokens, part.input_tokens)
    np.testing.assert_array_equal(plan.output_tokens, part.output_tokens)
    told = {"trace": "t", "format": "f", "sessions": 0, "hit_rate_ideal": 0.5, "rows_treated": {"cut": 3}}
    lines = in_words(told | {"mode": "causal", "think_times_unknown": 2}, plan)
    assert "ideal prefix hit rate 50 %" in lines[0]
    assert lines[1:] == ["  3 rows: cut.", "  2 think times are not in the trace: those go at their recorded times."]
