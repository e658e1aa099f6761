"""One simulated deployment under one load, in virtual time: what examples/paper.py does a few thousand times.

Four ways to load and measure the same server. `steady`: Poisson arrivals for a fixed time, the first 30 % cut, every
request followed to its end, throughput counted in the window. `round`: the paper's own way, 1000 requests in file order
of which those sent as 101st to 900th count; throughput is their tokens over the time from the first one's arrival to
the last one's end. `offline`: a whole file at once, tokens over the time to the last end. `full`: everything at once,
throughput while the middle half of the tokens comes. Figures in, figures out; no file is written and no clock read.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from loadgen.schedule.draw import draw_plan
from loadgen.simulator.batching import Batch
from loadgen.simulator.deployment import find_card, find_model, kv_cache_bytes, kv_tokens
from loadgen.simulator.engine import Engine, SteppedEngine
from loadgen.simulator.gateway import Gateway
from loadgen.simulator.kv_cache import STRATEGIES, BlockPool
from loadgen.simulator.policies import POLICIES
from loadgen.simulator.sequence import Sequence
from loadgen.simulator.timing import Costs, StepTime, gpu_costs
from loadgen.simulator.virtual import drive
from loadgen.units import NS_PER_MS, NS_PER_S, NS_PER_US
from loadgen.workload.files import read_table
from loadgen.workload.lengths import load_lengths

TRACES = Path(__file__).parents[1] / "traces"
WARM_SHARE = 0.3  # of a steady run, cut
ROUND_REQUESTS, ROUND_FIRST, ROUND_LAST = 1000, 100, 899
FULL_REQUESTS = 2048
S16K_ANSWER = 4000  # of a served S-16k: what the context of Llama-2 holds; offline it is the file's 16,000
WATCH_EVERY = 16  # steps between two looks at the batch
DURATION_S = {"s2s": 40, "s2l": 500, "l2s": 150, "s16k": 2000}  # of a steady run: many times an answer's
LENGTHS_S = 300  # the same for drawn lengths


@dataclass(frozen=True, slots=True)
class Case:
    """A deployment and a load. `dataset` is a name, or PROMPTxANSWER: prompts of one length, answers around one.

    0 stands for the policy's own budget, and for no gateway. The host's 25 µs a sequence are what was fitted to vLLM
    on an A100 (paper_calibration.py).
    """

    policy: str
    dataset: str
    rate: float
    measure: str = "steady"
    model: str = "llama-2-7b"
    gpu: str = "a800"
    kv: str = "paged"
    max_num_seqs: int = 256
    budget: int = 0
    gateway: int = 0
    host_us: float = 0.0
    host_sequence_us: float = 25.0


@lru_cache(maxsize=32)
def _step_time(model: str, gpu: str, host_us: float, host_sequence_us: float) -> StepTime:
    card = find_card(gpu)
    known = gpu_costs(card)
    kernels = (known.compute_efficiency, known.memory_efficiency, known.kernel_ns)
    return StepTime(find_model(model)[0], card, Costs(*kernels, host_us * NS_PER_US, host_sequence_us * NS_PER_US))


def build(case: Case) -> tuple[Engine, Batch]:
    """The engine as it would be driven, and the batch inside it to look at."""
    policy = POLICIES[case.policy]
    model, context = find_model(case.model)
    tokens = kv_tokens(model, kv_cache_bytes(model, find_card(case.gpu), 0.9))
    block_tokens = STRATEGIES[case.kv] or context
    budget = case.budget or max(policy.max_num_batched_tokens, case.max_num_seqs)
    batch = Batch(BlockPool(tokens // block_tokens, block_tokens), policy, case.max_num_seqs, budget)
    engine: Engine = SteppedEngine(batch, _step_time(case.model, case.gpu, case.host_us, case.host_sequence_us))
    return (Gateway(engine, case.gateway) if case.gateway else engine), batch


def _lengths(case: Case, n: int, seed: int) -> tuple[Any, Any, Any, tuple[str, ...]]:
    """In file order for what the paper did, else drawn."""
    if "x" in case.dataset:
        prompt, answer = (int(text) for text in case.dataset.split("x"))
        answers = f"uniform:{answer // 2}-{answer * 3 // 2}"
        drawn = load_lengths("random", n=n, seed=seed, input_len=str(prompt), output_len=answers)
        inputs, outputs = drawn.input_tokens, drawn.output_tokens
    elif case.measure in ("round", "offline"):
        rows = read_table(TRACES / f"{case.dataset}.csv")
        inputs = np.array([rows[k % len(rows)].input_tokens for k in range(n)])
        outputs = np.array([rows[k % len(rows)].output_tokens for k in range(n)])
    else:
        drawn = load_lengths(case.dataset, n=n, seed=seed)
        inputs, outputs = drawn.input_tokens, drawn.output_tokens
    if case.dataset == "s16k" and case.measure != "offline":
        outputs = np.minimum(outputs, S16K_ANSWER)
    return inputs, outputs, np.zeros(n, np.int64), (case.dataset,)


def _count(case: Case) -> int:
    """Requests of a load that is given by their number; 0 for one that is given by its duration."""
    if case.measure == "offline":
        return len(read_table(TRACES / f"{case.dataset}.csv"))
    return {"round": ROUND_REQUESTS, "full": FULL_REQUESTS}.get(case.measure, 0)


def simulate(case: Case, seed: int) -> dict[str, float]:
    """The figures of one run: throughput in output tokens/s, times in ms, the rest as means over the measured time."""
    count, duration_s = _count(case), DURATION_S.get(case.dataset, LENGTHS_S)
    rate = case.rate if case.measure in ("steady", "round") else float("inf")
    extent = {"count": count} if count else {"duration_ns": duration_s * NS_PER_S}
    plan = draw_plan(lengths=lambda n: _lengths(case, n, seed), rate=rate, seed=seed, **extent)
    begin_ns, end_ns = int(WARM_SHARE * duration_s * NS_PER_S), duration_s * NS_PER_S
    engine, batch = build(case)
    seen: dict[str, list[float]] = {"running": [], "kv_usage": [], "fragmentation": []}
    steps: list[tuple[int, int]] = []

    def watch(due_ns: int, emitted: list[Sequence]) -> None:
        steps.append((due_ns, len(emitted)))
        if len(steps) % WATCH_EVERY == 0 and (count or begin_ns <= due_ns < end_ns):
            seen["running"].append(batch.running)
            seen["kv_usage"].append(batch.pool.usage)
            seen["fragmentation"].append(batch.fragmentation)

    columns = (plan.due_ns.tolist(), plan.input_tokens.tolist(), plan.output_tokens.tolist())
    sequences = [Sequence(*row) for row in zip(*columns, strict=True)]
    drive(engine, sequences, watch)
    due_ns, ends_ns = plan.due_ns, np.array([sequence.end_ns for sequence in sequences])
    ttft_ns = np.array([sequence.first_ns for sequence in sequences]) - due_ns
    at_ns, tokens = np.array(steps).T
    kept = slice(0, None)
    if case.measure == "round":
        kept = slice(ROUND_FIRST, ROUND_LAST + 1)
        emitted, total_ns = plan.output_tokens[kept].sum(), ends_ns[ROUND_LAST] - due_ns[ROUND_FIRST]
    elif case.measure == "offline":
        emitted, total_ns = plan.output_tokens.sum(), ends_ns.max()
    elif case.measure == "full":
        first, last = np.searchsorted(tokens.cumsum(), [tokens.sum() / 4, tokens.sum() * 3 / 4])
        emitted, total_ns = tokens[first + 1 : last + 1].sum(), at_ns[last] - at_ns[first]
    else:
        kept = slice(int(np.searchsorted(due_ns, begin_ns)), None)
        emitted, total_ns = tokens[(begin_ns <= at_ns) & (at_ns < end_ns)].sum(), end_ns - begin_ns
    return {
        "tokens_per_s": float(emitted / total_ns * NS_PER_S),
        "latency_ms": float((ends_ns - due_ns)[kept].mean() / NS_PER_MS),
        "ttft_p99_ms": float(np.quantile(ttft_ns[kept], 0.99) / NS_PER_MS),
        "preemptions": float(batch.preemptions),
        **{name: float(np.mean(values or [0])) for name, values in seen.items()},
    }
