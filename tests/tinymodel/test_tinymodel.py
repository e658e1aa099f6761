"""The generated model: the same bytes every time, files that other programs read, refusals in sentences."""

import json
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadgen.errors import BadInputError
from loadgen.tinymodel.shape import find_shape
from loadgen.tinymodel.vocabulary import EOS, SPECIAL, Vocabulary, learn_vocabulary
from loadgen.tinymodel.weights import Weights
from loadgen.tinymodel.write import cached_tiny, write_model

pytest.importorskip("tokenizers")


def read_safetensors(path: Path) -> dict[str, Any]:
    """By the format's own words: length, table, bytes without a gap."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    table, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    del table["__metadata__"]
    spans = sorted(entry["data_offsets"] for entry in table.values())
    assert spans[0][0] == 0
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert spans[-1][1] == len(data)
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], np.float16).reshape(entry["shape"])
        for name, entry in table.items()
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    write_model(folder, find_shape("tiny"))
    return folder


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return learn_vocabulary(4096)


def test_the_tensors_have_the_sizes_of_the_config(tiny: Path) -> None:
    config, tensors = json.loads((tiny / "config.json").read_text()), read_safetensors(tiny / "model.safetensors")
    assert len(tensors) == 3 + 9 * config["num_hidden_layers"]
    assert tensors["lm_head.weight"].shape == (config["vocab_size"], config["hidden_size"]) == (4096, 256)
    assert tensors["model.layers.3.self_attn.k_proj.weight"].shape == (2 * 64, 256)
    assert sum(tensor.size for tensor in tensors.values()) == find_shape("tiny").transformer.parameters


def test_the_bias_lane_carries_a_constant_to_the_output(tiny: Path, vocabulary: Vocabulary) -> None:
    tensors = read_safetensors(tiny / "model.safetensors")
    assert set(tensors["model.embed_tokens.weight"][:, 0]) == {4.0}
    for name, tensor in tensors.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            assert not tensor[0].any(), name
    bias = tensors["lm_head.weight"][:, 0]
    assert set(np.flatnonzero(bias)) == set(vocabulary.unprintable)
    assert set(bias[vocabulary.unprintable]) == {-30.0}


def test_what_can_be_sampled_is_plain_text(vocabulary: Vocabulary) -> None:
    plain = set(range(vocabulary.size)) - set(vocabulary.unprintable)
    pieces = [vocabulary.tokenizer.decode([number]) for number in plain]
    assert len(pieces) > 3900
    assert all(piece and piece.isascii() for piece in pieces)
    assert vocabulary.tokens[: len(SPECIAL)] == list(SPECIAL)
    assert EOS in vocabulary.unprintable


@pytest.mark.parametrize("size", [512, 4096, 32_000])
def test_a_vocabulary_has_exactly_the_size_asked_for(size: int) -> None:
    made = learn_vocabulary(size)
    assert made.size == size == len(set(made.tokens))
    text = "def f(x):\n    return x + 1  # naïve → ok"
    assert made.tokenizer.decode(made.tokenizer.encode(text).ids) == text
    assert made.tokenizer.decode([size - 1]).strip()


def test_it_is_the_same_every_time(tiny: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "again", find_shape("tiny"))
    for path in tiny.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_a_large_tensor_repeats_random_numbers_out_of_step_with_its_rows() -> None:
    weights = Weights(find_shape("llama-2-7b"), [])
    rows = weights.tensor("model.layers.0.mlp.up_proj.weight", (11008, 4096))
    assert rows.astype(np.float32).std() == pytest.approx(1 / 64, rel=0.01)  # in float16 some versions lose the sum
    assert len(np.unique(rows[:, :4], axis=0)) == 11008


def test_a_real_shape_without_weights(tmp_path: Path) -> None:
    write_model(tmp_path / "llama", find_shape("llama-2-7b"), weights=False)
    config = json.loads((tmp_path / "llama" / "config.json").read_text())
    assert (config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]) == (4096, 32, 32_000)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert json.loads((tmp_path / "llama" / "tokenizer_config.json").read_text())["chat_template"]


@pytest.mark.parametrize(("name", "kind"), [("qwen2.5-7b", "qwen2"), ("mixtral-8x7b-v0.1", "mixtral")])
def test_other_shapes_have_a_config_but_no_weights(name: str, kind: str, tmp_path: Path) -> None:
    assert find_shape(name).config(weights=False)["model_type"] == kind
    with pytest.raises(BadInputError, match="Llama shapes only"):
        write_model(tmp_path / "x", find_shape(name))
    assert not (tmp_path / "x").exists()


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be written"):
        find_shape("gpt2-xl")
    with pytest.raises(BadInputError, match="is not known"):
        find_shape("lama")
    with pytest.raises(BadInputError, match="too short"):
        find_shape("tiny", context=0)
    (tmp_path / "mine").write_text("")
    with pytest.raises(BadInputError, match="not an empty folder"):
        write_model(tmp_path, find_shape("tiny"))


def test_the_cached_model_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = cached_tiny(gguf=False)
    made = (first / "model.safetensors").stat().st_mtime_ns
    assert cached_tiny(gguf=False) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == made
    assert [path.name for path in (tmp_path / "loadgen").iterdir()] == [first.name]


def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BadInputError, match="Cannot write the tiny model"):
        cached_tiny(gguf=False)


def test_the_gguf_has_the_same_tokens_and_weights(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    write_model(tmp_path / "m", find_shape("tiny"), gguf=True)
    reader = gguf.GGUFReader(str(tmp_path / "m" / "model.gguf"))
    plain = read_safetensors(tmp_path / "m" / "model.safetensors")
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    assert len(tensors) == len(plain)
    assert np.array_equal(tensors["token_embd.weight"], plain["model.embed_tokens.weight"])
    key, same = plain["model.layers.1.self_attn.k_proj.weight"], tensors["blk.1.attn_k.weight"]
    assert np.array_equal(same[64:128:2], key[64:96])  # the second head's first half: every other row
    assert np.array_equal(same[65:128:2], key[96:128])
