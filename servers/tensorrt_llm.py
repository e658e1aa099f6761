"""TensorRT-LLM's OpenAI server, on its PyTorch backend.

    python servers/tensorrt_llm.py --model DIR --port 8000 --max-model-len 4096

The wheel is on NVIDIA's own index only. Written from its documentation and source: never run by us.
"""

from starting import Start, console_script, need_folder, read_words, start

words, rest = read_words(__doc__, "tensorrt_llm")


def fill_in() -> Start:
    need_folder(words.model, weights=not words.dummy_weights)
    return Start(
        "TensorRT-LLM",
        "tensorrt_llm",
        console_script("tensorrt-llm", "trtllm-serve"),
        ("tensorrt-llm", "tensorrt_llm"),
        ("1.2", "1.4"),
        "pip install tensorrt-llm from NVIDIA's index (PyPI holds a stub)",
        ["--backend", "pytorch", "--log_level", "warning"],
        max_num_seqs=256,
        # Without these two there is nothing to watch; its /metrics is no Prometheus, /prometheus/metrics is.
        config={"return_perf_metrics": True, "enable_iter_perf_stats": True},
    )


start(fill_in, words, rest)
