"""The command line of `python -m loadgen.simulator`, and the engine that it describes. Imports nothing heavy."""

import argparse
from pathlib import Path

from loadgen.errors import BadInputError
from loadgen.simulator.batching import Batch
from loadgen.simulator.engine import Engine, FixedEngine, SteppedEngine
from loadgen.simulator.kv_cache import BLOCK_TOKENS, BlockPool
from loadgen.simulator.presets import GIB, GPUS, MODELS, kv_cache_bytes
from loadgen.simulator.timing import StepTime
from loadgen.units import NS_PER_MS, NS_PER_US

_UNLIMITED_SEQS = 1_000_000  # a fixed timing lets requests meet only when asked to


class Options(argparse.Namespace):
    """The parsed command line, with its types."""

    host: str
    port: int
    model: str
    served_model_name: list[str] | None
    gpu: str
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    max_model_len: int | None
    kv_cache_gib: float | None
    kv_cache_tokens: int | None
    gpu_memory_utilization: float
    efficiency: float
    host_overhead_us: float
    ttft_ms: float | None
    itl_ms: float | None
    eos_probability: float
    max_queue: int | None
    seed: int
    api_key: str | None
    log: Path | None
    exit_with_stdin: bool

    @property
    def models(self) -> list[str]:
        """The names that clients may ask for; the first one is shown."""
        return self.served_model_name or [self.model]

    @property
    def is_fixed(self) -> bool:
        return self.ttft_ms is not None or self.itl_ms is not None


def parse_options(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m loadgen.simulator",
        description="An OpenAI-compatible LLM server of known timing: continuous batching, paged KV cache, no GPU.",
    )
    model = parser.add_argument_group("deployment")
    model.add_argument("--model", default="llama-2-7b", choices=sorted(MODELS))
    model.add_argument("--served-model-name", nargs="+", metavar="NAME", help="names in the API (default: the model)")
    model.add_argument("--gpu", default="l4", choices=sorted(GPUS))
    model.add_argument("--gpu-memory-utilization", type=_share, default=0.9, metavar="SHARE")
    model.add_argument("--kv-cache-gib", type=_positive, metavar="GIB", help="instead of what is left on the GPU")
    model.add_argument("--kv-cache-tokens", type=_count, metavar="N", help="the same, in tokens")
    model.add_argument("--max-model-len", type=_count, metavar="N", help="prompt and answer together")
    batching = parser.add_argument_group("batching")
    batching.add_argument("--max-num-seqs", type=_count, metavar="N", help="sequences in a batch (32)")
    batching.add_argument("--max-num-batched-tokens", type=_count, metavar="N", help="tokens in a step (2048)")
    batching.add_argument("--max-queue", type=int, metavar="N", help="answer 429 when N sequences wait (no limit)")
    timing = parser.add_argument_group("timing")
    timing.add_argument("--efficiency", type=_share, default=0.9, metavar="SHARE", help="of the GPU's limits (0.9)")
    timing.add_argument("--host-overhead-us", type=float, default=300, metavar="US", help="of every step (300)")
    timing.add_argument("--ttft-ms", type=_positive, metavar="MS", help="fixed timing instead of a model on a GPU")
    timing.add_argument("--itl-ms", type=_positive, metavar="MS", help="fixed timing: between tokens")
    timing.add_argument("--eos-probability", type=float, default=0, metavar="P", help="chance of a stop per token (0)")
    timing.add_argument("--seed", type=int, default=0)
    server = parser.add_argument_group("server")
    server.add_argument("--host", default="127.0.0.1")
    server.add_argument("--port", type=int, default=0, help="0 = a free one (default)")
    server.add_argument("--api-key", metavar="KEY")
    server.add_argument("--log", type=Path, metavar="FILE", help="JSONL: the true times of every request")
    server.add_argument("--exit-with-stdin", action="store_true", help="end when stdin does")
    return parser.parse_args(arguments, namespace=Options())


def build_engine(options: Options) -> tuple[Engine, int, int]:
    """The engine, its max_num_seqs and its max_model_len. Raises BadInputError."""
    model = MODELS[options.model]
    if options.is_fixed:
        max_num_seqs = options.max_num_seqs or _UNLIMITED_SEQS
        ttft_ns = round((20 if options.ttft_ms is None else options.ttft_ms) * NS_PER_MS)
        itl_ns = round((10 if options.itl_ms is None else options.itl_ms) * NS_PER_MS)
        engine = FixedEngine(ttft_ns, itl_ns, max_num_seqs, options.max_queue)
        return engine, max_num_seqs, options.max_model_len or model.context
    max_num_seqs = options.max_num_seqs or 32
    max_num_batched_tokens = options.max_num_batched_tokens or max(2048, max_num_seqs)
    if max_num_batched_tokens < max_num_seqs:
        raise BadInputError(
            f"--max-num-batched-tokens {max_num_batched_tokens} is less than --max-num-seqs {max_num_seqs}.",
            "A step needs room for one token of every running sequence.",
        )
    pool = BlockPool(_kv_blocks(options))
    kv_tokens = pool.blocks * BLOCK_TOKENS
    max_model_len = options.max_model_len or min(model.context, kv_tokens)
    if max_model_len > kv_tokens:
        raise BadInputError(
            f"A sequence of {max_model_len} tokens does not fit in a KV cache of {kv_tokens} tokens.",
            "Lower --max-model-len, or give more with --gpu-memory-utilization, --kv-cache-gib or another --gpu.",
        )
    batch = Batch(pool, max_num_seqs, max_num_batched_tokens, options.max_queue)
    host_overhead_ns = round(options.host_overhead_us * NS_PER_US)
    step_time = StepTime(model, GPUS[options.gpu], options.efficiency, host_overhead_ns)
    return SteppedEngine(batch, step_time), max_num_seqs, max_model_len


def _kv_blocks(options: Options) -> int:
    model = MODELS[options.model]
    if options.kv_cache_tokens is not None:
        blocks = options.kv_cache_tokens // BLOCK_TOKENS
    elif options.kv_cache_gib is not None:
        blocks = int(options.kv_cache_gib * GIB) // (model.kv_bytes_per_token * BLOCK_TOKENS)
    else:
        left = kv_cache_bytes(model, GPUS[options.gpu], options.gpu_memory_utilization)
        blocks = left // (model.kv_bytes_per_token * BLOCK_TOKENS)
    if blocks < 1:
        raise BadInputError(
            f"{options.model} leaves no room for a KV cache on {options.gpu}.",
            "Choose a larger --gpu, a smaller --model, or set --kv-cache-gib.",
        )
    return blocks


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0 and at most 1")
    return value
