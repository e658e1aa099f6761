"""A tokenizer and a vocabulary so plain that anybody can count along; no model, no download, always the same.

Every run of non-space characters (with the space before it) is one token for each 8 characters it has or begins. Every
word that the simulator says is one token, so an answer counted with this tokenizer has as many tokens as it was asked.
"""

import re
import zlib

_PIECE = re.compile(r"\S{1,8}")

# All of one length: an event's size then depends on its request alone and is computed once.
_SPOKEN = (
    "water light stone river cloud grass field house night train plant sound earth green white black "
    "north south small large heart music paper glass table voice dream ocean metal sugar storm chain"
)
WORDS = [f" {word}" for word in _SPOKEN.split()]
WORD_BYTES = 6

CHAT_TEMPLATE_TOKENS = 7  # what a chat template adds around the messages


def pieces(text: str) -> list[str]:
    """The tokens of a text, as texts."""
    return _PIECE.findall(text)


def count_tokens(text: str) -> int:
    return len(_PIECE.findall(text))


def token_ids(text: str, vocabulary: int) -> list[int]:
    """An id below `vocabulary` for every token: a checksum, equal for equal pieces."""
    return [zlib.crc32(piece.encode()) % vocabulary for piece in _PIECE.findall(text)]


def answer_text(tokens: int) -> str:
    """The first `tokens` words of the answer that the simulator always gives."""
    return "".join(WORDS[index % len(WORDS)] for index in range(tokens))
