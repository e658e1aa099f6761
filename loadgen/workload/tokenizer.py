"""A local tokenizer through the optional package `tokenizers`: counts tokens, names the words it knows.

Rule: nothing is downloaded; the package is imported only when a tokenizer is asked for. Special tokens (BOS, …) are
never counted here: what a server adds to a text is the server's overhead and is calibrated (`calibration`). Apart
because it is the only file that needs the package.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadgen.errors import BadInputError

Count = Callable[[str], int]  # text → tokens: a local tokenizer's, or a server's


class Tokenizer:
    """A loaded tokenizer.json."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def vocab_size(self) -> int:
        return int(self._inner.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def count(self, text: str) -> int:
        """Tokens of a text, without special tokens."""
        return len(self._inner.encode(text, add_special_tokens=False).ids)

    def vocabulary_words(self) -> tuple[str, ...]:
        """Lower-case words of 2 to 12 ASCII letters that stand in the vocabulary, in the order of their ids."""
        decoded = (str(self._inner.decode([token])).strip() for token in range(self.vocab_size))
        words = (
            word for word in decoded if 2 <= len(word) <= 12 and word.isascii() and word.isalpha() and word.islower()
        )
        return tuple(dict.fromkeys(words))


def load_tokenizer(path: Path) -> Tokenizer:
    """Load a tokenizer.json, or the one in a model folder. Raises BadInputError."""
    try:
        import tokenizers  # optional and slow to import: only here
    except ImportError:
        raise BadInputError(
            "Counting tokens here needs the package 'tokenizers'.", "Install it: pip install 'loadgen[tokenizers]'."
        ) from None
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise BadInputError(f"There is no tokenizer at {file}.", "Give a tokenizer.json, or a folder that has one.")
    try:
        inner = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001  # the package raises bare Exception for whatever it cannot read
        raise BadInputError(f"{file} is not a tokenizer: {error}.", "Give a Hugging Face tokenizer.json.") from None
    inner.no_truncation()  # some files cut a text at the model's length, which would make every count wrong
    inner.no_padding()
    return Tokenizer(inner)
