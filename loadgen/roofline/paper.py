"""The formulas of arXiv 2404.11502 as published: orders of magnitude, for comparing with its figures. Not for floors.

"Towards Coarse-to-Fine Evaluation of Inference Efficiency for Large Language Models" (2024), for multi-head attention,
gated MLPs and the layer alone (no embedding, no LM head, no causal halving). Its memory operations and intensities drop
constant factors, element sizes, and one of the two activation tensors of a square matrix product. So the published
2730.7 FLOPs per byte of the linear layers of a 7B model at b = 8, s = 1024 are 1638.4 when every byte is counted
(operations.py); and the published ridge of the A100, 142.51, divides by 2039 GiB/s where the datasheet means GB: 153.0.
Apart from operations.py so that neither is ever mistaken for the other.

Letters: b batch, s sequence, h hidden, n heads, d head size (h = n·d), f MLP width.
"""

from dataclasses import dataclass

from loadgen.errors import BadInputError
from loadgen.roofline.step import Step
from loadgen.roofline.transformer import Transformer


@dataclass(frozen=True, slots=True)
class Order:
    """A row of the paper's tables: FLOPs, and the orders of its memory operations (elements) and of its intensity."""

    name: str
    flops: int
    mops: int
    intensity: float


def paper_layer(model: Transformer, step: Step) -> tuple[Order, ...]:
    """The rows of one decoder layer. Raises BadInputError for a model that they do not cover."""
    if model.kv_heads != model.heads or not model.gated or model.experts or model.position == "learned":
        raise BadInputError(
            f"The paper's formulas do not cover {model.name}.",
            "They are for Llama-2 7B and 13B and the like: multi-head attention, rotary positions, a gated dense MLP.",
        )
    b, s = step.batch, step.context
    h, n, d, f = model.hidden, model.heads, model.head_dim, model.ffn
    if step.new_tokens == 1:
        return _decode(b, s, h, n, d, f, step.kv_cache == "concatenated")
    return _prefill(b, s, h, n, d, f)


def paper_layer_flops(model: Transformer, step: Step) -> int:
    """Prefill 8bsh² + 6bshf + 4bs²h + 4bs²n + 16bsh + 2bsf; decode 8bh² + 6bhf + 4bsh + 4bsn + 16bh + 2bf."""
    return sum(order.flops for order in paper_layer(model, step))


def _prefill(b: int, s: int, h: int, n: int, d: int, f: int) -> tuple[Order, ...]:
    square = 1 / (1 / h + 1 / (b * s))
    oblong = 1 / (1 / h + 1 / f + 1 / (b * s))
    attention = (1 + 1 / d) / (1 / d + 1 / s)
    norm = 1 / (1 + 1 / (b * s))
    t = b * s
    return (
        Order("qkv", 6 * t * h * h, t * h + h * h, square),
        Order("rope", 6 * t * h, t * h, 1),
        Order("attention", 4 * t * s * (h + n), t * h + t * s * n, attention),
        Order("out", 2 * t * h * h, t * h + h * h, square),
        Order("add & norm (attention)", 5 * t * h, t * h + h, norm),
        Order("gate & up", 4 * t * h * f, t * h + t * f + h * f, oblong),
        Order("swish & multiply", 2 * t * f, t * f, 1),
        Order("down", 2 * t * h * f, t * h + t * f + h * f, oblong),
        Order("add & norm (mlp)", 5 * t * h, t * h + h, norm),
    )


def _decode(b: int, s: int, h: int, n: int, d: int, f: int, concatenated: bool) -> tuple[Order, ...]:
    square = 1 / (1 / h + 1 / b)
    oblong = 1 / (1 / h + 1 / f + 1 / b)
    attention = (1 + 1 / d) / (1 + 1 / d + 1 / s)
    norm = 1 / (1 + 1 / b)
    return (
        Order("qkv", 6 * b * h * h, b * h + h * h, square),
        Order("rope", 6 * b * h, b * h, 1),
        Order("kv concat" if concatenated else "kv write", 0, b * s * h if concatenated else b * h, 0),
        Order("attention", 4 * b * s * (h + n), b * s * h + b * s * n + b * h, attention),
        Order("out", 2 * b * h * h, b * h + h * h, square),
        Order("add & norm (attention)", 5 * b * h, b * h + h, norm),
        Order("gate & up", 4 * b * h * f, b * h + b * f + h * f, oblong),
        Order("swish & multiply", 2 * b * f, b * f, 1),
        Order("down", 2 * b * h * f, b * h + b * f + h * f, oblong),
        Order("add & norm (mlp)", 5 * b * h, b * h + h, norm),
    )
