"""Offline runs with known truth: two batches of two requests a repeat, batches of 100 ms, warm-up not counted."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from made import plan, record, run

from loadgen.analysis.data import RunData
from loadgen.analysis.student import t_quantile
from loadgen.analysis.summary import summarise

WARM_MS = 5000.0


def made(took_ms: list[float], change: Callable[[list[dict[str, Any]]], None] = lambda _: None) -> RunData:
    """A warm-up of WARM_MS, then one batch of two requests of 10 tokens after another, two batches a repeat."""
    rows, start, index = [], 0.0, 0
    for latency in (WARM_MS, *took_ms):
        for end in (start + latency / 2, start + latency):
            tokens = np.linspace(start + 1, end, 10).tolist()
            rows.append(record(index, 0.0, issued_ms=start, input_tokens=5, tokens_ms=tokens))
            index += 1
        start += latency
    change(rows)
    barriers = tuple(range(2, index, 2))
    shape = {"loop": "batch", "batch_size": 2, "prompts": 4, "repeats": len(took_ms) // 2}
    return run(
        rows,
        {"request_rate": None, "stop_ns": 1, "interrupted": True},
        planned=plan([0] * index, barriers=barriers, shape=shape),
    )


def test_throughput_is_tokens_over_the_time_of_the_batches() -> None:
    point = summarise(made([100, 100, 100, 100]))
    assert point["output_throughput"] == pytest.approx(200)  # 20 tokens in 100 ms
    assert point["request_throughput"] == pytest.approx(20)
    assert point["total_token_throughput"] == pytest.approx(300)
    assert point["mean_batch_latency_ms"] == pytest.approx(100)
    assert (point["batches"], point["repeats"], point["batch_size"]) == (4, 2, 2)
    assert point["completed"] == 8  # the warm-up is not among them
    assert point["verdict"] == "VALID"
    assert point["client"]["lag_p99_ms"] == pytest.approx(0)  # a batch is due when the one before has ended


def test_the_interval_comes_from_the_repeats() -> None:
    point = summarise(made([90, 110, 105, 125, 90, 110]))  # 100, 115, 100 ms a batch
    reach = t_quantile(0.975, 2) * np.std([100, 115, 100], ddof=1) / 3**0.5
    low, high = point["confidence"]["mean_batch_latency_ms"]
    assert (low, high) == (pytest.approx(105 - reach), pytest.approx(105 + reach))
    assert point["max_batch_latency_ms"] == pytest.approx(125)


def test_one_repeat_has_no_interval() -> None:
    point = summarise(made([100, 100]))
    assert point["confidence"]["output_throughput"] is None


def test_a_batch_that_was_cut_off_does_not_count() -> None:
    def cut(rows: list[dict[str, Any]]) -> None:
        rows.pop()

    point = summarise(made([100, 100, 100, 400], cut))
    assert point["batches"] == 3
    assert point["output_throughput"] == pytest.approx(200)


def test_nothing_but_the_warm_up() -> None:
    def cut(rows: list[dict[str, Any]]) -> None:
        del rows[2:]

    point = summarise(made([100, 100], cut))
    assert (point["batches"], point["output_throughput"]) == (0, None)
    assert point["verdict"] == "TOO_FEW_SAMPLES"


def test_a_failed_request_gives_no_tokens_and_the_batch_its_time() -> None:
    def fail(rows: list[dict[str, Any]]) -> None:
        rows[2]["outcome"] = "http_error"

    point = summarise(made([100, 100, 100, 100], fail))
    assert point["output_throughput"] == pytest.approx(70 / 0.4)
    assert point["failed"] == 1
