"""The tokenizer of a generated model: byte-level BPE learned from the prose of Python's own documentation.

Nothing is downloaded. A vocabulary larger than that prose can fill is filled up with made-up words, which texts never
contain and which decode like any other token. Apart because it is the only file here that needs `tokenizers`.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from loadgen.errors import BadInputError

SPECIAL = ("<|bos|>", "<|eos|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>")
BOS, EOS, PAD = range(3)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_LEARNED_MAX = 8192  # more is not learned from half a megabyte of prose
_BLANK = "Ġ"  # how byte-level BPE spells the blank before a word
_CONSONANTS, _VOWELS = "bdfgklmnprst", "aeiou"


@dataclass(frozen=True, slots=False)
class Vocabulary:
    """A trained tokenizer (of the package `tokenizers`); ids 0 to 7 are SPECIAL."""

    tokenizer: Any

    @property
    def size(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    @cached_property
    def tokens(self) -> list[str]:
        """By id, in the byte-level spelling."""
        by_id = {number: token for token, number in self.tokenizer.get_vocab().items()}
        return [by_id[number] for number in range(len(by_id))]

    @cached_property
    def unprintable(self) -> list[int]:
        """Ids that a stream of plain text must not contain: specials, control characters, parts of a character."""
        return [number for number in range(self.size) if not _is_plain(self.tokenizer.decode([number]))]

    def save(self, folder: Path) -> None:
        self.tokenizer.save(str(folder / "tokenizer.json"))


def learn_vocabulary(size: int) -> Vocabulary:
    """A tokenizer of exactly `size` tokens (at least 512). Always the same one. Raises BadInputError."""
    if size < 512:
        raise BadInputError(f"A vocabulary of {size} tokens is too small.", "Bytes and special tokens alone are 264.")
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise BadInputError(
            "Writing a model needs the package 'tokenizers'.", "Install it: pip install 'loadgen[llama-cpp]'."
        ) from None
    from pydoc_data import topics

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(size, _LEARNED_MAX),
        special_tokens=list(SPECIAL),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    prose = [" ".join(topics.topics[name].encode("ascii", "ignore").decode().split()) for name in sorted(topics.topics)]
    tokenizer.train_from_iterator(prose, trainer)
    return Vocabulary(_filled(tokenizer, size))


def _filled(tokenizer: Any, size: int) -> Any:
    """The same tokenizer with made-up words after its own tokens."""
    import msgspec
    from tokenizers import Tokenizer

    content = msgspec.json.decode(tokenizer.to_str())
    known = content["model"]["vocab"]
    made = (word for number in range(10 * size) if (word := _made_up(number)) not in known)
    while len(known) < size:
        known[next(made)] = len(known)
    return Tokenizer.from_str(msgspec.json.encode(content).decode())


def _made_up(number: int) -> str:
    """The number-th word of four syllables: ` babababa`, ` babababe`, …"""
    word = ""
    for _ in range(4):
        number, place = divmod(number, len(_CONSONANTS) * len(_VOWELS))
        word = _CONSONANTS[place // len(_VOWELS)] + _VOWELS[place % len(_VOWELS)] + word
    return _BLANK + word


def _is_plain(text: str) -> bool:
    return bool(text) and text.isascii() and all(letter.isprintable() or letter == "\n" for letter in text)
