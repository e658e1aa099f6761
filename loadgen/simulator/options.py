"""The command line of `python -m loadgen.simulator`, and the engine that it describes. Imports nothing heavy."""

import argparse
from pathlib import Path

from loadgen.errors import BadInputError
from loadgen.parser import Parser
from loadgen.simulator.batching import Batch
from loadgen.simulator.deployment import GIB, find_card, find_model, kv_cache_bytes, kv_tokens
from loadgen.simulator.engine import Engine, FixedEngine, SteppedEngine
from loadgen.simulator.gateway import Gateway
from loadgen.simulator.kv_cache import BLOCK_TOKENS, STRATEGIES, BlockPool
from loadgen.simulator.policies import POLICIES
from loadgen.simulator.prefix_cache import PrefixCache
from loadgen.simulator.styles import STYLES
from loadgen.simulator.timing import Costs, StepTime, gpu_costs
from loadgen.units import NS_PER_MS, NS_PER_US

_UNLIMITED_SEQS = 1_000_000  # a fixed timing lets requests meet only when asked to
_LISTEN_QUEUE = 128  # what a gateway lets wait, unless --max-queue says otherwise


class Options(argparse.Namespace):
    """The parsed command line, with its types."""

    host: str
    port: int
    model: str
    served_model_name: list[str] | None
    gpu: str
    batching: str
    kv: str | None
    gateway_limit: int | None
    http_ms: float
    connect_ms: float
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    max_model_len: int | None
    kv_cache_gib: float | None
    kv_cache_tokens: int | None
    prefix_cache: bool
    gpu_memory_utilization: float
    efficiency: float | None
    compute_efficiency: float | None
    memory_efficiency: float | None
    kernel_us: float | None
    host_overhead_us: float
    host_overhead_per_seq_us: float
    ttft_ms: float | None
    itl_ms: float | None
    eos_probability: float
    max_queue: int | None
    seed: int
    style: str | None
    stream_interval: int
    sse_ping_interval: float | None
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
    """Raises BadInputError; `--help` prints and exits as argparse does."""
    return simulator_parser().parse_args(arguments, namespace=Options())


def simulator_parser() -> Parser:
    """Its options, also for docs/cli.md."""
    parser = Parser(
        prog="loadgen serve simulator",
        description="An OpenAI-compatible LLM server of known timing: continuous batching, paged KV cache, no GPU.",
    )
    model = parser.add_argument_group("deployment")
    model.add_argument("--model", default="llama-2-7b", metavar="NAME", help="any that `loadgen roofline` knows")
    model.add_argument("--served-model-name", nargs="+", metavar="NAME", help="names in the API (default: the model)")
    model.add_argument("--gpu", default="l4", metavar="NAME", help="the same (l4)")
    model.add_argument("--gpu-memory-utilization", type=_share, default=0.9, metavar="SHARE")
    model.add_argument("--kv-cache-gib", type=_positive, metavar="GIB", help="instead of what is left on the GPU")
    model.add_argument("--kv-cache-tokens", type=_count, metavar="N", help="the same, in tokens")
    model.add_argument("--max-model-len", type=_count, metavar="N", help="prompt and answer together")
    batching = parser.add_argument_group("batching")
    batching.add_argument("--batching", default="chunked", choices=POLICIES, help="who computes what, when (chunked)")
    batching.add_argument("--kv", choices=STRATEGIES, help="blocks of 16 or 64 tokens, or all that a sequence may need")
    batching.add_argument(
        "--prefix-cache", action="store_true", help="compute what prompts share once (off; fixed timing: only count it)"
    )
    batching.add_argument("--max-num-seqs", type=_count, metavar="N", help="sequences in a batch (32 when chunked)")
    batching.add_argument("--max-num-batched-tokens", type=_count, metavar="N", help="tokens in a step (2048 likewise)")
    batching.add_argument(
        "--max-queue", type=_count_or_none, metavar="N", help="answer 429 when N sequences wait (no limit)"
    )
    batching.add_argument(
        "--gateway-limit", type=_count, metavar="N", help="the front end lets N requests in at a time"
    )
    batching.add_argument(
        "--http-ms", type=_not_negative, default=0, metavar="MS", help="of a front end that takes one by one (0)"
    )
    batching.add_argument(
        "--connect-ms", type=_not_negative, default=0, metavar="MS", help="between two connections that are let in (0)"
    )
    timing = parser.add_argument_group("timing")
    timing.add_argument("--efficiency", type=_share, metavar="SHARE", help="of both of the GPU's limits, instead of:")
    timing.add_argument("--compute-efficiency", type=_share, metavar="SHARE", help="of FLOP/s (as measured, or 0.9)")
    timing.add_argument("--memory-efficiency", type=_share, metavar="SHARE", help="of bandwidth (likewise)")
    timing.add_argument("--kernel-us", type=float, metavar="US", help="latency of every kernel (as measured, or 0)")
    timing.add_argument("--host-overhead-us", type=float, default=300, metavar="US", help="of every step (300)")
    timing.add_argument(
        "--host-overhead-per-seq-us", type=float, default=0, metavar="US", help="of each sequence in it (0)"
    )
    timing.add_argument("--ttft-ms", type=_positive, metavar="MS", help="fixed timing instead of a model on a GPU")
    timing.add_argument("--itl-ms", type=_positive, metavar="MS", help="fixed timing: between tokens")
    timing.add_argument(
        "--eos-probability", type=_probability, default=0, metavar="P", help="chance of a stop per token (0)"
    )
    timing.add_argument("--seed", type=int, default=0)
    server = parser.add_argument_group("server")
    server.add_argument("--host", default="127.0.0.1")
    server.add_argument("--port", type=_port, default=0, help="0 = a free one (default)")
    server.add_argument("--style", choices=STYLES, help="whose dialect to speak (vllm, as loadgen's own)")
    server.add_argument("--stream-interval", type=_count, default=1, metavar="N", help="tokens that share an event (1)")
    server.add_argument(
        "--sse-ping-interval", type=float, metavar="S", help="between two comments (the style's; 0: none)"
    )
    server.add_argument("--api-key", metavar="KEY")
    server.add_argument("--log", type=Path, metavar="FILE", help="JSONL: the true times of every request")
    server.add_argument("--exit-with-stdin", action="store_true", help="end when stdin does")
    return parser


def build_engine(options: Options) -> tuple[Engine, int, int]:
    """The engine, its max_num_seqs and its max_model_len. Raises BadInputError."""
    build = _build_fixed if options.is_fixed else _build_stepped
    engine, max_num_seqs, max_model_len = build(options)
    if options.gateway_limit is not None:
        queue = _LISTEN_QUEUE if options.max_queue is None else options.max_queue
        engine = Gateway(engine, options.gateway_limit, queue)
    return engine, max_num_seqs, max_model_len


def _build_fixed(options: Options) -> tuple[Engine, int, int]:
    max_num_seqs = options.max_num_seqs or _UNLIMITED_SEQS
    ttft_ns = round((20 if options.ttft_ms is None else options.ttft_ms) * NS_PER_MS)
    itl_ns = round((10 if options.itl_ms is None else options.itl_ms) * NS_PER_MS)
    cache = None
    if options.prefix_cache:  # without a model there is no KV cache to bound it, unless one is named
        cache = PrefixCache(None if options.kv_cache_tokens is None else _kv_tokens(options) // BLOCK_TOKENS)
    engine = FixedEngine(ttft_ns, itl_ns, max_num_seqs, options.max_queue, cache)
    return engine, max_num_seqs, options.max_model_len or find_model(options.model)[1]


def _build_stepped(options: Options) -> tuple[Engine, int, int]:
    model, context = find_model(options.model)
    policy = POLICIES[options.batching]
    max_num_seqs = options.max_num_seqs or policy.max_num_seqs
    budget = options.max_num_batched_tokens or max(policy.max_num_batched_tokens, max_num_seqs)
    if budget < max_num_seqs:
        raise BadInputError(
            f"--max-num-batched-tokens {budget} is less than --max-num-seqs {max_num_seqs}.",
            "A step needs room for one token of every running sequence.",
        )
    tokens = _kv_tokens(options)
    max_model_len = options.max_model_len or min(context, tokens)
    block_tokens = STRATEGIES[options.kv or policy.kv] or max_model_len
    blocks = tokens // block_tokens
    if blocks < 1 or max_model_len > blocks * block_tokens:
        raise BadInputError(
            f"A sequence of {max_model_len} tokens does not fit in a KV cache of {tokens} tokens.",
            "Lower --max-model-len, or give more with --gpu-memory-utilization, --kv-cache-gib or another --gpu.",
        )
    if options.prefix_cache and not policy.reuses:
        raise BadInputError(
            f"--batching {policy.name} pads prompts to one length: it has no prefix cache.",
            "Leave --prefix-cache away, or choose --batching chunked.",
        )
    cache = PrefixCache(tokens // BLOCK_TOKENS) if options.prefix_cache else None
    batch = Batch(BlockPool(blocks, block_tokens), policy, max_num_seqs, budget, options.max_queue, cache)
    step_time = StepTime(model, find_card(options.gpu), _costs(options))
    return SteppedEngine(batch, step_time), max_num_seqs, max_model_len


def _costs(options: Options) -> Costs:
    known = gpu_costs(find_card(options.gpu))
    return Costs(
        options.compute_efficiency or options.efficiency or known.compute_efficiency,
        options.memory_efficiency or options.efficiency or known.memory_efficiency,
        known.kernel_ns if options.kernel_us is None else options.kernel_us * NS_PER_US,
        options.host_overhead_us * NS_PER_US,
        options.host_overhead_per_seq_us * NS_PER_US,
    )


def _kv_tokens(options: Options) -> int:
    """The size of the cache in tokens, in whole blocks of 16."""
    model, _ = find_model(options.model)
    if options.kv_cache_tokens is not None:
        tokens = options.kv_cache_tokens
    elif options.kv_cache_gib is not None:
        tokens = kv_tokens(model, int(options.kv_cache_gib * GIB))
    else:
        tokens = kv_tokens(model, kv_cache_bytes(model, find_card(options.gpu), options.gpu_memory_utilization))
    tokens -= tokens % 16
    if tokens < 1:
        raise BadInputError(
            f"{options.model} leaves no room for a KV cache on {options.gpu}.",
            "Choose a larger --gpu, a smaller --model, or set --kv-cache-gib.",
        )
    return tokens


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number") from None


def _count(text: str) -> int:
    value = _whole(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _count_or_none(text: str) -> int:
    value = _whole(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return value


def _probability(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


def _port(text: str) -> int:
    value = _whole(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 65535")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return value


def _not_negative(text: str) -> float:
    value = _number(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0 and at most 1")
    return value
