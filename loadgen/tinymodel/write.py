"""A model folder as Hugging Face has it: config, tokenizer, chat template and, tensor by tensor, model.safetensors.

The format of safetensors is a length, a JSON table and the bytes: written here, so that no package is needed for it.
"""

import json
import os
import shutil
import struct
from pathlib import Path

from loadgen.errors import BadInputError
from loadgen.tinymodel.shape import Shape, find_shape
from loadgen.tinymodel.vocabulary import BOS, CHAT_TEMPLATE, EOS, PAD, SPECIAL, Vocabulary, learn_vocabulary
from loadgen.tinymodel.weights import Weights

GGUF_NAME = "model.gguf"


def write_model(folder: Path, shape: Shape, *, weights: bool = True, gguf: bool = False, seed: int = 0) -> None:
    """Fill a new or empty folder. `gguf` adds model.gguf with the same weights. Raises BadInputError."""
    if (weights or gguf) and not shape.is_llama:
        raise BadInputError(
            f"Weights are written for Llama shapes only, and {shape.transformer.name} is none.", "Add --no-weights."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInputError(f"{folder} exists and is not an empty folder.", "Name a new one.")
    vocabulary = learn_vocabulary(shape.transformer.vocab)
    folder.mkdir(parents=True, exist_ok=True)
    _write_words(folder, shape, vocabulary, weights=weights)
    random = Weights(shape, vocabulary.unprintable, seed)
    if weights:
        _write_safetensors(folder / "model.safetensors", random)
    if gguf:
        from loadgen.tinymodel.gguf import write_gguf

        write_gguf(folder / GGUF_NAME, shape, vocabulary, random)


def _write_words(folder: Path, shape: Shape, vocabulary: Vocabulary, *, weights: bool) -> None:
    """Everything but the weights."""
    ids = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    tokens = {"bos_token": SPECIAL[BOS], "eos_token": SPECIAL[EOS], "pad_token": SPECIAL[PAD]}
    tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": shape.context,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    for name, content in {
        "config.json": shape.config(weights=weights) | ids,
        "generation_config.json": ids,
        "tokenizer_config.json": tokenizer | tokens,
    }.items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    vocabulary.save(folder)


def _write_safetensors(path: Path, weights: Weights) -> None:
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, size in weights.sizes.items():
        begin, end = end, end + 2 * _count(size)
        table[name] = {"dtype": "F16", "shape": size, "data_offsets": [begin, end]}
    head = json.dumps(table).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as sink:
        sink.write(struct.pack("<Q", len(head)) + head)
        for _, values in weights.tensors():
            sink.write(values.data)


def _count(size: tuple[int, ...]) -> int:
    return size[0] if len(size) == 1 else size[0] * size[1]


def cached_tiny(*, gguf: bool) -> Path:
    """The tiny model in the user's cache, made on first use: its folder, or its GGUF file. Raises BadInputError."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loadgen"
    folder = cache / ("tiny-gguf-1" if gguf else "tiny-1")  # the number changes when the content does
    if not folder.is_dir():
        unfinished = cache / f"{folder.name}.{os.getpid()}"
        try:
            write_model(unfinished, find_shape("tiny", context=16_384 + 1024), gguf=gguf)
            unfinished.rename(folder)  # in one step: who comes at the same time sees none, or the whole
        except FileExistsError:
            pass  # somebody was faster
        except OSError as error:
            raise BadInputError(
                f"Cannot write the tiny model to {cache}: {error.strerror}.", "Set XDG_CACHE_HOME to a place of yours."
            ) from None
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder / GGUF_NAME if gguf else folder
