"""How many words make a prompt of so many tokens, when only the server can count: a straight line, fitted once.

Rule: prompt_tokens = overhead + tokens_per_word · words. The overhead is what the server puts around the text (BOS,
chat template). Pure arithmetic: who sends the probes and reads `usage.prompt_tokens` is not known here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadgen.errors import TargetError

TOKENS_PER_WORD_MIN = 0.25  # no tokenizer puts four common words into one token


@dataclass(frozen=True, slots=True)
class Calibration:
    """The line. Uncalibrated, a word is a token and the server adds nothing."""

    tokens_per_word: float = 1.0
    overhead: float = 0.0

    def words_for(self, input_tokens: int) -> int:
        """Words of a prompt that the server will count as `input_tokens`, as nearly as whole words go; at least one."""
        return max(1, round((input_tokens - self.overhead) / self.tokens_per_word))


def fit(words: Sequence[int], prompt_tokens: Sequence[int]) -> Calibration:
    """Least squares through probes: texts of so many words, and what the server said they were.

    Needs probes of two different lengths (ValueError otherwise). Raises TargetError when the server's count does not
    grow with the prompt.
    """
    if len(set(words)) < 2:
        raise ValueError("a line needs probes of two different lengths")
    tokens_per_word, overhead = np.polyfit(words, prompt_tokens, 1)
    if tokens_per_word < TOKENS_PER_WORD_MIN:
        raise TargetError(
            f"The server counts {list(prompt_tokens)} tokens in prompts of {list(words)} words, which cannot be right.",
            "Give a local tokenizer with --tokenizer, so that prompts can be counted here.",
        )
    return Calibration(float(tokens_per_word), float(overhead))
