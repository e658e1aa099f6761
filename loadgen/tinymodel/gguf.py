"""The same model as one GGUF file for llama.cpp: the tokens keep their ids, the rotary rows change their order.

Apart because it is the only file here that needs the package `gguf`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from loadgen.errors import BadInputError
from loadgen.tinymodel.shape import Shape
from loadgen.tinymodel.vocabulary import BOS, CHAT_TEMPLATE, EOS, PAD, SPECIAL, Vocabulary
from loadgen.tinymodel.weights import Halves, Weights

# The last part of a Hugging Face name → llama.cpp's
_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_WHOLE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def write_gguf(path: Path, shape: Shape, vocabulary: Vocabulary, weights: Weights) -> None:
    """One file with config, tokenizer, chat template and float16 tensors. Raises BadInputError without `gguf`."""
    try:
        import gguf
    except ImportError:
        raise BadInputError(
            "Writing GGUF needs the package 'gguf'.", "Install it: pip install 'loadgen[llama-cpp]'."
        ) from None
    model = shape.transformer
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name(f"random-{model.name}")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(model.hidden)
    writer.add_block_count(model.layers)
    writer.add_feed_forward_length(model.ffn)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_key_length(model.head_dim)
    writer.add_value_length(model.head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(model.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(model.vocab)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_vocabulary(writer, gguf, vocabulary)
    sizes = {_name(name): (name, size) for name, size in weights.sizes.items()}
    for name, (_, size) in sizes.items():
        dtype = np.dtype(np.float32 if len(size) == 1 else np.float16)
        writer.add_tensor_info(name, size, dtype, int(np.prod(size)) * dtype.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for plain, size in sizes.values():
        values = weights.tensor(plain, size)
        if len(size) == 1:
            writer.write_tensor_data(values.astype(np.float32))
        elif plain.endswith(("q_proj.weight", "k_proj.weight")):
            writer.write_tensor_data(_reordered(values, model.heads if "q_proj" in plain else model.kv_heads))
        else:
            writer.write_tensor_data(values)
    writer.close()


def _add_vocabulary(writer: Any, gguf: Any, vocabulary: Vocabulary) -> None:
    import msgspec

    kinds = gguf.TokenType
    merges = msgspec.json.decode(vocabulary.tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types([kinds.CONTROL if token in SPECIAL else kinds.NORMAL for token in vocabulary.tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_pad_token_id(PAD)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _name(name: str) -> str:
    if name in _WHOLE:
        return _WHOLE[name]
    _, _, layer, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{layer}.{_NAMES[part]}.weight"


def _reordered(values: Halves, heads: int) -> Halves:
    """Rows of a rotary matrix: Hugging Face pairs halves of a head, llama.cpp pairs neighbours."""
    rows, columns = values.shape
    turned = values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
    return np.ascontiguousarray(turned)
