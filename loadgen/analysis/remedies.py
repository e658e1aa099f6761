"""THE two tables of what stops a server: in which words it is said, and which flag of which engine moves it.

Words and flags only; which limit it was is decided in `reasons.py`. Adding an engine is adding a column, adding a limit
a line. Flags are those of the engines' releases of autumn 2026 (docs/reasons.md).
"""

from enum import StrEnum


class Limit(StrEnum):
    """What may stop a server from serving more, told apart by evidence."""

    CLIENT = "LIMIT_CLIENT"
    ADMISSION = "LIMIT_ADMISSION"
    NETWORK = "LIMIT_NETWORK"
    HTTP = "LIMIT_HTTP"
    KV_CACHE = "LIMIT_KV_CACHE"
    SLOTS = "LIMIT_SLOTS"
    ENGINE = "LIMIT_ENGINE"
    PREFILL = "LIMIT_PREFILL"
    DECODE = "LIMIT_DECODE"
    UNKNOWN = "LIMIT_UNKNOWN"


# limit → (the reason, to stand after a colon; what it means). The numbers are put in by `reasons.py`.
WORDS: dict[Limit, tuple[str, str]] = {
    Limit.CLIENT: (
        "this client was the limit, not the server",
        "What was measured is what this machine could send and read. It says nothing about the server's capacity.",
    ),
    Limit.ADMISSION: (
        "the server refuses what it cannot take",
        (
            "A limit on the queue answers 429 or 503 instead of letting requests wait: latencies stay good and the "
            "refused requests are lost. What fills the queue is the limit behind it."
        ),
    ),
    Limit.NETWORK: (
        "the way to the server is the limit",
        (
            "Connecting takes longer than being answered, while the engine has room: a slow or lossy link, or a queue"
            " of connections that nobody accepts."
        ),
    ),
    Limit.HTTP: (
        "the front end is the limit, not the engine",
        (
            "Requests wait where the engine cannot see them while it has room: the API server, its tokenizer or a "
            "proxy in front of it is out of CPU or lets too few in."
        ),
    ),
    Limit.KV_CACHE: (
        "the KV cache is full",
        (
            "Each running sequence holds the keys and values of its tokens. When that memory ends, requests wait, or "
            "lose their place and are computed again."
        ),
    ),
    Limit.SLOTS: (
        "the decode batch is full",
        "The engine runs no more sequences at once than it was told; the others wait for a place.",
    ),
    Limit.ENGINE: (
        "the engine's own steps are the limit, not the GPU",
        (
            "A step takes many times what its FLOPs and bytes need, and the GPU is mostly idle or busy with kernels "
            "that do not suit: scheduling and sampling on the host, launches, or a batch taken in several passes."
        ),
    ),
    Limit.PREFILL: (
        "prompts take the GPU's computing power",
        "Reading prompts is limited by FLOP/s: a larger batch does not help, since each request brings its own prompt.",
    ),
    Limit.DECODE: (
        "decoding takes the GPU's memory bandwidth",
        (
            "Each output token reads the weights and its own KV cache from memory; more sequences at once would be "
            "read more slowly, each."
        ),
    ),
    Limit.UNKNOWN: (
        "completions stop growing with arrivals",
        "The server tells nothing of itself that would say why.",
    ),
}

ANY = ""  # an engine that is not in the table
# limit → engine → what to try
TRY: dict[Limit, dict[str, str]] = {
    Limit.CLIENT: {
        ANY: (
            "Run `loadgen calibrate` to see what this machine can do; give the client cores of its own, or another "
            "machine."
        )
    },
    Limit.ADMISSION: {
        ANY: "Raise the limit of the queue, at the price of longer waits, or add replicas.",
        "vllm": (
            "Raise --max-num-queued-reqs or --max-num-queued-tokens if waiting is better than refusing; else add "
            "replicas."
        ),
        "sglang": "Raise --max-queued-requests if waiting is better than refusing; else add replicas (--dp-size).",
        "simulator": "Raise --max-queue.",
    },
    Limit.NETWORK: {
        ANY: (
            "Run the client nearer to the server; look at the link's load and at `ss -lnt` on the server, where a "
            "Recv-Q as long as Send-Q is a full accept queue."
        )
    },
    Limit.HTTP: {
        ANY: (
            "Look at the CPU of the API server's process; start more of them, and raise what a proxy in front lets in."
        ),
        "vllm": (
            "Start more API servers (--api-server-count 4); several tokens an event cost less (--stream-interval 4)."
        ),
        "sglang": (
            "Start more tokenizers (--tokenizer-worker-num 4); several tokens an event cost less (--stream-interval 4)."
        ),
        "llama.cpp": "Give the HTTP layer threads (--threads-http 16).",
        "tensorrt-llm": "Give detokenization processes of its own (--num_postprocess_workers 4).",
        "deepspeed-mii": (
            "Its gateway lets in as many requests as it has processes; start more replicas (--replica-num)."
        ),
        "transformers": "Its HTTP layer and its model share one Python process: start several behind a load balancer.",
        "llama-cpp-python": "It serves one request at a time; llama.cpp's own server batches.",
        "simulator": "Lower --http-ms, or raise --gateway-limit.",
    },
    Limit.KV_CACHE: {
        ANY: (
            "Give the KV cache more memory, store it in 8 bits, shorten the context, or spread the model over more "
            "GPUs."
        ),
        "vllm": (
            "Raise --gpu-memory-utilization (0.95), store the cache in 8 bits (--kv-cache-dtype fp8), or spread the "
            "model (--tensor-parallel-size); when it preempts, a lower --max-num-seqs wastes less."
        ),
        "sglang": (
            "Raise --mem-fraction-static, store the cache in 8 bits (--kv-cache-dtype fp8_e5m2), or spread the model "
            "(--tp-size)."
        ),
        "llama.cpp": (
            "Raise -c (each of the -np slots gets its share), or store the cache in 8 bits (-ctk q8_0 -ctv q8_0)."
        ),
        "tensorrt-llm": (
            "Raise --free_gpu_memory_fraction (0.95), store the cache in 8 bits (kv_cache_config: {dtype: fp8}), or "
            "spread the model (--tp_size)."
        ),
        "transformers": "Raise --cb-max-memory-percent, or --cb-num-blocks.",
        "deepspeed-mii": "Spread the model over more GPUs (--tensor-parallel), or lower --max-length.",
        "simulator": "Raise --kv-cache-gib or --gpu-memory-utilization, or choose a larger --gpu.",
    },
    Limit.SLOTS: {
        ANY: "Let the engine run more sequences at once, if the KV cache has room; else add replicas.",
        "vllm": "Raise --max-num-seqs (now {cap}).",
        "sglang": "Raise --max-running-requests (now {cap}), and --cuda-graph-max-bs with it.",
        "llama.cpp": "Raise -np (now {cap}) and -c with it: the context is shared out among the slots.",
        "tensorrt-llm": "Raise --max_batch_size (now {cap}).",
        "transformers": "Start it with --continuous-batching; raise --cb-max-batch-tokens and --cb-num-blocks.",
        "deepspeed-mii": "Start more replicas (--replica-num): its batch has no flag.",
        "llama-cpp-python": "It serves one request at a time; llama.cpp's own server batches (-np).",
        "simulator": "Raise --max-num-seqs (now {cap}).",
    },
    Limit.PREFILL: {
        ANY: "Let prompts that begin alike be computed once (prefix caching), compute in 8 bits, or add GPUs.",
        "vllm": (
            "Keep prefix caching on (--enable-prefix-caching), compute in 8 bits (--quantization fp8), or add GPUs "
            "(--tensor-parallel-size, --data-parallel-size); --max-num-batched-tokens trades TTFT against ITL."
        ),
        "sglang": (
            "Keep the radix cache on (no --disable-radix-cache), compute in 8 bits (--quantization fp8), or add GPUs "
            "(--tp-size, --dp-size); --chunked-prefill-size trades TTFT against ITL."
        ),
        "llama.cpp": (
            "Keep the prompt cache on (no --no-cache-prompt), raise -ub, and let more layers run on the GPU (-ngl)."
        ),
        "tensorrt-llm": (
            "Turn block reuse on (kv_cache_config: {enable_block_reuse: true}), compute in 8 bits, or add GPUs "
            "(--tp_size); --max_num_tokens trades TTFT against ITL."
        ),
        "transformers": "Raise --cb-max-batch-tokens, or use an engine with prefix caching.",
        "simulator": "Choose a larger --gpu; --max-num-batched-tokens trades TTFT against ITL.",
    },
    Limit.ENGINE: {
        ANY: "Give the engine faster cores and CUDA graphs, or profile a step: gaps between kernels are the host's.",
        "vllm": "Leave CUDA graphs on (no --enforce-eager), keep --async-scheduling, and give it faster cores.",
        "sglang": "Leave CUDA graphs and the overlap scheduler on, and give it faster cores.",
        "llama.cpp": "Take one cache for all slots (--kv-unified), -fa on, and all layers on the GPU (-ngl 999).",
        "transformers": "Its continuous batching runs on the host, step by step: use a serving engine for speed.",
        "simulator": "Lower --host-overhead-us.",
    },
    Limit.DECODE: {
        ANY: "Quantise weights and KV cache, decode several tokens a step (speculative decoding), or add GPUs.",
        "vllm": (
            "Quantise (--quantization fp8, --kv-cache-dtype fp8), speculate (--speculative-config), or add GPUs "
            "(--tensor-parallel-size, --data-parallel-size)."
        ),
        "sglang": (
            "Quantise (--quantization fp8, --kv-cache-dtype fp8_e5m2), speculate (--speculative-algorithm), or add "
            "GPUs (--tp-size, --dp-size)."
        ),
        "llama.cpp": "Take a smaller quantisation of the model, -ctk q8_0 -ctv q8_0, -fa on, or a draft model (-md).",
        "tensorrt-llm": (
            "Quantise weights and KV cache to fp8, speculate (speculative_config), or add GPUs (--tp_size)."
        ),
        "simulator": "Choose a --gpu with more bandwidth.",
    },
    Limit.UNKNOWN: {
        ANY: "Let the server show its gauges, and name the GPU with --gpu: then the reason can be told.",
        "vllm": "Name the GPU with --gpu: then the reason can be told.",
        "sglang": "Name the GPU with --gpu: then the reason can be told.",
        "llama.cpp": "Name the GPU with --gpu: then the reason can be told.",
        "tensorrt-llm": "Set return_perf_metrics and enable_iter_perf_stats in its YAML, and name the GPU with --gpu.",
    },
}

# Other names under which an engine is known: what /v1/models says of itself, what people type.
ALIASES = {"llamacpp": "llama.cpp", "llama-cpp": "llama.cpp", "llama-server": "llama.cpp", "xllamacpp": "llama.cpp"}
ALIASES |= {"loadgen": "simulator", "trtllm": "tensorrt-llm", "tensorrt_llm": "tensorrt-llm", "mii": "deepspeed-mii"}
ALIASES |= {"deepspeed_mii": "deepspeed-mii", "hf": "transformers", "llama_cpp.server": "llama-cpp-python"}


def try_next(limit: Limit, engine: str | None, cap: str | None = None) -> str:
    """What to try with the engine at hand; `cap`: how many sequences run at once now, where that is known."""
    name = (engine or ANY).lower()
    texts = TRY[limit]
    text = texts.get(ALIASES.get(name, name), texts[ANY])
    return text.replace("{cap}", cap) if cap is not None else text.replace(" (now {cap})", "")
