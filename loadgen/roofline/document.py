"""A roofline as the JSON document of `loadgen roofline --json`, and its answer in words.

Apart from bound.py because keys and sentences change for other reasons than formulas. It must never compute a FLOP.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from loadgen.roofline.bound import (
    Roofline,
    Row,
    compute_bound_batch,
    kv_bytes_per_token,
    largest_batch,
    weight_bytes,
)
from loadgen.roofline.gpus import Gpu
from loadgen.roofline.paper import paper_layer
from loadgen.units import format_duration, format_number


def describe(rooflines: Sequence[Roofline], *, paper: bool = False) -> dict[str, Any]:
    """All points of one model on one GPU, ready for JSON; `paper` adds the paper's orders. At least one."""
    first = rooflines[0]
    model, step = first.model, first.step
    return {
        "schema": 1,
        "kind": "roofline",
        "model": asdict(model) | {"parameters": model.parameters},
        "gpu": _describe_gpu(first.gpu),
        "settings": {name: getattr(step, name) for name in ("precision", "attention", "kv_cache", "fused", "causal")},
        "weight_bytes": weight_bytes(model, step.precision),
        "kv_bytes_per_token": kv_bytes_per_token(model),
        "points": [_describe_point(roofline, paper) for roofline in rooflines],
    }


def _describe_gpu(gpu: Gpu) -> dict[str, Any]:
    limits = {"bf16_tflops": gpu.bf16, "fp8_tflops": gpu.fp8, "bandwidth_gbps": gpu.bandwidth, "memory_gb": gpu.memory}
    return {
        "name": gpu.name,
        **{key: limit.value if limit else None for key, limit in limits.items()},
        "ridge": gpu.ridge(),
        "sources": {key: limit.source for key, limit in limits.items() if limit},
    }


def _describe_point(roofline: Roofline, paper: bool) -> dict[str, Any]:
    model, step, gpu = roofline.model, roofline.step, roofline.gpu
    fits = largest_batch(model, step, gpu)
    point = {
        "phase": phase(roofline),
        "batch": step.batch,
        "sequence": step.context,
        "flops": roofline.flops,
        "bytes": roofline.bytes,
        "intensity": roofline.intensity,
        "bound": roofline.bound,
        "floor_ms": roofline.floor_ns / 1e6,
        "tokens_per_s": roofline.tokens_per_s,
        "compute_bound_batch": compute_bound_batch(model, step, gpu),
        "largest_batch": fits,
        "fits": None if fits is None else step.batch <= fits,
        "operations": [_describe_row(roofline, row) for row in roofline.rows],
    }
    return point | ({"paper": [asdict(order) for order in paper_layer(model, step)]} if paper else {})


def _describe_row(roofline: Roofline, row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "times": row.times,
        "flops": row.flops,
        "bytes": row.bytes,
        "weight_bytes": row.weights,
        "read_bytes": row.read,
        "written_bytes": row.written,
        "intensity": row.intensity,
        "bound": row.bound,
        "floor_us": row.floor_ns / 1e3,
        "share": roofline.share(row),
        "compute_bound_batch": compute_bound_batch(roofline.model, roofline.step, roofline.gpu, row.name),
    }


def phase(roofline: Roofline) -> str:
    """`prefill` or `decode`."""
    return "prefill" if roofline.step.new_tokens > 1 else "decode"


def headline(roofline: Roofline) -> str:
    """Model, GPU and their sizes in one line."""
    model, gpu, precision = roofline.model, roofline.gpu, roofline.step.precision
    weights, cache = weight_bytes(model, precision) / 1e9, kv_bytes_per_token(model) / 1e3
    limits = f"{format_number(gpu.bf16.value)} TFLOP/s bf16, {format_number(gpu.bandwidth.value)} GB/s"
    return (
        f"{model.name} ({format_number(weights)} GB in {precision}, {format_number(cache)} kB of KV cache a token) on "
        f"{gpu.name} ({limits}: compute-bound from {format_number(gpu.ridge())} FLOPs per byte)"
    )


def answer(roofline: Roofline) -> str:
    """What the step's totals mean, in sentences."""
    model, step, gpu = roofline.model, roofline.step, roofline.gpu
    longest = max(roofline.rows, key=lambda row: row.step_ns)
    speed = f"At least {format_duration(roofline.floor_ns)}, so at most {format_number(roofline.tokens_per_s)} tokens/s"
    sentences = [f"{speed}; {roofline.bound}-bound, {roofline.share(longest):.0%} of it {longest.name}."]
    turning = compute_bound_batch(model, step, gpu)
    if roofline.bound == "memory":
        sentences.append(
            f"It turns compute-bound at a batch of {turning:,}."
            if turning
            else "No batch turns the step compute-bound."
        )
    fits = largest_batch(model, step, gpu)
    if fits == 0:
        sentences.append(f"The weights and one sequence do not fit in {gpu.name}'s memory: it takes several GPUs.")
    elif fits is not None and fits < step.batch:
        sentences.append(f"Only {fits:,} sequences of {step.context:,} tokens fit in memory: formal figures.")
    elif fits is not None:
        sentences.append(f"Up to {fits:,} sequences of {step.context:,} tokens fit in memory.")
    return " ".join(sentences)
