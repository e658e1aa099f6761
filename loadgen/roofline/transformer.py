"""The shape of a decoder-only transformer: the ten numbers and five choices that decide its FLOPs and bytes.

It comes from a preset or from the dict of a Hugging Face `config.json`. It must never load weights or use the network.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

from loadgen.errors import BadInputError


@dataclass(frozen=True, slots=True)
class Transformer:
    """`gated`: the MLP has a gate matrix beside up and down. `experts` 0: a dense MLP; else `ffn` is the width of one.

    `positions` is the number of rows of a learned position table, used when `position` is "learned". `bias` says which
    linear layers carry one: none, only Q, K and V, or all. `qk_norm` is an RMS norm on each head of Q and K.
    """

    name: str
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    layers: int
    vocab: int
    gated: bool = True
    experts: int = 0
    experts_per_token: int = 0
    tied_embeddings: bool = False
    position: Literal["rope", "learned"] = "rope"
    positions: int = 0
    norm: Literal["rms", "layer"] = "rms"
    bias: Literal["none", "qkv", "all"] = "none"
    qk_norm: bool = False

    @property
    def q_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Of K, and of V."""
        return self.kv_heads * self.head_dim

    @property
    def matrix_parameters(self) -> int:
        """The elements of the decoder layers' matrices: what quantisation shrinks."""
        attention = self.hidden * (2 * self.q_width + 2 * self.kv_width)
        mlp = (3 if self.gated else 2) * self.hidden * self.ffn * max(1, self.experts)
        return self.layers * (attention + mlp)

    @property
    def parameters(self) -> int:
        """All elements of all tensors, the output matrix counted once when it is the embedding."""
        embedding = self.hidden * (self.vocab * (1 if self.tied_embeddings else 2) + self.positions)
        norm = self.hidden * (1 if self.norm == "rms" else 2)
        bias = 0 if self.bias == "none" else self.q_width + 2 * self.kv_width
        if self.bias == "all":
            bias += 2 * self.hidden + self.ffn
        small = 2 * norm + bias + self.hidden * self.experts + (2 * self.head_dim if self.qk_norm else 0)
        return embedding + self.matrix_parameters + self.layers * small + norm


def _gpt(name: str, hidden: int, heads: int, layers: int, vocab: int, positions: int) -> Transformer:
    """The GPT-2 and OPT family: a plain MLP of 4 × hidden, learned positions, layer norm, bias everywhere, tied."""
    return Transformer(
        name,
        hidden,
        heads,
        heads,
        hidden // heads,
        4 * hidden,
        layers,
        vocab,
        gated=False,
        tied_embeddings=True,
        position="learned",
        positions=positions,
        norm="layer",
        bias="all",
    )


_SHAPES = (
    # name, hidden, heads, kv_heads, head_dim, ffn, layers, vocab
    Transformer("llama-2-7b", 4096, 32, 32, 128, 11008, 32, 32000),
    Transformer("llama-2-13b", 5120, 40, 40, 128, 13824, 40, 32000),
    Transformer("llama-2-70b", 8192, 64, 8, 128, 28672, 80, 32000),
    Transformer("llama-3.1-8b", 4096, 32, 8, 128, 14336, 32, 128256),
    Transformer("llama-3.1-70b", 8192, 64, 8, 128, 28672, 80, 128256),
    Transformer("llama-3.2-1b", 2048, 32, 8, 64, 8192, 16, 128256, tied_embeddings=True),
    Transformer("llama-3.2-3b", 3072, 24, 8, 128, 8192, 28, 128256, tied_embeddings=True),
    Transformer("mistral-7b-v0.3", 4096, 32, 8, 128, 14336, 32, 32768),
    Transformer("mixtral-8x7b-v0.1", 4096, 32, 8, 128, 14336, 32, 32000, experts=8, experts_per_token=2),
    Transformer("qwen2.5-0.5b", 896, 14, 2, 64, 4864, 24, 151936, tied_embeddings=True, bias="qkv"),
    Transformer("qwen2.5-1.5b", 1536, 12, 2, 128, 8960, 28, 151936, tied_embeddings=True, bias="qkv"),
    Transformer("qwen2.5-3b", 2048, 16, 2, 128, 11008, 36, 151936, tied_embeddings=True, bias="qkv"),
    Transformer("qwen2.5-7b", 3584, 28, 4, 128, 18944, 28, 152064, bias="qkv"),
    Transformer("qwen2.5-14b", 5120, 40, 8, 128, 13824, 48, 152064, bias="qkv"),
    Transformer("qwen2.5-32b", 5120, 40, 8, 128, 27648, 64, 152064, bias="qkv"),
    Transformer("qwen2.5-72b", 8192, 64, 8, 128, 29568, 80, 152064, bias="qkv"),
    _gpt("gpt2-xl", 1600, 25, 48, 50257, 1024),
    _gpt("opt-6.7b", 4096, 32, 32, 50272, 2050),
    _gpt("opt-13b", 5120, 40, 40, 50272, 2050),
)
_SAME_SHAPE = {
    "vicuna-7b-v1.5": "llama-2-7b",
    "vicuna-13b-v1.5": "llama-2-13b",
    "llama-3-8b": "llama-3.1-8b",
    "llama-3-70b": "llama-3.1-70b",
    "llama-3.3-70b": "llama-3.1-70b",
}
PRESETS: Mapping[str, Transformer] = {shape.name: shape for shape in _SHAPES} | {
    name: replace(next(shape for shape in _SHAPES if shape.name == same), name=name)
    for name, same in _SAME_SHAPE.items()
}

# What tuning changes in a name and not in the shape: organisation, format, chat, longer context.
_NO_MATTER = re.compile(r"^.*/|\bmeta-|-(chat|instruct|hf|it|16k|base)\b")


def find_transformer(name: str) -> Transformer:
    """The preset of a model's name as people write it: `llama-2-7b`, `meta-llama/Llama-2-7b-chat-hf`, `mistral-7b`.

    Raises BadInputError with the nearest known name.
    """
    wanted = _NO_MATTER.sub("", name.strip().lower())
    found = [known for known in PRESETS if known == wanted] or [
        known for known in PRESETS if known.startswith(f"{wanted}-v")
    ]
    if len(found) == 1:
        return PRESETS[found[0]]
    nearest = get_close_matches(wanted, PRESETS, n=1)
    guess = f"Did you mean {nearest[0]}? " if nearest else ""
    raise BadInputError(
        f"The model '{name}' is not known.",
        f"{guess}Give the path of its config.json, or one of: {', '.join(PRESETS)}.",
    )


# model_type: the choices that its config.json does not spell out
_FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "mixtral": {},
    "phi3": {},
    "qwen2": {"bias": "qkv"},
    "qwen3": {"qk_norm": True},
    "qwen3_moe": {"qk_norm": True},
    "gpt2": {"gated": False, "position": "learned", "norm": "layer", "bias": "all", "tied_embeddings": True},
    "opt": {"gated": False, "position": "learned", "norm": "layer", "bias": "all", "tied_embeddings": True},
    "gpt_neox": {"gated": False, "norm": "layer", "bias": "all"},
}


def from_config(config: Mapping[str, Any], name: str = "") -> Transformer:
    """The shape told by the dict of a Hugging Face `config.json`. Raises BadInputError for what it does not understand.

    Sliding windows are not modelled: attention is counted over the whole context.
    """
    family = str(config.get("model_type"))
    if family not in _FAMILIES:
        raise BadInputError(
            f"The model type '{family}' is not one whose operations are known.", f"Known are {', '.join(_FAMILIES)}."
        )

    def number(*keys: str, default: int | None = None) -> int:
        value = next((config[key] for key in keys if config.get(key) is not None), default)
        if not isinstance(value, int) or isinstance(value, bool) or (value < 1 and value != default):
            raise BadInputError(f"The config has no usable '{keys[0]}'.", "Give the config.json of the model itself.")
        return value

    hidden, heads = number("hidden_size", "n_embd"), number("num_attention_heads", "n_head")
    kv_heads = number("num_key_value_heads", default=heads)
    experts = number("num_local_experts", "num_experts", default=0)
    if heads % kv_heads or hidden < heads:
        raise BadInputError(
            f"The config has {heads} heads, {kv_heads} KV heads and a width of {hidden}, which no attention has.",
            "Give the config.json of the model itself.",
        )
    choices = dict(_FAMILIES[family])
    if config.get("attention_bias"):
        choices["bias"] = "qkv"
    if choices.get("position") == "learned":
        choices["positions"] = number("max_position_embeddings", "n_positions") + (2 if family == "opt" else 0)
    if "tie_word_embeddings" in config:
        choices["tied_embeddings"] = bool(config["tie_word_embeddings"])
    ffn_keys = ("moe_intermediate_size",) if experts else ()
    return Transformer(
        name=name or str(config.get("_name_or_path") or family),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=number("head_dim", default=hidden // heads),
        ffn=number(
            *ffn_keys, "intermediate_size", "ffn_dim", "n_inner", default=4 * hidden if family == "gpt2" else None
        ),
        layers=number("num_hidden_layers", "n_layer"),
        vocab=number("vocab_size"),
        experts=experts,
        experts_per_token=min(number("num_experts_per_tok"), experts) if experts else 0,
        **choices,
    )
