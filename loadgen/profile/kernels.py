"""THE table of what can be timed: a kernel's name, what it is in words, and how to make one copy of it with its data.

`build(bench, *dims)` draws random inputs and returns a `Probe`: the call to time and its float32 reference from the
same inputs, which must be taken before the call, because some calls work in place. A call returns all that it writes,
so that timing.py can keep it alive. The names are those that works.py asks for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loadgen.profile import attention
from loadgen.profile.bench import Bench
from loadgen.profile.probe import Probe, triton_kernels
from loadgen.profile.works import Work

EPSILON = 1e-5
ROTARY_BASE = 10_000.0


@dataclass(frozen=True, slots=True)
class Kernel:
    """`how` is what stands in tables."""

    how: str
    build: Callable[..., Probe]


def _linear(bench: Bench, rows: int, inputs: int, outputs: int, bias: bool) -> Probe:
    linear = bench.torch.nn.functional.linear
    x, weight = bench.normal(rows, inputs), bench.normal(outputs, inputs, scale=inputs**-0.5)
    shift = bench.normal(outputs) if bias else None
    return Probe(
        lambda: linear(x, weight, shift),
        lambda: linear(x.float(), weight.float(), shift.float() if shift is not None else None),
    )


def _experts(bench: Bench, tokens: int, experts: int, per_token: int, inputs: int, outputs: int) -> Probe:
    """Routing is drawn once: each token picks `per_token` experts evenly; its rows lie sorted by expert."""
    torch = bench.torch
    picked = torch.rand(tokens, experts).topk(per_token, dim=1).indices.flatten()
    counts = torch.bincount(picked, minlength=experts).tolist()
    x, weights = bench.normal(tokens * per_token, inputs), bench.normal(experts, outputs, inputs, scale=inputs**-0.5)
    ends = [sum(counts[: k + 1]) for k in range(experts)]
    busy = [(k, end - counts[k], end) for k, end in enumerate(ends) if counts[k]]

    def run() -> Any:
        made = torch.empty((tokens * per_token, outputs), device=bench.kind, dtype=torch.bfloat16)
        for k, start, end in busy:
            torch.mm(x[start:end], weights[k].t(), out=made[start:end])
        return made

    return Probe(run, lambda: torch.cat([x[s:e].float() @ weights[k].float().t() for k, s, e in busy]))


def _embedding(bench: Bench, tokens: int, vocab: int, hidden: int) -> Probe:
    table = bench.shared.setdefault("embedding", None)
    if table is None:
        table = bench.shared["embedding"] = bench.normal(vocab, hidden)
    ids = bench.integers(vocab, tokens)
    return Probe(
        lambda: bench.torch.nn.functional.embedding(ids, table),
        lambda: bench.torch.stack([table[k] for k in ids.tolist()]).float(),
        exact=True,
    )


def _embedding_position(bench: Bench, tokens: int, vocab: int, positions: int, hidden: int) -> Probe:
    embedding = bench.torch.nn.functional.embedding
    words = _embedding(bench, tokens, vocab, hidden)
    places, table = bench.integers(positions, tokens), bench.normal(positions, hidden)
    return Probe(lambda: words.run() + embedding(places, table), lambda: words.reference() + table[places].float())


def _norm_inputs(bench: Bench, rows: int, hidden: int) -> tuple[Any, Any, Any]:
    return bench.normal(rows, hidden), bench.normal(hidden), bench.normal(hidden)


def _norm_reference(x: Any, weight: Any, shift: Any, layer: bool) -> Any:
    x, weight = x.float(), weight.float()
    if layer:
        x = x - x.mean(-1, keepdim=True)
    scaled = x / (x.pow(2).mean(-1, keepdim=True) + EPSILON).sqrt() * weight
    return scaled + shift.float() if layer else scaled


def _norm_call(bench: Bench, x: Any, weight: Any, shift: Any, layer: bool) -> Any:
    functional = bench.torch.nn.functional
    if layer:
        return functional.layer_norm(x, (x.shape[-1],), weight, shift, EPSILON)
    return functional.rms_norm(x, (x.shape[-1],), weight, EPSILON)


def _norm(bench: Bench, rows: int, hidden: int, layer: bool) -> Probe:
    x, weight, shift = _norm_inputs(bench, rows, hidden)
    return Probe(
        lambda: _norm_call(bench, x, weight, shift, layer),
        lambda: _norm_reference(x, weight, shift, layer),
    )


def _norm_chain(bench: Bench, rows: int, hidden: int) -> Probe:
    """RMS norm as Transformers spells it: six element-wise kernels in float32."""
    x, weight, shift = _norm_inputs(bench, rows, hidden)

    def run() -> Any:
        wide = x.float()
        scale = bench.torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPSILON)
        return weight * (wide * scale).to(x.dtype)

    return Probe(run, lambda: _norm_reference(x, weight, shift, layer=False))


def _head_norm(bench: Bench, tokens: int, heads: int, size: int) -> Probe:
    x, weight = bench.normal(tokens, heads, size), bench.normal(size)
    return Probe(
        lambda: bench.torch.nn.functional.rms_norm(x, (size,), weight, EPSILON),
        lambda: _norm_reference(x, weight, weight, layer=False),
    )


def _add(bench: Bench, rows: int, hidden: int) -> Probe:
    x, y = bench.normal(rows, hidden), bench.normal(rows, hidden)
    return Probe(lambda: x + y, lambda: x.float() + y.float())


def _add_norm(bench: Bench, rows: int, hidden: int, layer: bool, *, fused: bool) -> Probe:
    residual = bench.normal(rows, hidden)
    x, weight, shift = _norm_inputs(bench, rows, hidden)

    def plain() -> Any:
        added = residual + x
        return added, _norm_call(bench, added, weight, shift, layer)

    def reference() -> Any:
        added = residual.float() + x.float()
        return added, _norm_reference(added, weight, shift, layer)

    return Probe((lambda: triton_kernels().add_norm(residual, x, weight, EPSILON)) if fused else plain, reference)


def _rotary_inputs(bench: Bench, tokens: int, context: int, heads: int, size: int) -> tuple[Any, Any, Any, Any]:
    """Q beside K of each token, positions, and float32 tables of cosines and sines."""
    torch = bench.torch
    powers = torch.arange(0, size, 2, device=bench.kind, dtype=torch.float32) / size
    angles = torch.outer(torch.arange(context, device=bench.kind, dtype=torch.float32), ROTARY_BASE**-powers)
    positions = (context - 1 - torch.arange(tokens, device=bench.kind) % context).to(torch.int32)
    return bench.normal(tokens, heads, size), positions, angles.cos(), angles.sin()


def _rope(bench: Bench, tokens: int, context: int, heads: int, kv_heads: int, size: int, *, fused: bool) -> Probe:
    """Pairs are (k, k + size/2), as in Llama's published code. In place when fused, else as Transformers spells it."""
    torch, half = bench.torch, size // 2
    x, positions, cosines, sines = _rotary_inputs(bench, tokens, context, heads + kv_heads, size)

    def reference() -> Any:
        low, high = x[..., :half].float(), x[..., half:].float()
        cosine, sine = cosines[positions.long()][:, None], sines[positions.long()][:, None]
        return torch.cat([low * cosine - high * sine, high * cosine + low * sine], dim=-1)

    def in_place() -> Any:
        triton_kernels().rope(x, positions, cosines, sines)
        return x

    if fused:
        return Probe(in_place, reference)
    cosine = torch.cat([cosines, cosines], dim=-1)[positions.long()][:, None].to(x.dtype)
    sine = torch.cat([sines, sines], dim=-1)[positions.long()][:, None].to(x.dtype)

    def turned(part: Any) -> Any:
        return part * cosine + torch.cat([-part[..., half:], part[..., :half]], dim=-1) * sine

    def chain() -> Any:
        return turned(x[:, :heads]), turned(x[:, heads:])

    def reference_parts() -> Any:
        both = reference()
        return both[:, :heads], both[:, heads:]

    return Probe(chain, reference_parts)


def _activation(bench: Bench, rows: int, width: int, gated: bool) -> Probe:
    functional = bench.torch.nn.functional
    x, act = bench.normal(rows, width), functional.silu if gated else functional.gelu
    return Probe(lambda: act(x), lambda: act(x.float()))


def _multiply(bench: Bench, rows: int, width: int) -> Probe:
    x, y = bench.normal(rows, width), bench.normal(rows, width)
    return Probe(lambda: x * y, lambda: x.float() * y.float())


def _swish_multiply(bench: Bench, rows: int, width: int, *, fused: bool) -> Probe:
    silu, both = bench.torch.nn.functional.silu, bench.normal(rows, 2 * width)
    gate, up = both[:, :width], both[:, width:]
    return Probe(
        (lambda: triton_kernels().swish_multiply(both)) if fused else (lambda: silu(gate) * up),
        lambda: silu(gate.float()) * up.float(),
    )


def _combine(bench: Bench, tokens: int, per_token: int, hidden: int) -> Probe:
    x, shares = bench.normal(tokens, per_token, hidden), bench.normal(tokens, 1, per_token)
    return Probe(
        lambda: bench.torch.bmm(shares, x)[:, 0],
        lambda: (x.float() * shares.float().transpose(1, 2)).sum(1),
    )


KERNELS: dict[str, Kernel] = {
    "linear": Kernel("torch linear", _linear),
    "experts": Kernel("one product an expert", _experts),
    "embedding": Kernel("torch gather", _embedding),
    "embedding & position": Kernel("torch, two gathers and add", _embedding_position),
    "norm, torch": Kernel("torch norm", _norm),
    "norm, chain": Kernel("torch, chain in float32", _norm_chain),
    "head norm": Kernel("torch norm", _head_norm),
    "add": Kernel("torch add", _add),
    "add & norm, torch": Kernel("torch, add then norm", lambda *a: _add_norm(*a, fused=False)),
    "add & norm, triton": Kernel("triton, fused", lambda *a: _add_norm(*a, fused=True)),
    "rope, torch": Kernel("torch, rotate-half chain", lambda *a: _rope(*a, fused=False)),
    "rope, triton": Kernel("triton, in place", lambda *a: _rope(*a, fused=True)),
    "activation": Kernel("torch", _activation),
    "multiply": Kernel("torch multiply", _multiply),
    "swish & multiply, torch": Kernel("torch, swish then multiply", lambda *a: _swish_multiply(*a, fused=False)),
    "swish & multiply, triton": Kernel("triton, fused", lambda *a: _swish_multiply(*a, fused=True)),
    "combine": Kernel("torch bmm", _combine),
    "paged write, torch": Kernel("torch index_copy", lambda *a: attention.write("paged", *a, fused=False)),
    "paged write, triton": Kernel("triton, K and V", lambda *a: attention.write("paged", *a, fused=True)),
    "blocked write": Kernel("torch copy into the slice", lambda *a: attention.write("blocked", *a)),
    "concatenate": Kernel("torch cat", lambda *a: attention.write("concatenated", *a)),
    "scores": Kernel("torch matmul", attention.scores),
    "masked softmax": Kernel("torch, scale, mask, float32 softmax", attention.masked_softmax),
    "values": Kernel("torch matmul", attention.values),
    # what these are in words depends on the first of their dimensions: see `how`
    "attention": Kernel("torch", attention.contiguous),
    "paged attention": Kernel("paged", attention.paged),
    "kv & attention": Kernel("update and attention", attention.pair),
}


def how(work: Work) -> str:
    """A work in the words of tables: which library, which way."""
    if work.kernel == "attention":
        return f"torch {work.dims[0]}"
    if work.kernel == "paged attention":
        return "triton, reads the block table" if work.dims[0] == "paged kernel" else f"gather + {work.dims[0]}"
    if work.kernel == "kv & attention":
        return f"{work.dims[0]}, {work.dims[1]}"
    return KERNELS[work.kernel].how
