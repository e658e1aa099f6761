"""Random weights, one tensor after another, so that a model larger than memory can be written.

The bias lane: channel 0 of every embedding is a constant that no layer writes to, so column 0 of the output matrix is a
bias per token. It keeps a generated model from ending by itself and from printing anything but plain text: one output
token is one visible piece, as in no random model without it.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from loadgen.rng import generator
from loadgen.tinymodel.shape import Shape
from loadgen.tinymodel.vocabulary import EOS

Halves = npt.NDArray[np.float16]

_LANE = 4.0  # the constant; large beside the unit normals of the other channels, so that the norm keeps it
_NEVER = -30.0
_BLOCK = (1 << 24) + 43  # normals drawn; larger tensors repeat them out of step with their rows


class Weights:
    """The tensors of a Llama by their Hugging Face names. `unprintable` are token ids that must not be sampled."""

    def __init__(self, shape: Shape, unprintable: Sequence[int], seed: int = 0) -> None:
        self._shape = shape
        self._unprintable = list(unprintable)
        self._seed = seed
        self._scaled: dict[float, Halves] = {}

    @cached_property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Name → dimensions, in the order of `tensors`."""
        model = self._shape.transformer
        sizes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (model.vocab, model.hidden)}
        for layer in range(model.layers):
            for name, size in {
                "input_layernorm": (model.hidden,),
                "self_attn.q_proj": (model.q_width, model.hidden),
                "self_attn.k_proj": (model.kv_width, model.hidden),
                "self_attn.v_proj": (model.kv_width, model.hidden),
                "self_attn.o_proj": (model.hidden, model.q_width),
                "post_attention_layernorm": (model.hidden,),
                "mlp.gate_proj": (model.ffn, model.hidden),
                "mlp.up_proj": (model.ffn, model.hidden),
                "mlp.down_proj": (model.hidden, model.ffn),
            }.items():
                sizes[f"model.layers.{layer}.{name}.weight"] = size
        return sizes | {"model.norm.weight": (model.hidden,), "lm_head.weight": (model.vocab, model.hidden)}

    @cached_property
    def _normals(self) -> Halves:
        wanted = min(_BLOCK, max(int(np.prod(size)) for size in self.sizes.values()))
        return generator(self._seed, "tinymodel.normals").standard_normal(wanted, np.float32).astype(np.float16)

    def tensors(self) -> Iterator[tuple[str, Halves]]:
        """(name, float16 array) of every tensor; the same for the same seed and shape."""
        for name, size in self.sizes.items():
            yield name, self.tensor(name, size)

    def tensor(self, name: str, size: tuple[int, ...]) -> Halves:
        if len(size) == 1:
            return np.ones(size, np.float16)
        # The scale keeps the size of a random vector: 1 over the root of the width; the head's is twice that.
        scale = {"model.embed_tokens.weight": 1.0, "lm_head.weight": 2 / np.sqrt(size[-1])}
        values = self._random(name, size, float(scale.get(name, 1 / np.sqrt(size[-1]))))
        if name == "model.embed_tokens.weight":
            values[:, 0] = _LANE
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            values[0] = 0  # nothing is written to the lane
        elif name == "lm_head.weight":
            values[:, 0] = 0
            values[self._unprintable, 0] = _NEVER
            values[EOS, 0] = self._shape.eos_logit
        return values

    def _random(self, name: str, size: tuple[int, ...], scale: float) -> Halves:
        """The block from a place of the tensor's own, again and again; scaled once for all tensors of a width."""
        if scale not in self._scaled:
            self._scaled[scale] = self._normals * np.float16(scale)
        block, count = self._scaled[scale], int(np.prod(size))
        values = np.empty(count, np.float16)
        at, place = 0, int(generator(self._seed, f"tinymodel.{name}").integers(len(block)))
        while at < count:
            piece = min(count - at, len(block) - place)
            values[at : at + piece] = block[place : place + piece]
            at, place = at + piece, 0
        return values.reshape(size)
