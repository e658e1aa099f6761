"""What a server says of itself, when it does: the answers of real ones, cut short. What it does not say is absent."""

import json
from collections.abc import Callable

import pytest
from scripted import Request, Server, by_path, http

from loadgen.engines.asking import Asker
from loadgen.engines.introduction import introduce
from loadgen.target import parse_target

VLLM_METRICS = (
    '# TYPE vllm:cache_config_info gauge\nvllm:cache_config_info{block_size="128",cache_dtype="auto",'
    'enable_prefix_caching="True",engine="0",gpu_memory_utilization="0.92",hash_block_size="None",'
    'num_gpu_blocks="2048"} 1.0\nvllm:num_requests_running{engine="0"} 0.0\n'
)
SGLANG = {
    "tp_size": 2,
    "context_length": None,
    "max_running_requests": 256,
    "mem_fraction_static": 0.88,
    "disable_radix_cache": True,
    "internal_states": [{"version": "nested", "context_length": 4096}],
    "version": "0.5.16",
}
LLAMA_CPP = {
    "default_generation_settings": {"params": {"seed": 1, "max_tokens": -1}, "n_ctx": 4096},
    "total_slots": 4,
    "model_ftype": "F16",
    "build_info": "b0-unknown",
}


def told_by(engine: str | None, pages: dict[str, str]) -> tuple[dict[str, object], list[str]]:
    """(what the server told, the paths that it was asked)."""

    def page(text: str) -> Callable[[Request], bytes]:
        return lambda _: http(text.encode())

    with Server(by_path({path: page(text) for path, text in pages.items()})) as server:
        found = introduce(Asker(parse_target(server.url), {}), engine)
        return found, [request.path for request in server.requests]


def test_vllm_says_its_version_and_how_its_cache_is_set() -> None:
    found, asked = told_by("vllm", {"/version": '{"version":"0.32.0"}', "/metrics": VLLM_METRICS})
    assert found == {
        "version": "0.32.0",
        "flags": {
            "enable-prefix-caching": "True",
            "gpu-memory-utilization": "0.92",
            "kv-cache-dtype": "auto",
            "num-gpu-blocks": "2048",
            "block-size": "128",
        },
    }
    assert len(asked) == 3  # each place once


def test_vllm_in_development_mode_says_its_cap() -> None:
    config = {"vllm_config": {"scheduler_config": {"max_num_seqs": 64}, "parallel_config": {"tensor_parallel_size": 2}}}
    found, _ = told_by("vllm", {"/server_info?config_format=json": json.dumps(config)})
    assert found == {"max_num_seqs": 64, "flags": {"tensor-parallel-size": "2"}}


@pytest.mark.parametrize("path", ["/server_info", "/get_server_info"])
def test_sglang_says_all_of_it(path: str) -> None:
    found, _ = told_by("sglang", {path: json.dumps(SGLANG)})
    assert (found["version"], found["max_num_seqs"], found["max_model_len"]) == ("0.5.16", 256, 4096)
    assert found["flags"] == {"tp-size": "2", "mem-fraction-static": "0.88", "disable-radix-cache": "True"}


def test_llama_cpp_says_its_slots_and_the_context_of_one() -> None:
    found, _ = told_by("llama.cpp", {"/props": json.dumps(LLAMA_CPP)})
    assert found == {"max_num_seqs": 4, "max_model_len": 4096, "flags": {"ftype": "F16"}}  # a build without a number
    found, _ = told_by("llama.cpp", {"/props": json.dumps(LLAMA_CPP | {"build_info": "b6814-3cfa9c3f"})})
    assert found["version"] == "b6814-3cfa9c3f"


def test_tensorrt_llm_says_its_version() -> None:
    assert told_by("tensorrt_llm", {"/version": '{"version": "1.2.0"}'})[0] == {"version": "1.2.0"}


@pytest.mark.parametrize("engine", ["vllm", "sglang", "llama.cpp", "tensorrt_llm"])
@pytest.mark.parametrize("text", ["", "<html>", "[1, 2]", "null", '{"version": null, "total_slots": "many"}'])
def test_what_is_not_told_is_absent(engine: str, text: str) -> None:
    pages = dict.fromkeys(("/version", "/props", "/server_info", "/get_server_info", "/metrics"), text)
    assert told_by(engine, pages)[0] == {}
    assert told_by(engine, {})[0] == {}


def test_a_stranger_is_asked_nothing() -> None:
    assert told_by(None, {}) == ({}, [])
    assert told_by("a gateway", {}) == ({}, [])


def test_a_server_that_went_away_is_no_error() -> None:
    with Server(by_path({})) as server:
        asker = Asker(parse_target(server.url), {})
    assert introduce(asker, "vllm") == {}
