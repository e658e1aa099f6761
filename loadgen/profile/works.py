"""Which measurable works stand for an operation of the roofline's table: names and dimensions, no torch.

A `Work` is a kernel's name and its dimensions and nothing else, so that two operations of one shape (q and out of a
model with as many KV heads as heads; both add & norms; every context length for a linear layer) are timed once. Most
rows of the table have one work; attention has one for each way to do it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from loadgen.roofline.bound import Row, analyse
from loadgen.roofline.gpus import Gpu
from loadgen.roofline.step import Step, Symbols, symbols
from loadgen.roofline.transformer import Transformer

Phase = Literal["prefill", "decode"]
Dims = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """A kernel of kernels.KERNELS and the dimensions it takes: whole numbers, names and flags."""

    kernel: str
    dims: Dims


@dataclass(frozen=True, slots=True)
class Tools:
    """What the device offers beside plain torch operations."""

    cuda: bool
    triton: bool


# How an engine runs a layer: fields of `Step`. Prefill attends to the fresh keys: its attention reads no block table.
STACKS: dict[str, dict[str, Any]] = {
    "paged": {"attention": "paged", "kv_cache": "paged", "fused": True},
    "blocked": {"attention": "flash", "kv_cache": "blocked", "fused": True},
    "eager": {"attention": "eager", "kv_cache": "concatenated", "fused": False},
}
KV_CACHES = ("concatenated", "blocked", "paged")


WorksOf = Callable[[Symbols, Tools], tuple[Work, ...]]


def stack_step(stack: str, phase: Phase, batch: int, sequence: int) -> Step:
    """The step that this stack takes at this point."""
    choices = dict(STACKS[stack])
    if phase == "prefill":
        choices["attention"] = "eager" if choices["attention"] == "eager" else "flash"
    return Step(batch, sequence if phase == "prefill" else 1, sequence, **choices)


def rows_and_works(model: Transformer, step: Step, gpu: Gpu, tools: Tools) -> list[tuple[Row, tuple[Work, ...]]]:
    """Each operation of a step with its floor on `gpu` and the works that stand for it."""
    letters = symbols(model, step)
    return [(row, WORKS[row.name](letters, tools)) for row in analyse(model, step, gpu).rows]


def pair_works(model: Transformer, phase: Phase, batch: int, sequence: int, tools: Tools) -> list[Work]:
    """The KV cache's update and the attention after it as one work, for each strategy and each attention."""
    letters = symbols(model, stack_step("eager", phase, batch, sequence))
    attentions = ["eager", "sdpa, flash" if tools.cuda else "sdpa"]
    pairs = [(kv_cache, attention) for kv_cache in KV_CACHES for attention in attentions]
    if phase == "decode" and tools.triton:
        pairs.append(("paged", "paged kernel"))
    return [Work("kv & attention", (*pair, *_attention_dims(letters))) for pair in pairs]


def _attention_dims(x: Symbols) -> Dims:
    return (x.b, x.s, x.S, x.n, x.model.kv_heads, x.model.head_dim)


def _fused_kernels(x: Symbols, tools: Tools) -> list[str]:
    """cuDNN's is made for long queries and plans each new shape for a good part of a second: prefill only."""
    if not tools.cuda:
        return ["sdpa"]
    return ["sdpa, flash", "sdpa, cudnn"] if x.s > 1 else ["sdpa, flash"]


def _one(kernel: str, dims: Callable[[Symbols], Dims]) -> WorksOf:
    return lambda x, _: (Work(kernel, dims(x)),)


def _bias(x: Symbols, *biased: str) -> bool:
    return x.model.bias in (*biased, "all")


def _linear(inputs: Callable[[Symbols], int], outputs: Callable[[Symbols], int], *biased: str) -> WorksOf:
    return _one("linear", lambda x: (x.t, inputs(x), outputs(x), _bias(x, *biased)))


def _mlp(inputs: Callable[[Symbols], int], outputs: Callable[[Symbols], int]) -> WorksOf:
    """A linear layer when dense; else the tokens are sent to their experts."""

    def works(x: Symbols, _: Tools) -> tuple[Work, ...]:
        if not x.model.experts:
            return (Work("linear", (x.t, inputs(x), outputs(x), _bias(x))),)
        return (Work("experts", (x.t, x.model.experts, x.model.experts_per_token, inputs(x), outputs(x))),)

    return works


def _embedding(x: Symbols, _: Tools) -> tuple[Work, ...]:
    if x.model.position == "learned":
        return (Work("embedding & position", (x.t, x.model.vocab, x.model.positions, x.h)),)
    return (Work("embedding", (x.t, x.model.vocab, x.h)),)


def _rope(x: Symbols, tools: Tools) -> tuple[Work, ...]:
    kernel = "rope, triton" if tools.triton and x.step.fused else "rope, torch"
    return (Work(kernel, (x.t, x.S, x.n, x.model.kv_heads, x.model.head_dim)),)


def _kv_write(x: Symbols, tools: Tools) -> tuple[Work, ...]:
    kernel = "blocked write"
    if x.step.kv_cache == "paged":
        kernel = "paged write, triton" if tools.triton else "paged write, torch"
    return (Work(kernel, _attention_dims(x)),)


def _attention(x: Symbols, tools: Tools) -> tuple[Work, ...]:
    """Prefill attends to the fresh keys whatever the cache; decode to the cache."""
    dims, fused = _attention_dims(x), _fused_kernels(x, tools)
    if x.step.attention != "paged":
        return tuple(Work("attention", (kernel, *dims)) for kernel in fused)
    gathered = tuple(Work("paged attention", (kernel, *dims)) for kernel in fused)
    return (*gathered, Work("paged attention", ("paged kernel", *dims))) if tools.triton else gathered


def _add_norm(x: Symbols, tools: Tools) -> tuple[Work, ...]:
    layer = x.model.norm == "layer"
    return (Work("add & norm, triton" if tools.triton and not layer else "add & norm, torch", (x.t, x.h, layer)),)


def _norm(x: Symbols, _: Tools) -> tuple[Work, ...]:
    if x.model.norm == "layer":
        return (Work("norm, torch", (x.t, x.h, True)),)
    return (Work("norm, chain", (x.t, x.h)),)


def _swish(x: Symbols, tools: Tools) -> tuple[Work, ...]:
    return (Work("swish & multiply, triton" if tools.triton else "swish & multiply, torch", (x.r, x.f)),)


WORKS: dict[str, WorksOf] = {
    "embedding": _embedding,
    "qkv": _linear(lambda x: x.h, lambda x: x.hq + 2 * x.hkv, "qkv"),
    "q": _linear(lambda x: x.h, lambda x: x.hq, "qkv"),
    "k": _linear(lambda x: x.h, lambda x: x.hkv, "qkv"),
    "v": _linear(lambda x: x.h, lambda x: x.hkv, "qkv"),
    "q & k norm": _one("head norm", lambda x: (x.t, x.n + x.model.kv_heads, x.model.head_dim)),
    "rope": _rope,
    "kv write": _kv_write,
    "kv concat": _one("concatenate", _attention_dims),
    "q kᵀ": _one("scores", _attention_dims),
    "softmax": _one("masked softmax", lambda x: (x.b, x.n, x.s, x.S, x.model.head_dim)),
    "p v": _one("values", _attention_dims),
    "attention": _attention,
    "out": _linear(lambda x: x.hq, lambda x: x.h),
    "add & norm (attention)": _add_norm,
    "add (attention)": _one("add", lambda x: (x.t, x.h)),
    "norm (attention)": _norm,
    "router": _linear(lambda x: x.h, lambda x: x.model.experts),
    "gate & up": _mlp(lambda x: x.h, lambda x: 2 * x.f),
    "gate": _mlp(lambda x: x.h, lambda x: x.f),
    "up": _mlp(lambda x: x.h, lambda x: x.f),
    "swish & multiply": _swish,
    "activation": _one("activation", lambda x: (x.r, x.f, x.model.gated)),
    "multiply": _one("multiply", lambda x: (x.r, x.f)),
    "down": _mlp(lambda x: x.f, lambda x: x.h),
    "combine": _one("combine", lambda x: (x.t, x.model.experts_per_token, x.h)),
    "add & norm (mlp)": _add_norm,
    "add (mlp)": _one("add", lambda x: (x.t, x.h)),
    "norm (mlp)": _norm,
    "final norm": _one("norm, torch", lambda x: (x.t, x.h, x.model.norm == "layer")),
    "lm head": _one("linear", lambda x: (x.b, x.h, x.model.vocab, False)),
}
# The layers whose weights are shared by the batch: they turn from memory- to compute-bound as it grows.
LINEARS = ("qkv", "out", "gate & up", "up", "down", "lm head")
# What a pair does, in the table's names.
IN_PAIR = ("kv write", "kv concat", "q kᵀ", "softmax", "p v", "attention")
