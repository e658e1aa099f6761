"""THE table of operations of one forward pass: FLOPs, and the bytes of each tensor read once and written once.

Conventions, as in docs/roofline.md: a multiply-add is 2 FLOPs; everything goes through GPU memory between operations;
prefill and decode are the same formulas with other values. The letters are those of `step.Symbols`. Adding an
operation is adding an entry. It must never know a GPU: what the numbers mean in time is bound.py's.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from loadgen.roofline.step import BLOCK_TOKENS, Symbols

Formula = Callable[[Symbols], float]


@dataclass(frozen=True, slots=True)
class Operation:
    """An entry. `weights`, `read`, `written` are bytes; `quantised`: multiplied at the weights' precision."""

    name: str
    when: Callable[[Symbols], bool]
    flops: Formula
    weights: Formula
    read: Formula
    written: Formula
    per_layer: bool = True
    quantised: bool = False


def _zero(_: Symbols) -> int:
    return 0


def _always(_: Symbols) -> bool:
    return True


def _fused(x: Symbols) -> bool:
    return x.step.fused


def _apart(x: Symbols) -> bool:
    return not x.step.fused


def _eager(x: Symbols) -> bool:
    return x.step.attention == "eager"


def _moe(x: Symbols) -> bool:
    return x.model.experts > 0


def _linear(
    name: str,
    when: Callable[[Symbols], bool],
    inputs: Formula,
    outputs: Formula,
    *,
    biased: tuple[str, ...] = ("all",),
    rows: Formula = lambda x: x.t,
    matrices: Formula = lambda _: 1,
) -> Operation:
    """rows × inputs times inputs × outputs: 2·rows·in·out FLOPs; matrix and bias are read once, rows go in and out."""

    def bias(x: Symbols) -> float:
        return outputs(x) if x.model.bias in biased else 0

    return Operation(
        name,
        when,
        flops=lambda x: 2 * rows(x) * inputs(x) * outputs(x) + rows(x) * bias(x),
        weights=lambda x: x.w * inputs(x) * outputs(x) * matrices(x) + x.a * bias(x),
        read=lambda x: x.a * rows(x) * inputs(x),
        written=lambda x: x.a * rows(x) * outputs(x),
        quantised=True,
    )


def _mlp(name: str, when: Callable[[Symbols], bool], inputs: Formula, outputs: Formula) -> Operation:
    return _linear(name, when, inputs, outputs, rows=lambda x: x.r, matrices=lambda x: x.e)


def _elementwise(
    name: str,
    when: Callable[[Symbols], bool],
    size: Formula,
    *,
    flops: Formula,
    read: int,
    written: int,
    weights: Formula = _zero,
    per_layer: bool = True,
) -> Operation:
    """`size` elements: FLOPs for each, and how many tensors of that size are read and written."""
    return Operation(
        name,
        when,
        flops=lambda x: flops(x) * size(x),
        weights=weights,
        read=lambda x: read * x.a * size(x),
        written=lambda x: written * x.a * size(x),
        per_layer=per_layer,
    )


def _norm_flops(x: Symbols) -> int:
    """Per element: square, sum, scale, weight; layer norm also takes the mean, subtracts it and adds a bias."""
    return 4 if x.model.norm == "rms" else 7


def _norm_weights(x: Symbols) -> int:
    return x.a * x.h * (1 if x.model.norm == "rms" else 2)


def _add_norm(place: str) -> tuple[Operation, ...]:
    def size(x: Symbols) -> int:
        return x.t * x.h

    return (
        _elementwise(
            f"add & norm ({place})",
            _fused,
            size,
            flops=lambda x: 1 + _norm_flops(x),
            read=2,
            written=2,
            weights=_norm_weights,
        ),
        _elementwise(f"add ({place})", _apart, size, flops=lambda _: 1, read=2, written=1),
        _elementwise(f"norm ({place})", _apart, size, flops=_norm_flops, read=1, written=1, weights=_norm_weights),
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(  # a row per token, and one of the position table where positions are learned
        "embedding",
        _always,
        flops=lambda x: x.t * x.h if x.model.position == "learned" else 0,
        weights=lambda x: x.a * x.t * x.h * (2 if x.model.position == "learned" else 1),
        read=_zero,
        written=lambda x: x.a * x.t * x.h,
        per_layer=False,
    ),
    _linear("qkv", _fused, lambda x: x.h, lambda x: x.hq + 2 * x.hkv, biased=("qkv", "all")),
    _linear("q", _apart, lambda x: x.h, lambda x: x.hq, biased=("qkv", "all")),
    _linear("k", _apart, lambda x: x.h, lambda x: x.hkv, biased=("qkv", "all")),
    _linear("v", _apart, lambda x: x.h, lambda x: x.hkv, biased=("qkv", "all")),
    _elementwise(
        "q & k norm", lambda x: x.model.qk_norm, lambda x: x.t * (x.hq + x.hkv), flops=lambda _: 4, read=1, written=1
    ),
    Operation(  # in place; a blocked cache takes K straight from this kernel
        "rope",
        lambda x: x.model.position == "rope",
        flops=lambda x: 3 * x.t * (x.hq + x.hkv),
        weights=_zero,
        read=lambda x: x.a * x.t * (x.hq + x.hkv),
        written=lambda x: x.a * x.t * (x.hq + (0 if x.step.kv_cache == "blocked" else x.hkv)),
    ),
    Operation(
        "kv write",
        lambda x: x.step.kv_cache == "paged",
        flops=_zero,
        weights=_zero,
        read=lambda x: 2 * x.t * x.hkv * x.a,
        written=lambda x: 2 * x.t * x.hkv * x.k,
    ),
    Operation(  # K is in the registers of the rotary kernel already, where there is one
        "kv write",
        lambda x: x.step.kv_cache == "blocked",
        flops=_zero,
        weights=_zero,
        read=lambda x: x.t * x.hkv * x.a * (1 if x.model.position == "rope" else 2),
        written=lambda x: 2 * x.t * x.hkv * x.k,
    ),
    Operation(  # the old cache and the new tokens in, the new cache out
        "kv concat",
        lambda x: x.step.kv_cache == "concatenated",
        flops=_zero,
        weights=_zero,
        read=lambda x: 2 * x.b * x.hkv * ((x.S - x.s) * x.k + x.s * x.a),
        written=lambda x: 2 * x.b * x.hkv * x.S * x.k,
    ),
    Operation(
        "q kᵀ",
        _eager,
        flops=lambda x: 2 * x.b * x.hq * x.pairs,
        weights=_zero,
        read=lambda x: x.a * x.t * x.hq + x.k * x.b * x.S * x.hkv,
        written=lambda x: x.a * x.b * x.n * x.pairs,
    ),
    _elementwise("softmax", _eager, lambda x: x.b * x.n * x.pairs, flops=lambda _: 5, read=1, written=1),
    Operation(
        "p v",
        _eager,
        flops=lambda x: 2 * x.b * x.hq * x.pairs,
        weights=_zero,
        read=lambda x: x.a * x.b * x.n * x.pairs + x.k * x.b * x.S * x.hkv,
        written=lambda x: x.a * x.t * x.hq,
    ),
    Operation(  # the compulsory bytes; 4 FLOPs of softmax a score, its scale being folded into the exponent
        "attention",
        lambda x: not _eager(x),
        flops=lambda x: 4 * x.b * x.pairs * (x.hq + x.n),
        weights=_zero,
        read=lambda x: x.a * x.t * x.hq + 2 * x.k * x.b * x.S * x.hkv + _block_table(x),
        written=lambda x: x.a * x.t * x.hq,
    ),
    _linear("out", _always, lambda x: x.hq, lambda x: x.h),
    *_add_norm("attention"),
    _linear("router", _moe, lambda x: x.h, lambda x: x.model.experts),
    _mlp("gate & up", lambda x: x.model.gated and x.step.fused, lambda x: x.h, lambda x: 2 * x.f),
    _mlp("gate", lambda x: x.model.gated and not x.step.fused, lambda x: x.h, lambda x: x.f),
    _mlp("up", lambda x: not (x.model.gated and x.step.fused), lambda x: x.h, lambda x: x.f),
    _elementwise(
        "swish & multiply",
        lambda x: x.model.gated and x.step.fused,
        lambda x: x.r * x.f,
        flops=lambda _: 2,
        read=2,
        written=1,
    ),
    _elementwise(
        "activation",
        lambda x: not (x.model.gated and x.step.fused),
        lambda x: x.r * x.f,
        flops=lambda _: 1,
        read=1,
        written=1,
    ),
    _elementwise(
        "multiply",
        lambda x: x.model.gated and not x.step.fused,
        lambda x: x.r * x.f,
        flops=lambda _: 1,
        read=2,
        written=1,
    ),
    _mlp("down", _always, lambda x: x.f, lambda x: x.h),
    Operation(  # the weighted sum of the experts' answers
        "combine",
        _moe,
        flops=lambda x: 2 * x.r * x.h,
        weights=_zero,
        read=lambda x: x.a * x.r * x.h,
        written=lambda x: x.a * x.t * x.h,
    ),
    *_add_norm("mlp"),
    _elementwise(
        "final norm",
        _always,
        lambda x: x.t * x.h,
        flops=_norm_flops,
        read=1,
        written=1,
        weights=_norm_weights,
        per_layer=False,
    ),
    Operation(  # of the last token of each sequence
        "lm head",
        _always,
        flops=lambda x: 2 * x.b * x.h * x.model.vocab,
        weights=lambda x: x.a * x.h * x.model.vocab,
        read=lambda x: x.a * x.b * x.h,
        written=lambda x: x.a * x.b * x.model.vocab,
        per_layer=False,
    ),
)


def _block_table(x: Symbols) -> int:
    """Four bytes for each block of each sequence."""
    if x.step.attention != "paged":
        return 0
    return 4 * x.b * math.ceil(x.S / BLOCK_TOKENS[x.step.kv_cache])
