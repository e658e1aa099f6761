"""What a server that somebody else started says of itself, asked once: version, cap, flags. Nothing is guessed.

Apart from the probe, on which requests depend: here nothing does, so a question that fails is no error and what is not
told is absent. One table, by the name that /v1/models gives the server.
"""

import re
from typing import Any

import msgspec

from loadgen.engines.asking import Asker
from loadgen.errors import TargetError

_TIMEOUT_S = 3.0
_WORDS = ("version", "max_num_seqs", "max_model_len")  # of the summary's `target`; every other name is a flag's

# Who → where it tells what: (path, {its key, however deep: our name for it}). The first place that knows a name counts.
Place = tuple[str, dict[str, str]]
PLACES: dict[str, tuple[Place, ...]] = {
    "vllm": (
        ("/version", {"version": "version"}),
        # only with VLLM_SERVER_DEV_MODE=1
        (
            "/server_info?config_format=json",
            {
                "max_num_seqs": "max_num_seqs",
                "tensor_parallel_size": "tensor-parallel-size",
                "max_num_batched_tokens": "max-num-batched-tokens",
                "enable_chunked_prefill": "enable-chunked-prefill",
                "dtype": "dtype",
            },
        ),
        (
            "/metrics",
            {
                "enable_prefix_caching": "enable-prefix-caching",
                "gpu_memory_utilization": "gpu-memory-utilization",
                "cache_dtype": "kv-cache-dtype",
                "num_gpu_blocks": "num-gpu-blocks",
                "block_size": "block-size",
            },
        ),
    ),
    "llama.cpp": (
        (
            "/props",
            {
                "build_info": "version",
                "total_slots": "max_num_seqs",
                "n_ctx": "max_model_len",  # of one slot
                "model_ftype": "ftype",
            },
        ),
    ),
    "sglang": tuple(
        (
            path,
            {
                "version": "version",
                "max_running_requests": "max_num_seqs",
                "context_length": "max_model_len",
                "tp_size": "tp-size",
                "dtype": "dtype",
                "mem_fraction_static": "mem-fraction-static",
                "chunked_prefill_size": "chunked-prefill-size",
                "disable_radix_cache": "disable-radix-cache",
            },
        )
        for path in ("/server_info", "/get_server_info")
    ),
    "tensorrt_llm": (("/version", {"version": "version"}),),
}
_LABELS = re.compile(r'(\w+)="([^"]*)"')
_INFO = "vllm:cache_config_info{"  # a gauge that is 1 and says everything in its labels
_UNKNOWN = ("", "None", "none", "b0-unknown", "unknown")


def introduce(asker: Asker, engine: str | None) -> dict[str, Any]:
    """`version`, `max_num_seqs`, `max_model_len` and `flags` (name → text) of a server, as far as it tells them."""
    found: dict[str, str] = {}
    answers: dict[str, Any] = {}
    for path, names in PLACES.get(engine or "", ()):
        if path not in answers:
            answers[path] = _answer(asker, path)
        for key, name in names.items():
            value = _find(answers[path], key)
            if name not in found and value is not None and str(value) not in _UNKNOWN:
                found[name] = str(value)
    about: dict[str, Any] = {name: found.pop(name) for name in _WORDS if name in found}
    for name in _WORDS[1:]:
        if name in about:
            number = about.pop(name)
            if number.isdigit() and int(number):
                about[name] = int(number)
    return about | ({"flags": found} if found else {})


def _answer(asker: Asker, path: str) -> Any:
    """Its JSON; the labels of vLLM's own gauge where it is Prometheus' text; None when there is no answer."""
    try:
        status, body = asker.ask(path, timeout_s=_TIMEOUT_S)
    except TargetError:
        return None
    if status != 200:
        return None
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        lines = body.decode("utf-8", "replace").splitlines()
        return dict(_LABELS.findall(next((line for line in lines if line.startswith(_INFO)), "")))


def _find(answer: Any, key: str) -> str | int | float | None:
    """The first text, number or switch under `key`, however deep, the shallowest first."""
    waiting = [answer]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, dict):
            told = value.get(key)
            if isinstance(told, str | int | float):
                return told
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return None
