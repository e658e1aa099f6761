"""Attention as it can be timed: in three steps through memory, fused, over pages, and after the cache's own update.

Dimensions are always (b, s, S, heads, KV heads, head size): s new tokens of each of b sequences attend to S tokens. In
prefill s = S and the mask is causal; in decode s = 1. Q is [b, heads, s, size], K and V are [b, KV heads, S, size].
The builders here are entries of kernels.KERNELS.
"""

from collections.abc import Callable
from typing import Any

from loadgen.profile.bench import Bench
from loadgen.profile.caches import make_cache
from loadgen.profile.probe import Probe, triton_kernels

Attend = Callable[[Any, Any, Any], Any]

_BACKENDS = {"sdpa, flash": "FLASH_ATTENTION", "sdpa, cudnn": "CUDNN_ATTENTION"}


def write(kind: str, bench: Bench, b: int, s: int, context: int, _: int, g: int, d: int, **fused: bool) -> Probe:
    """The cache's update alone."""
    cache = make_cache(kind, bench, b, s, context, g, d, **fused)
    return Probe(cache.write, cache.expected, exact=True)


def _grouped(q: Any, kv_heads: int) -> Any:
    """The heads that share a KV head as rows of one matrix: no copy of K or V is needed."""
    b, n, s, d = q.shape
    return q.reshape(b, kv_heads, n // kv_heads * s, d)


def _scores(bench: Bench, q: Any, k: Any) -> Any:
    b, n, s, _ = q.shape
    return bench.torch.matmul(_grouped(q, k.shape[1]), k.transpose(2, 3)).view(b, n, s, k.shape[2])


def _values(bench: Bench, p: Any, v: Any) -> Any:
    b, n, s, _ = p.shape
    return bench.torch.matmul(_grouped(p, v.shape[1]), v).view(b, n, s, v.shape[3])


def _mask(bench: Bench, s: int, context: int) -> Any:
    """What is added to the scores: 0, or the least number where a token would see a later one. One for all copies."""
    name = f"mask {s} {context}"
    if name not in bench.shared:
        least = bench.torch.finfo(bench.torch.bfloat16).min
        full = bench.torch.full((s, context), least, device=bench.kind, dtype=bench.torch.bfloat16)
        bench.shared[name] = full.triu(1 + context - s)[None, None]
    return bench.shared[name]


def _weigh(bench: Bench, scores_: Any, mask: Any, size: int) -> Any:
    """Scale, mask and softmax in float32, as Transformers 4.36 spells it: five kernels."""
    masked = scores_ / size**0.5 + mask
    return bench.torch.softmax(masked, dim=-1, dtype=bench.torch.float32).to(scores_.dtype)


def _eager(bench: Bench, s: int, context: int, size: int) -> Attend:
    mask = _mask(bench, s, context)

    def attend(q: Any, k: Any, v: Any) -> Any:
        return _values(bench, _weigh(bench, _scores(bench, q, k), mask, size), v)

    return attend


def _sdpa(bench: Bench, name: str, causal: bool, grouped: bool) -> Attend:
    """torch's scaled_dot_product_attention, held to one backend where there are several."""
    sdpa = bench.torch.nn.functional.scaled_dot_product_attention
    options: dict[str, Any] = {"is_causal": causal} | ({"enable_gqa": True} if grouped else {})
    if name not in _BACKENDS:
        return lambda q, k, v: sdpa(q, k, v, **options)
    choice = bench.torch.nn.attention
    backend = getattr(choice.SDPBackend, _BACKENDS[name])

    def attend(q: Any, k: Any, v: Any) -> Any:
        with choice.sdpa_kernel(backend):
            return sdpa(q, k, v, **options)

    return attend


def _attend(bench: Bench, name: str, s: int, context: int, n: int, g: int, d: int) -> Attend:
    return _eager(bench, s, context, d) if name == "eager" else _sdpa(bench, name, s > 1, n != g)


def reference(bench: Bench, q: Any, k: Any, v: Any) -> Any:
    """Attention in float32, head by head, the last of the s queries seeing all of the context."""
    torch = bench.torch
    q, k, v = q.float(), k.float(), v.float()
    s, context, share = q.shape[2], k.shape[2], q.shape[1] // k.shape[1]
    later = torch.ones(s, context, device=bench.kind, dtype=torch.bool).triu(1 + context - s)
    heads = []
    for head in range(q.shape[1]):
        score = q[:, head] @ k[:, head // share].transpose(1, 2) / q.shape[3] ** 0.5
        heads.append(torch.softmax(score.masked_fill(later, float("-inf")), dim=-1) @ v[:, head // share])
    return torch.stack(heads, dim=1)


def scores(bench: Bench, b: int, s: int, context: int, n: int, g: int, d: int) -> Probe:
    """Q Kᵀ, all of it, masked or not."""
    q, k = bench.normal(b, n, s, d), bench.normal(b, g, context, d)
    wide = bench.torch.repeat_interleave
    return Probe(
        lambda: _scores(bench, q, k),
        lambda: q.float() @ wide(k, n // g, 1).float().transpose(2, 3),
    )


def masked_softmax(bench: Bench, b: int, n: int, s: int, context: int, d: int) -> Probe:
    """From raw scores to probabilities."""
    x, mask = bench.normal(b, n, s, context, scale=d**0.5), _mask(bench, s, context)
    return Probe(
        lambda: _weigh(bench, x, mask, d),
        lambda: bench.torch.softmax(x.float() / d**0.5 + mask.float(), dim=-1),
    )


def values(bench: Bench, b: int, s: int, context: int, n: int, g: int, d: int) -> Probe:
    """P V."""
    p, v = bench.normal(b, n, s, context), bench.normal(b, g, context, d)
    return Probe(
        lambda: _values(bench, p, v),
        lambda: p.float() @ bench.torch.repeat_interleave(v, n // g, 1).float(),
    )


def contiguous(bench: Bench, name: str, b: int, s: int, context: int, n: int, g: int, d: int) -> Probe:
    """Fused attention over K and V as a blocked cache holds them."""
    cache, q = make_cache("blocked", bench, b, s, context, g, d), bench.normal(b, n, s, d)
    attend, (k, v) = _attend(bench, name, s, context, n, g, d), cache.read(cache.held())
    return Probe(lambda: attend(q, k, v), lambda: reference(bench, q, k, v))


def paged(bench: Bench, name: str, b: int, s: int, context: int, n: int, g: int, d: int) -> Probe:
    """Attention over pages: by the Triton kernel, which reads the block table, or by gathering the pages first."""
    cache, q = make_cache("paged", bench, b, s, context, g, d), bench.normal(b, n, s, d)
    held = cache.held()
    if name == "paged kernel":
        return Probe(
            lambda: triton_kernels().paged_attention(q, *held, cache.table, context),
            lambda: reference(bench, q, *cache.read(held)),
        )
    attend = _attend(bench, name, s, context, n, g, d)
    return Probe(lambda: attend(q, *cache.read(held)), lambda: reference(bench, q, *cache.read(held)))


def pair(bench: Bench, kv_cache: str, name: str, b: int, s: int, context: int, n: int, g: int, d: int) -> Probe:
    """The cache's update and the attention that follows it.

    In prefill attention takes the new K and V straight from the tensors that were written, as engines do.
    """
    cache, q = make_cache(kv_cache, bench, b, s, context, g, d), bench.normal(b, n, s, d)
    fresh = (
        (bench.normal(b, g, s, d), bench.normal(b, g, s, d)) if s == context and kv_cache != "concatenated" else None
    )
    if name == "paged kernel":

        def run() -> Any:
            held = cache.write()
            return triton_kernels().paged_attention(q, *held, cache.table, context), held
    else:
        attend = _attend(bench, name, s, context, n, g, d)

        def run() -> Any:
            held = cache.write()
            return attend(q, *(fresh or cache.read(held))), held

    def expected() -> Any:
        held = cache.expected()
        return reference(bench, q, *(fresh or cache.read(held))), held

    return Probe(run, expected)
