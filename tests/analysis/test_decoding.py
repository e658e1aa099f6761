"""What was decoded in the window, against every token counted one by one; and not from those alone that ended well."""

from typing import Any

import numpy as np
import pytest
from made import record, run

from loadgen.analysis.decoding import decoding_section
from loadgen.analysis.summary import summarise
from loadgen.analysis.window import Window

PROMPT, SLOTS, PACE_MS = 25, 8, 10.0


def overloaded(lengths: list[int], cut_ms: float) -> list[dict[str, Any]]:
    """One after another onto the first of 8 places that is free, a token every 10 ms, all cut at one moment."""
    free_ms, rows = [5.0 * place for place in range(SLOTS)], []
    for index, length in enumerate(lengths):
        place = int(np.argmin(free_ms))
        begins_ms, due_ms = free_ms[place], 40.0 * index
        begins_ms = max(begins_ms, due_ms)
        free_ms[place] = begins_ms + PACE_MS * length
        came_ms = [each for each in begins_ms + PACE_MS * np.arange(1, length + 1) if each <= cut_ms]
        told: dict[str, Any] = {"tokens_ms": came_ms} if came_ms else {}
        if len(came_ms) < length:
            told |= {"outcome": "censored", "done_ms": cut_ms, "planned_output_tokens": length}
        if due_ms < cut_ms:
            rows.append(record(index, due_ms, planned_input_tokens=PROMPT, **told))
    return rows


def counted(rows: list[dict[str, Any]], window: Window) -> dict[str, float]:
    """The truth, from each token."""
    contexts, began, spans_ns = [], 0, 0.0
    for row in rows:
        stamps_ns = row["token_ns"] or []
        inside = [window.start_ns < each <= window.end_ns for each in stamps_ns]
        contexts += [PROMPT + number for number, held in enumerate(inside) if held and number]
        began += bool(inside and inside[0])
        if stamps_ns:
            spans_ns += max(0.0, min(stamps_ns[-1], window.end_ns) - max(stamps_ns[0], window.start_ns))
    return {
        "sequences_mean": spans_ns / (window.end_ns - window.start_ns),
        "context_mean": float(np.mean(contexts)),
        "token_ms": spans_ns / 1e6 / len(contexts),
        "prompts_per_s": began / window.duration_s,
        "prompt_tokens_mean": PROMPT,
    }


@pytest.mark.parametrize("seed", range(4))
def test_all_that_streams_counts_however_it_ends(seed: int) -> None:
    """The answers of a cut overload that ended well are the short ones: a tenth of the context that is really read."""
    drawn = np.random.default_rng(seed)
    lengths = np.where(drawn.random(400) < 0.3, drawn.integers(2, 12, 400), drawn.integers(300, 500, 400))
    rows = overloaded(lengths.tolist(), 9_000.0)
    data = run(rows, {"request_rate": 25.0, "ended_ns": 9_000_000_000})
    window = Window(4.5e9, 9e9, "")
    truth, found = counted(rows, window), decoding_section(data, window)
    assert found is not None
    assert found == pytest.approx(truth, rel=0.02)
    assert found["sequences_mean"] == pytest.approx(SLOTS, rel=0.1)
    assert found["token_ms"] == pytest.approx(PACE_MS, rel=0.02)
    of_survivors = [len(row["token_ns"]) for row in rows if row["outcome"] == "ok" and row["due_ns"] >= 4.5e9]
    assert found["context_mean"] > 2 * (PROMPT + np.mean(of_survivors or [0]) / 2)


def test_tokens_that_come_several_at_a_time_are_all_counted() -> None:
    rows = [record(0, 0.0, tokens_ms=[100, 200, 300], token_counts=[1, 4, 4], planned_input_tokens=10)]
    found = decoding_section(run(rows), Window(0.0, 1e9, ""))
    assert found == {
        "sequences_mean": pytest.approx(0.2),
        "context_mean": pytest.approx(10 + 4.5),
        "token_ms": pytest.approx(200 / 8),
        "prompts_per_s": 1.0,
        "prompt_tokens_mean": 10.0,
    }


def test_what_does_not_stream_was_not_seen_to_decode() -> None:
    whole = record(0, 0.0, first_token_ms=400, last_token_ms=400, done_ms=400, output_tokens=20)
    assert decoding_section(run([whole]), Window(0.0, 1e9, "")) is None
    assert decoding_section(run([]), Window(0.0, 1e9, "")) is None
    assert summarise(run([whole]))["decoding"] is None
