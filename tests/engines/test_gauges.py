"""What servers say of themselves, as engines write it and as they should not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.engines.gauges import KEPT, parse_metrics, read_fact, read_metrics

VLLM = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:prompt_tokens_total{engine="0",model_name="m"} 1.5e+06
vllm:prompt_tokens_created{engine="0",model_name="m"} 1.7e+09
vllm:time_to_first_token_seconds_bucket{le="0.1"} 5
python_gc_objects_collected_total{generation="0"} 900
"""

# Two iterations, as trtllm-serve lists them; the newer one stands last.
TRTLLM = [
    {"iter": 1, "numActiveRequests": 1},
    {
        "iter": 2,
        "numActiveRequests": 7,
        "numQueuedRequests": 3,
        "maxBatchSizeRuntime": 8,
        "timestamp": "now",
        "kvCacheStats": {"usedNumBlocks": 30, "maxNumBlocks": 40, "cacheHitRate": 0.5, "reuse": True},
    },
]


def test_counts_are_summed_over_engines_and_shares_are_not() -> None:
    assert parse_metrics(VLLM) == {
        "vllm:num_requests_running": 7,
        "vllm:kv_cache_usage_perc": 0.75,
        "vllm:prompt_tokens_total": 1_500_000,
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("llamacpp:requests_processing 2", {"llamacpp:requests_processing": 2}),
        ("llamacpp:requests_processing 2\r\n", {"llamacpp:requests_processing": 2}),
        ("", {}),
        ("<html>vllm:num_requests_running 3</html>", {}),
        ("vllm:num_requests_running", {}),
        ("vllm:num_requests_running many", {}),
        ("other_metric 3", {}),
        ('sglang:num_running_reqs{model="a b"} 3', {"sglang:num_running_reqs": 3}),
        ("trtllm_kv_cache_utilization 0.5", {"trtllm_kv_cache_utilization": 0.5}),
        (
            'simulator:lag{quantile="0.99"} 3\nsimulator:lag{quantile="max"} 9',
            {"simulator:lag_p99": 3, "simulator:lag_max": 9},
        ),
    ],
)
def test_lines(text: str, found: dict[str, float]) -> None:
    assert parse_metrics(text) == found


@given(st.lists(st.one_of(st.text(), st.builds(lambda name, rest: name + rest, st.sampled_from(KEPT), st.text()))))
def test_no_text_is_an_error(lines: list[str]) -> None:
    for name, value in parse_metrics("\n".join(lines)).items():
        assert name.startswith(KEPT)
        assert isinstance(value, float)


def test_the_newest_iteration_of_tensorrt_llm() -> None:
    assert read_metrics(json.dumps(TRTLLM).encode()) == {
        "trtllm:iter": 2,
        "trtllm:numActiveRequests": 7,
        "trtllm:numQueuedRequests": 3,
        "trtllm:maxBatchSizeRuntime": 8,
        "trtllm:kvCacheStats.usedNumBlocks": 30,
        "trtllm:kvCacheStats.maxNumBlocks": 40,
        "trtllm:kvCacheStats.cacheHitRate": 0.5,
        "trtllm:kv_cache_usage": 0.75,
    }


def test_an_idle_tensorrt_llm_is_still_one_and_other_json_is_not() -> None:
    assert read_metrics(b"[]") == {}
    assert read_metrics(b'{"detail":"Not Found"}') is None
    assert read_metrics(b"[1, 2") is None
    assert read_metrics(b"<html></html>") is None
    assert read_metrics(b"# TYPE trtllm_kv_cache_hit_rate gauge\n") == {}  # no value yet
    assert read_metrics(b"# TYPE python_info gauge\npython_info 1\n") is None


@pytest.mark.parametrize(
    ("body", "key", "fact"),
    [
        (b'{"total_slots": 4}', "total_slots", 4),
        (b'{"a": [{"b": {"max_num_seqs": 256}}]}', "max_num_seqs", 256),
        (
            b'{"max_running_requests": null, "internal_states": [{"max_running_requests": 48}]}',
            "max_running_requests",
            48,
        ),
        (b'{"total_slots": true}', "total_slots", None),
        (b'{"total_slots": 0}', "total_slots", None),
        (b"no", "total_slots", None),
    ],
)
def test_a_fact_is_found_wherever_it_stands(body: bytes, key: str, fact: float | None) -> None:
    assert read_fact(body, key) == fact


@given(st.binary(max_size=60))
def test_no_bytes_are_an_error(body: bytes) -> None:
    read_metrics(body)
    read_fact(body, "total_slots")
