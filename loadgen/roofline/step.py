"""One forward pass in letters: a model's shape, how many tokens, and how the engine does it.

Apart from operations.py so that the table there is nothing but formulas. It must never know a GPU.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from loadgen.errors import BadInputError
from loadgen.roofline.transformer import Transformer

Attention = Literal["eager", "flash", "paged"]
KvCache = Literal["paged", "blocked", "concatenated"]

ACTIVATION_BYTES = 2  # bf16, also with quantised weights; so are the KV cache, embeddings, norms and the LM head


@dataclass(frozen=True, slots=True)
class Precision:
    """Of the decoder layers' matrices: bytes per element, and the kind of tensor-core peak they are multiplied at."""

    weight_bytes: float
    peak: Literal["bf16", "fp8"]


PRECISIONS = {
    "bf16": Precision(2, "bf16"),
    "fp8": Precision(1, "fp8"),
    "int4": Precision(0.5 + 2 / 128, "bf16"),  # groups of 128 with a 2-byte scale; unpacked to bf16 to multiply
}
# Tokens per block of the KV cache: vLLM's default; DeepSpeed's for heads of 65 to 159; a contiguous tensor has none.
BLOCK_TOKENS: dict[KvCache, int] = {"paged": 16, "blocked": 64, "concatenated": 1}


@dataclass(frozen=True, slots=True)
class Step:
    """One forward pass and how the engine does it.

    attention   eager writes the scores to memory; flash and paged do not, paged reads its keys through a block table
    kv_cache    paged: a kernel copies K and V into blocks; blocked: the rotary kernel writes K there itself;
                concatenated: the cache is copied whole at each step (`torch.cat`)
    fused       QKV, gate and up, add and norm, swish and multiply are one operation each; Transformers runs them apart
    causal      count only the scores that the mask keeps, as fused kernels do; eager attention computes all of them
    """

    batch: int
    new_tokens: int
    context: int
    precision: str = "bf16"
    attention: Attention = "flash"
    kv_cache: KvCache = "paged"
    fused: bool = True
    causal: bool = True


@dataclass(frozen=True, slots=True)
class Symbols:
    """A model and a step in the letters of the table."""

    model: Transformer
    step: Step
    b: int  # sequences
    s: int  # new tokens of each
    S: int  # context of each, the new tokens included: s in prefill
    t: int  # b·s
    n: int  # heads
    h: int  # hidden
    hq: int  # width of Q
    hkv: int  # width of K, and of V
    f: int  # width of the MLP, or of one expert
    r: int  # rows through the MLP: t when dense
    e: float  # expert matrices touched: 1 when dense
    w: float  # bytes of an element of a decoder layer's matrix
    a: int  # bytes of an activation
    k: int  # bytes of an element of the KV cache
    pairs: int  # query-key pairs of one sequence and one head


def symbols(model: Transformer, step: Step) -> Symbols:
    """Fill in the letters. Raises BadInputError for a step that cannot be.

    Each token picks its experts evenly and independently: t tokens touch E·(1 − (1 − per_token/E)^t) of E on average.
    """
    _check(step)
    b, s, context = step.batch, step.new_tokens, step.context
    t, experts = b * s, model.experts
    skipped = s * (s - 1) // 2 if step.causal and step.attention != "eager" else 0
    return Symbols(
        model=model,
        step=step,
        b=b,
        s=s,
        S=context,
        t=t,
        n=model.heads,
        h=model.hidden,
        hq=model.q_width,
        hkv=model.kv_width,
        f=model.ffn,
        r=t * (model.experts_per_token if experts else 1),
        e=experts * (1 - (1 - model.experts_per_token / experts) ** t) if experts else 1,
        w=PRECISIONS[step.precision].weight_bytes,
        a=ACTIVATION_BYTES,
        k=ACTIVATION_BYTES,
        pairs=s * context - skipped,
    )


def prefill(batch: int, sequence: int, **choices: Any) -> Step:
    """All `sequence` tokens of each prompt at once, from an empty cache; `choices` are fields of Step."""
    return Step(batch, sequence, sequence, **choices)


def decode(batch: int, sequence: int, **choices: Any) -> Step:
    """One new token for each sequence, the last of `sequence` tokens of context."""
    return Step(batch, 1, sequence, **choices)


def _check(step: Step) -> None:
    if step.batch < 1 or not 0 < step.new_tokens <= step.context:
        raise BadInputError("A batch and a sequence have at least one element.", "Give --batch 1 --seq 1024.")
    known = {"precision": tuple(PRECISIONS), "attention": get_args(Attention), "kv_cache": get_args(KvCache)}
    for name, values in known.items():
        if getattr(step, name) not in values:
            raise BadInputError(f"'{getattr(step, name)}' is not a known {name}.", f"Take one of {', '.join(values)}.")
    if step.attention == "paged" and step.kv_cache == "concatenated":
        raise BadInputError("Paged attention cannot read a concatenated cache.", "Take --kv paged or --kv blocked.")
