"""Prometheus text, as engines write it and as they should not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.engines.telemetry import KEPT, parse_metrics

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
