"""THE table of the engines: one vocabulary for what matters, and how each engine spells it.

Read by the scripts beside it, each of which starts one engine: `python servers/vllm.py --model DIR --port 8000`. A word
is spelled as vLLM spells it; what is no word of ours goes to the engine as it is. Standard library only, Python 3.9 on,
and nothing of the engine is imported: a script runs in the engine's own environment, which need not hold loadgen.
"""

from __future__ import annotations

# The words, in the order of `--help`: (flag, metavar or None for a switch, what it means)
WORDS = {
    "model": ("--model", "PATH", "a folder as Hugging Face has them, or its name there; for llama.cpp a .gguf"),
    "served_model_name": ("--served-model-name", "NAME", "what requests call it"),
    "host": ("--host", "ADDRESS", "127.0.0.1"),
    "port": ("--port", "N", "8000"),
    "device": ("--device", "cuda|cpu", "cuda where nvidia-smi is found"),
    "tensor_parallel_size": ("--tensor-parallel-size", "N", "GPUs that share each matrix (1)"),
    "max_model_len": ("--max-model-len", "N", "tokens of a request, prompt and answer together"),
    "max_num_seqs": ("--max-num-seqs", "N", "requests worked on at once: the concurrency cap"),
    "max_num_batched_tokens": ("--max-num-batched-tokens", "N", "tokens computed in one step"),
    "gpu_memory_utilization": ("--gpu-memory-utilization", "SHARE", "of the GPU's memory, for weights and KV cache"),
    "dtype": ("--dtype", "TYPE", "bfloat16, float16, float32, auto"),
    "prefix_caching": (
        "--enable-prefix-caching",
        None,
        "reuse the KV cache of a prompt seen before; --no-… turns it off",
    ),
    "chunked_prefill": ("--enable-chunked-prefill", None, "long prompts in pieces beside decodes; --no-… turns it off"),
    "dummy_weights": ("--dummy-weights", None, "random weights: only config and tokenizer are read"),
}
SWITCHES = ("prefix_caching", "chunked_prefill")  # (on, off) in the table; the others are said or not said

# Engine → word → its flags ("{}" is the value); None: it has no such flag. A pair is (on, off) of a switch. "" means that
# the engine does so without being told. Where each row was read or tried: docs/engines.md.
FLAGS = {
    "vllm": {  # vllm serve, 0.20 to 0.33
        "model": "--model {}",
        "served_model_name": "--served-model-name {}",
        "host": "--host {}",
        "port": "--port {}",
        "device": "",
        "tensor_parallel_size": "--tensor-parallel-size {}",
        "max_model_len": "--max-model-len {}",
        "max_num_seqs": "--max-num-seqs {}",
        "max_num_batched_tokens": "--max-num-batched-tokens {}",
        "gpu_memory_utilization": "--gpu-memory-utilization {}",
        "dtype": "--dtype {}",
        "prefix_caching": ("--enable-prefix-caching", "--no-enable-prefix-caching"),
        "chunked_prefill": ("--enable-chunked-prefill", "--no-enable-chunked-prefill"),
        "dummy_weights": "--load-format dummy",
    },
    "sglang": {  # sglang.launch_server, 0.5.11 to 0.5.23
        "model": "--model-path {}",
        "served_model_name": "--served-model-name {}",
        "host": "--host {}",
        "port": "--port {}",
        "device": "--device {}",
        "tensor_parallel_size": "--tp-size {}",
        "max_model_len": "--context-length {}",
        "max_num_seqs": "--max-running-requests {}",
        "max_num_batched_tokens": "--chunked-prefill-size {}",
        "gpu_memory_utilization": "--mem-fraction-static {}",
        "dtype": "--dtype {}",
        "prefix_caching": ("", "--disable-radix-cache"),
        "chunked_prefill": ("", "--chunked-prefill-size -1"),
        "dummy_weights": "--load-format dummy",
    },
    "tensorrt_llm": {  # trtllm-serve, 1.2; a word that begins with "config:" goes to its YAML file
        "model": "{}",
        "served_model_name": None,  # the folder's own name
        "host": "--host {}",
        "port": "--port {}",
        "device": "",
        "tensor_parallel_size": "--tp_size {}",
        "max_model_len": "--max_seq_len {}",
        "max_num_seqs": "--max_batch_size {}",
        "max_num_batched_tokens": "--max_num_tokens {}",
        "gpu_memory_utilization": "--free_gpu_memory_fraction {}",
        "dtype": "config:dtype={}",
        "prefix_caching": (
            "config:kv_cache_config.enable_block_reuse=true",
            "config:kv_cache_config.enable_block_reuse=false",
        ),
        "chunked_prefill": ("--enable_chunked_prefill", ""),
        "dummy_weights": "config:load_format=dummy",
    },
    "deepspeed_mii": {  # mii.entrypoints.openai_api_server, 0.3.3
        "model": "--model {}",
        "served_model_name": None,  # the text given as model
        "host": "--host {}",
        "port": "--port {}",
        "device": "",
        "tensor_parallel_size": "--tensor-parallel {}",
        "max_model_len": "--max-length {}",
        "max_num_seqs": None,
        "max_num_batched_tokens": None,
        "gpu_memory_utilization": None,
        "dtype": None,
        "prefix_caching": (None, ""),
        "chunked_prefill": ("", None),  # Dynamic SplitFuse is always on
        "dummy_weights": None,
    },
    "transformers": {  # transformers serve, 5.17 to 5.23
        "model": "{}",
        "served_model_name": None,  # the text given as model
        "host": "--host {}",
        "port": "--port {}",
        "device": "--device {}",
        "tensor_parallel_size": None,
        "max_model_len": "",  # the model's own
        "max_num_seqs": None,
        "max_num_batched_tokens": "--cb-max-batch-tokens {}",
        "gpu_memory_utilization": "--cb-max-memory-percent {}",
        "dtype": "--dtype {}",
        "prefix_caching": (None, ""),
        "chunked_prefill": ("", None),
        "dummy_weights": None,
    },
    "llama-server": {  # llama.cpp's own server
        "model": "-m {}",
        "served_model_name": "-a {}",
        "host": "--host {}",
        "port": "--port {}",
        "device": "",  # -ngl, see llama_cpp.py
        "tensor_parallel_size": None,  # -ts with --split-mode: pass them as they are
        "max_model_len": "-c {}",  # times the slots: the script multiplies
        "max_num_seqs": "-np {}",
        "max_num_batched_tokens": "-b {}",
        "gpu_memory_utilization": None,
        "dtype": None,  # the file's own
        "prefix_caching": ("--cache-prompt", "--no-cache-prompt --cache-ram 0"),
        "chunked_prefill": ("", None),
        "dummy_weights": None,
    },
    "xllamacpp": {  # the same server out of a wheel, by xllamacpp_server.py
        "model": "--model {}",
        "served_model_name": "--alias {}",
        "host": "--host {}",
        "port": "--port {}",
        "device": "",
        "tensor_parallel_size": None,
        "max_model_len": "--context {}",  # times the slots, too
        "max_num_seqs": "--slots {}",
        "max_num_batched_tokens": "--batch {}",
        "gpu_memory_utilization": None,
        "dtype": None,
        "prefix_caching": ("--cache-prompt", ""),
        "chunked_prefill": ("", None),
        "dummy_weights": None,
    },
    "llama_cpp.server": {  # the package llama-cpp-python, 0.3.36: one request at a time
        "model": "--model {}",
        "served_model_name": "--model_alias {}",
        "host": "--host {}",
        "port": "--port {}",
        "device": "",
        "tensor_parallel_size": None,
        "max_model_len": "--n_ctx {}",
        "max_num_seqs": None,
        "max_num_batched_tokens": "--n_batch {}",
        "gpu_memory_utilization": None,
        "dtype": None,
        "prefix_caching": ("--cache True", ""),
        "chunked_prefill": ("", None),
        "dummy_weights": None,
    },
}
