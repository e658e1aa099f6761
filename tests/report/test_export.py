"""The vLLM file: its keys, its units, its definitions, from records whose truth is known."""

import json
from typing import Any

import pyarrow as pa
import pytest

from loadgen.records.schema import RECORD
from loadgen.report.demo import canned_run
from loadgen.report.export import vllm_result
from loadgen.units import NS_PER_MS, NS_PER_S

KEYS = """
    date endpoint_type backend label model_id tokenizer_id num_prompts request_rate burstiness max_concurrency
    duration completed failed total_input_tokens total_output_tokens request_throughput request_goodput
    output_throughput total_token_throughput input_lens output_lens ttfts itls latencies start_times queue_times
    generated_texts errors max_output_tokens_per_s max_concurrent_requests
""".split()  # noqa: SIM905
KEYS += [
    f"{statistic}_{metric}_ms"
    for metric in ("ttft", "tpot", "itl", "e2el")
    for statistic in ("mean", "median", "std", "p50", "p90", "p95", "p99")
]


def record(index: int, **changes: Any) -> dict[str, Any]:
    """Due at `index` s, sent 2 ms late, first token 100 ms after that, four more at 10, 20, 30 and 40 ms."""
    sent_ns = index * NS_PER_S + 2 * NS_PER_MS
    token_ns = [sent_ns + ms * NS_PER_MS for ms in (100, 110, 130, 160, 200)]
    return dict.fromkeys(RECORD.names) | {
        "index": index,
        "due_ns": index * NS_PER_S,
        "sent_ns": sent_ns,
        "first_token_ns": token_ns[0],
        "last_token_ns": token_ns[-1],
        "done_ns": token_ns[-1] + NS_PER_MS,
        "outcome": "ok",
        "planned_input_tokens": 20,
        "input_tokens": 30,
        "output_tokens": 5,
        "token_ns": token_ns,
        **changes,
    }


def failure(index: int) -> dict[str, Any]:
    nothing = dict.fromkeys(("first_token_ns", "last_token_ns", "input_tokens", "output_tokens", "token_ns"))
    return record(index, outcome="timeout", detail="no answer after 60 s", **nothing)


def batches(*groups: list[dict[str, Any]]) -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_pylist(group, schema=RECORD) for group in groups]


HEADER = canned_run()
POINT = HEADER["points"][0]
RESULT = vllm_result(POINT, batches([record(2), record(0)], [failure(1)]), HEADER)


def test_the_keys_are_those_of_vllm_in_its_order() -> None:
    assert list(RESULT) == KEYS


def test_it_is_plain_json() -> None:
    assert json.loads(json.dumps(RESULT, allow_nan=False)) == RESULT


def test_lists_are_in_the_order_of_the_plan_in_seconds_from_the_send() -> None:
    assert RESULT["start_times"] == pytest.approx([0.002, 1.002, 2.002])
    assert RESULT["queue_times"] == pytest.approx([0.002, 0.002, 0.002])
    assert RESULT["ttfts"] == pytest.approx([0.1, 0, 0.1])
    assert RESULT["latencies"] == pytest.approx([0.2, 0, 0.2])
    assert RESULT["itls"][0] == pytest.approx([0.01, 0.02, 0.03, 0.04])
    assert RESULT["itls"][1] == []
    assert RESULT["errors"] == ["", "timeout: no answer after 60 s", ""]
    assert RESULT["generated_texts"] == ["", "", ""]
    assert RESULT["input_lens"] == [30, 20, 30]  # a failure's is the planned one
    assert RESULT["output_lens"] == [5, 0, 5]


def test_rates_are_over_the_whole_run() -> None:
    assert RESULT["duration"] == pytest.approx(2.201)
    assert (RESULT["completed"], RESULT["failed"]) == (2, 1)
    assert (RESULT["total_input_tokens"], RESULT["total_output_tokens"]) == (60, 10)
    assert RESULT["request_throughput"] == pytest.approx(2 / 2.201)
    assert RESULT["output_throughput"] == pytest.approx(10 / 2.201)
    assert RESULT["total_token_throughput"] == pytest.approx(70 / 2.201)
    assert RESULT["max_output_tokens_per_s"] == 5
    assert RESULT["max_concurrent_requests"] == 1


def test_statistics_are_over_the_requests_that_succeeded() -> None:
    assert RESULT["mean_ttft_ms"] == pytest.approx(100)
    assert RESULT["p99_tpot_ms"] == pytest.approx(25)  # (200 - 100) / 4
    assert RESULT["median_itl_ms"] == pytest.approx(25)  # of 10, 20, 30, 40, twice
    assert RESULT["std_e2el_ms"] == pytest.approx(0, abs=1e-9)


def test_the_header_says_what_was_asked() -> None:
    assert RESULT["date"] == "20261120-140311"
    assert RESULT["backend"] == RESULT["endpoint_type"] == "openai-chat"
    assert RESULT["model_id"] == RESULT["tokenizer_id"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert RESULT["request_rate"] == 8.0
    assert RESULT["burstiness"] == 1.0
    assert RESULT["max_concurrency"] is None
    assert RESULT["request_goodput"] == POINT["whole_run"]["request_goodput"]


@pytest.mark.parametrize("rate", [None, "inf", float("inf")])
def test_no_rate_is_inf_as_a_word(rate: object) -> None:
    assert vllm_result({"request_rate": rate}, batches([record(0)]))["request_rate"] == "inf"


def test_options_are_found_by_flag_or_keyword() -> None:
    for settings in (
        {"--max-concurrency": 8, "--endpoint": "completions"},
        {"max_concurrency": 8, "endpoint": "completions"},
    ):
        result = vllm_result({}, batches([record(0)]), {"settings": settings})
        assert (result["max_concurrency"], result["backend"]) == (8, "openai")


def test_tokens_of_one_event_are_counted_and_overlap_is_seen() -> None:
    many = record(0, token_counts=[1, 1, 1, 1, 6], output_tokens=10)
    result = vllm_result({}, batches([many, record(1, sent_ns=many["sent_ns"] + NS_PER_MS)]))
    assert result["max_output_tokens_per_s"] == 10
    assert result["max_concurrent_requests"] == 2


def test_one_that_ends_as_another_starts_does_not_overlap_it() -> None:
    first = record(0)
    assert vllm_result({}, batches([first, record(1, sent_ns=first["last_token_ns"])]))["max_concurrent_requests"] == 1


@pytest.mark.parametrize("rows", [[], [failure(0)]])
def test_nothing_done_is_zeros_not_an_error(rows: list[dict[str, Any]]) -> None:
    result = vllm_result({}, batches(rows) if rows else [])
    assert list(result) == KEYS
    assert result["completed"] == 0
    assert result["mean_ttft_ms"] == result["p99_itl_ms"] == result["max_output_tokens_per_s"] == 0
    json.dumps(result, allow_nan=False)


def test_one_token_has_no_tpot() -> None:
    single = record(0)
    single |= {"output_tokens": 1, "last_token_ns": single["first_token_ns"], "token_ns": single["token_ns"][:1]}
    result = vllm_result({}, batches([single, record(1)]))
    assert result["itls"] == [[], pytest.approx([0.01, 0.02, 0.03, 0.04])]
    assert result["mean_tpot_ms"] == pytest.approx(25)
