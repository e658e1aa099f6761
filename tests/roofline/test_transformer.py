"""Shapes: presets with the parameter counts of the published checkpoints, and Hugging Face configs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import BadInputError
from loadgen.roofline.transformer import PRESETS, find_transformer, from_config

# The sum of the elements of all tensors of the published checkpoint.
PARAMETERS = {
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "vicuna-7b-v1.5": 6_738_415_616,
    "vicuna-13b-v1.5": 13_015_864_320,
    "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "llama-3.3-70b": 70_553_706_496,
    "mistral-7b-v0.3": 7_248_023_552,
    "mixtral-8x7b-v0.1": 46_702_792_704,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "gpt2-xl": 1_557_611_200,
    "opt-6.7b": 6_658_473_984,
    "opt-13b": 12_853_473_280,
}


def test_parameter_counts():
    assert {name: model.parameters for name, model in PRESETS.items()} == PARAMETERS


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("llama-2-7b", "llama-2-7b"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama-2-7b"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("lmsys/vicuna-7b-v1.5-16k", "vicuna-7b-v1.5"),
        ("vicuna-13b", "vicuna-13b-v1.5"),
        ("mistral-7b", "mistral-7b-v0.3"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b-v0.1"),
        ("Qwen/Qwen2.5-72B-Instruct", "qwen2.5-72b"),
        ("facebook/opt-13b", "opt-13b"),
        ("openai-community/gpt2-xl", "gpt2-xl"),
    ],
)
def test_names_as_people_write_them(written, name):
    assert find_transformer(written).name == name


@pytest.mark.parametrize(
    ("written", "guess"), [("lama-2-7b", "llama-2-7b"), ("qwen2.5-8b", "qwen2.5-"), ("", ""), ("/", "")]
)
def test_unknown_names_get_a_guess(written, guess):
    with pytest.raises(BadInputError, match="not known") as raised:
        find_transformer(written)
    assert guess in raised.value.hint.partition("?")[0]
    assert "llama-2-13b" in raised.value.hint


LLAMA_3_1_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
CONFIGS = {
    "llama-3.1-8b": LLAMA_3_1_8B,
    "llama-2-7b": {  # without num_key_value_heads, as old configs are
        "model_type": "llama",
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "vocab_size": 32000,
    },
    "mixtral-8x7b-v0.1": LLAMA_3_1_8B
    | {"model_type": "mixtral", "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2},
    "qwen2.5-0.5b": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "gpt2-xl": {
        "model_type": "gpt2",
        "n_embd": 1600,
        "n_head": 25,
        "n_inner": None,
        "n_layer": 48,
        "n_positions": 1024,
        "vocab_size": 50257,
    },
    "opt-6.7b": {
        "model_type": "opt",
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "ffn_dim": 16384,
        "num_hidden_layers": 32,
        "max_position_embeddings": 2048,
        "vocab_size": 50272,
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_gives_the_shape_of_its_preset(name):
    assert from_config(CONFIGS[name], name) == PRESETS[name]


def test_qwen3_moe():
    """Qwen3-30B-A3B: 30,532,122,624 parameters."""
    config = {
        "model_type": "qwen3_moe",
        "hidden_size": 2048,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "intermediate_size": 6144,
        "moe_intermediate_size": 768,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "num_hidden_layers": 48,
        "vocab_size": 151936,
        "tie_word_embeddings": False,
    }
    model = from_config(config)
    assert model.parameters == 30_532_122_624
    assert (model.q_width, model.kv_width, model.experts_per_token) == (4096, 512, 8)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "mamba"},
        {"model_type": None},
        {"model_type": ["llama"]},
        {"hidden_size": None},
        {"hidden_size": "4096"},
        {"hidden_size": 0},
        {"num_attention_heads": 0},
        {"num_attention_heads": 5},
        {"num_key_value_heads": 0},
        {"num_key_value_heads": 7},
        {"intermediate_size": None},
        {"vocab_size": -1},
        {"num_hidden_layers": True},
        {"num_local_experts": 8},
    ],
)
def test_a_config_that_cannot_be_understood_is_refused(change):
    with pytest.raises(BadInputError) as raised:
        from_config(LLAMA_3_1_8B | change)
    assert raised.value.hint


@given(st.dictionaries(st.sampled_from(sorted(LLAMA_3_1_8B)), st.none() | st.integers() | st.text() | st.floats()))
def test_any_config_is_understood_or_refused(changes):
    try:
        model = from_config(LLAMA_3_1_8B | changes)
    except BadInputError:
        return
    assert model.parameters > 0
