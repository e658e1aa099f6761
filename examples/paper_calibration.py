"""Fits what the simulator's step time needs to know to published measurements, and says how well that goes.

    python examples/paper_calibration.py            (writes docs/results/paper/calibration.json)

Two fits, apart because they answer different questions. Kernels: the efficiencies of the two regimes and the latency of
a kernel, from medians of single kernels (Vidur's profiles of Llama-2-7B, CUDA events). Host: what an engine adds to
every step and to every sequence in it, from latencies of whole batches (LLM-Inference-Bench, in = out = L, all at
once), given the kernels. Only published figures go in; nothing is measured here.
"""

import itertools
import json
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from loadgen.roofline.gpus import find_gpu
from loadgen.roofline.operations import OPERATIONS
from loadgen.roofline.step import prefill, symbols
from loadgen.roofline.transformer import find_transformer
from loadgen.simulator.batching import Batch, Step
from loadgen.simulator.deployment import kv_cache_bytes, kv_tokens
from loadgen.simulator.engine import SteppedEngine
from loadgen.simulator.kv_cache import STRATEGIES, BlockPool
from loadgen.simulator.policies import POLICIES
from loadgen.simulator.sequence import Sequence
from loadgen.simulator.timing import StepTime, gpu_costs
from loadgen.simulator.virtual import drive

MODEL = find_transformer("llama-2-7b")
RESULTS = Path(__file__).parents[1] / "docs" / "results" / "paper" / "calibration.json"

# Medians in µs of one layer's kernels, tensor parallel 1, fp16; Vidur's profiling data, 1 µs resolution.
KERNELS = ("qkv", "rope", "out", "gate & up", "swish & multiply", "down", "norm (mlp)", "add (mlp)")
TIMES_A_LAYER = (1, 1, 1, 1, 1, 1, 2, 2)
MEDIANS = {
    "A100-80G": {
        1: (65, 5, 25, 116, 7, 60, 5, 2),
        8: (63, 5, 25, 111, 8, 61, 4, 2),
        32: (66, 6, 27, 115, 8, 65, 4, 2),
        128: (74.5, 7, 32, 157, 11, 88, 5, 3),
        512: (234, 22, 88, 402, 36.5, 229, 12, 7),
        2048: (979.5, 76, 301, 1693, 135, 850, 53, 28),
    },
    "H100-SXM": {
        1: (38, 4, 16, 64, 6, 38, 4, 1),
        8: (36, 4, 16, 64, 7, 36, 4, 1),
        128: (41, 4, 20, 71, 5, 48, 4, 2),
        512: (90, 11, 29, 134, 17, 75.5, 7, 4),
        2048: (280, 41, 94, 493, 70, 213, 25, 15),
    },
}
# Latency in s of b prompts of L tokens answered with L tokens each; LLM-Inference-Bench, Llama-2-7B, one GPU. Its A100
# rows behave like the 40 GB part.
SHAPES = ((128, 1), (128, 16), (128, 64), (512, 16), (1024, 1), (1024, 16), (1024, 64), (2048, 32))
LATENCIES = {
    ("H100-SXM", "vLLM", "continuous"): (0.933, 1.135, 1.845, 5.446, 7.839, 13.169, 32.641, 59.132),
    ("A100-40G", "vLLM", "continuous"): (1.653, 2.013, 3.330, 10.015, 13.977, 25.051, 88.276, 165.244),
    ("H100-SXM", "TensorRT-LLM", "inflight"): (0.844, 0.989, 1.372, 4.775, 7.188, 11.633, 32.587, 62.461),
    ("A100-40G", "TensorRT-LLM", "inflight"): (1.515, 1.808, 2.679, 9.068, 12.791, 22.856, 90.720, 176.408),
    ("A100-40G", "DeepSpeed-MII", "splitfuse"): (2.728, 2.592, 3.847, 10.859, 15.762, 26.024, 90.922, 147.744),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One kernel at one number of tokens: its floors and its median, µs, and its share of the layer's time."""

    tokens: int
    times: int
    compute_us: float
    memory_us: float
    median_us: float
    share: float

    def predict(self, compute: float, memory: float, kernel_us: float) -> float:
        return max(self.compute_us / compute, self.memory_us / memory) + kernel_us


def cells(gpu_name: str) -> list[Cell]:
    gpu, letters = find_gpu(gpu_name), symbols(MODEL, prefill(1, 1))
    table = {operation.name: operation for operation in OPERATIONS}
    found = []
    for tokens, medians in MEDIANS[gpu_name].items():
        x = replace(letters, t=tokens, r=tokens)
        layer_us = sum(times * median for times, median in zip(TIMES_A_LAYER, medians, strict=True))
        for name, times, median in zip(KERNELS, TIMES_A_LAYER, medians, strict=True):
            operation = table[name]
            moved = operation.weights(x) + operation.read(x) + operation.written(x)
            compute_us = operation.flops(x) / gpu.bf16.value / 1e6
            memory_us = moved / gpu.bandwidth.value / 1e3
            found.append(Cell(tokens, times, compute_us, memory_us, median, times * median / layer_us))
    return found


def fit_kernels(gpu_name: str) -> dict:
    """The grid point with the least squared log error, each kernel weighted by its share of the layer's time."""
    known = cells(gpu_name)

    def loss(point: tuple[float, float, float]) -> float:
        return sum(cell.share * math.log(cell.predict(*point) / cell.median_us) ** 2 for cell in known)

    shares = [round(0.55 + 0.01 * k, 2) for k in range(45)]
    best = min(itertools.product(shares, shares, [0.5 + 0.25 * k for k in range(30)]), key=loss)
    layers = {}
    for tokens in MEDIANS[gpu_name]:
        row = [cell for cell in known if cell.tokens == tokens]
        measured = sum(cell.times * cell.median_us for cell in row)
        layers[tokens] = sum(cell.times * cell.predict(*best) for cell in row) / measured - 1
    rms = math.sqrt(sum(math.log1p(error) ** 2 for error in layers.values()) / len(layers))
    single = math.sqrt(loss(best) / len(MEDIANS[gpu_name]))
    return {
        "compute_efficiency": best[0],
        "memory_efficiency": best[1],
        "kernel_us": best[2],
        "layer_error": layers,
        "layer_error_rms": rms,
        "kernel_error_rms": single,
    }


def run_batch(gpu_name: str, policy: str, length: int, batch: int) -> tuple[float, int, int]:
    """Seconds without a host, steps, and sequences in all steps, of `batch` requests that come at once."""
    gpu, rules = find_gpu(gpu_name), POLICIES[policy]
    block_tokens = STRATEGIES[rules.kv] or 4096
    tokens = kv_tokens(MODEL, kv_cache_bytes(MODEL, gpu, 0.9))
    duration = StepTime(MODEL, gpu, gpu_costs(gpu))
    steps = []

    def count(step: Step) -> int:
        steps.append(step.decode_rows + len(step.chunks))
        return duration(step)

    engine = SteppedEngine(Batch(BlockPool(tokens // block_tokens, block_tokens), rules), count)
    sequences = [Sequence(0, length, length) for _ in range(batch)]
    engine.submit(sequences)
    drive(engine, [])
    return max(sequence.end_ns for sequence in sequences) / 1e9, len(steps), sum(steps)


def fit_host(gpu_name: str, policy: str, latencies: tuple[float, ...]) -> dict:
    """Least squares of the relative errors; exact, because what runs when does not depend on how long it takes."""
    runs = [run_batch(gpu_name, policy, length, batch) for length, batch in SHAPES]
    measured = np.array(latencies)
    kernel_s = np.array([run[0] for run in runs])
    work = np.array([run[1:] for run in runs], float)
    matrix, rest = work / measured[:, None], (measured - kernel_s) / measured
    host_s = np.linalg.lstsq(matrix, rest, rcond=None)[0]
    for negative in np.flatnonzero(host_s < 0):
        other = 1 - negative
        host_s[negative] = 0
        host_s[other] = max(0.0, matrix[:, other] @ rest / (matrix[:, other] @ matrix[:, other]))
    errors = (kernel_s + work @ host_s) / measured - 1
    return {
        "gpu": gpu_name,
        "policy": policy,
        "host_us": host_s[0] * 1e6,
        "host_sequence_us": host_s[1] * 1e6,
        "errors": {f"L={length} b={batch}": error for (length, batch), error in zip(SHAPES, errors, strict=True)},
        "error_rms": float(np.sqrt(np.mean(errors**2))),
        "error_without_host": dict(
            zip([f"L={length} b={batch}" for length, batch in SHAPES], kernel_s / measured - 1, strict=True)
        ),
    }


def main() -> None:
    kernels = {name: fit_kernels(name) for name in MEDIANS}
    for name, fit in kernels.items():
        used = gpu_costs(find_gpu(name))
        assert math.isclose(used.compute_efficiency, fit["compute_efficiency"]), "the simulator's table is out of date"
        assert math.isclose(used.memory_efficiency, fit["memory_efficiency"]), "the simulator's table is out of date"
        layers = ", ".join(f"{tokens}: {error:+.0%}" for tokens, error in fit["layer_error"].items())
        sys.stdout.write(
            f"{name}: compute {fit['compute_efficiency']:.2f}, memory {fit['memory_efficiency']:.2f}, "
            f"kernel {fit['kernel_us']:.2f} µs; layer error rms {fit['layer_error_rms']:.1%} by tokens {layers}; "
            f"single kernels rms {fit['kernel_error_rms']:.1%}\n"
        )
    hosts = []
    for (gpu_name, engine, policy), latencies in LATENCIES.items():
        fit = fit_host(gpu_name, policy, latencies) | {"engine": engine}
        hosts.append(fit)
        errors = ", ".join(f"{shape}: {error:+.0%}" for shape, error in fit["errors"].items())
        sys.stdout.write(
            f"{engine} on {gpu_name} ({policy}): host {fit['host_us']:.0f} µs a step + "
            f"{fit['host_sequence_us']:.1f} µs a sequence; rms {fit['error_rms']:.1%}; {errors}\n"
        )
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    document = {"command": "python examples/paper_calibration.py", "kernels": kernels, "hosts": hosts}
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
