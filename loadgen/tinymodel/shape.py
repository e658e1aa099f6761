"""The shape of a generated model and its config.json: Llama, or Qwen2 and Mixtral where no weights are wanted.

Apart from the weights because engines that take dummy weights need nothing else.
"""

from dataclasses import dataclass
from typing import Any

from loadgen.errors import BadInputError
from loadgen.roofline.transformer import Transformer, find_transformer

TINY = "tiny"
_TINY = Transformer(TINY, hidden=256, heads=4, kv_heads=2, head_dim=64, ffn=704, layers=4, vocab=4096)  # 5 M
CONTEXT_DEFAULT = 4096

# (biased, experts) → the class and the model type that engines know it by
_CLASSES = {
    ("none", False): ("LlamaForCausalLM", "llama"),
    ("qkv", False): ("Qwen2ForCausalLM", "qwen2"),
    ("none", True): ("MixtralForCausalLM", "mixtral"),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """A transformer, how many tokens it takes, and how likely it ends by itself (a logit: −30 never, 10 at once)."""

    transformer: Transformer
    context: int = CONTEXT_DEFAULT
    eos_logit: float = -30.0

    @property
    def is_llama(self) -> bool:
        """Whether weights can be written for it."""
        return self._class[1] == "llama"

    @property
    def _class(self) -> tuple[str, str]:
        return _CLASSES[self.transformer.bias, self.transformer.experts > 0]

    def config(self, *, weights: bool) -> dict[str, Any]:
        """The content of config.json. With weights the output matrix is never the embedding: it holds the biases."""
        shape = self.transformer
        architecture, model_type = self._class
        config = {
            "architectures": [architecture],
            "model_type": model_type,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.ffn,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "vocab_size": shape.vocab,
            "max_position_embeddings": self.context,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": shape.tied_embeddings and not weights,
            "attention_bias": False,
            "mlp_bias": False,
            "initializer_range": 0.02,
            "torch_dtype": "float16" if weights else "bfloat16",
            "use_cache": True,
        }
        if shape.experts:
            config |= {"num_local_experts": shape.experts, "num_experts_per_tok": shape.experts_per_token}
        return config


def find_shape(name: str, context: int = CONTEXT_DEFAULT, eos_logit: float = -30.0) -> Shape:
    """`tiny`, or a model that `loadgen roofline` knows. Raises BadInputError."""
    transformer = _TINY if name == TINY else find_transformer(name)
    if (transformer.bias, transformer.experts > 0) not in _CLASSES or transformer.position != "rope":
        raise BadInputError(
            f"A model of the shape of {name} cannot be written.", "Llama, Qwen2 and Mixtral shapes can."
        )
    if context < 1:
        raise BadInputError(f"A context of {context} tokens is too short.", "Write --context 4096.")
    return Shape(transformer, context, eos_logit)
