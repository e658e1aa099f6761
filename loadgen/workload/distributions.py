"""Token lengths as a user writes them (`512`, `uniform:100-900`, …) and the numbers drawn from them.

Rule: one line a distribution in the table at the end; a draw is whole tokens, at least 1, and a prefix of any longer
draw from the same generator. Apart from `lengths` because options are parsed before any dataset is opened.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadgen.errors import BadInputError
from loadgen.units import parse_count

Int64s = npt.NDArray[np.int64]

TOKENS_MAX = 10_000_000
_SYNTAX = "Write 512, uniform:100-900, normal:512,128 (mean, sd) or lognormal:512,0.6 (mean, sigma of the logarithm)."


@dataclass(frozen=True, slots=True)
class Distribution:
    """A kind out of the table below and its two parameters."""

    kind: str
    first: float
    second: float

    def draw(self, rng: np.random.Generator, n: int) -> Int64s:
        """int64[n] of tokens, each from 1 to TOKENS_MAX; rounding and clipping come last."""
        drawn = _KINDS[self.kind].draw(rng, self.first, self.second, n)
        return np.clip(np.rint(drawn), 1, TOKENS_MAX).astype(np.int64)


def parse_distribution(text: str) -> Distribution:
    """Read `512`, `uniform:100-900`, `normal:512,128` or `lognormal:512,0.6`. Raises BadInputError."""
    kind, colon, parameters = text.strip().lower().partition(":")
    if not colon:
        kind, parameters = "fixed", f"{kind},0"
    if kind not in _KINDS:
        raise BadInputError(f"'{kind}' is not a distribution of lengths that loadgen knows.", _SYNTAX)
    first_text, separator, second_text = parameters.partition(_KINDS[kind].separator)
    try:
        first = parse_count(first_text)
        second = parse_count(second_text) if kind == "uniform" else float(second_text)
    except (BadInputError, ValueError):
        raise BadInputError(f"'{text}' is not a token length.", _SYNTAX) from None
    if not separator or not 1 <= first <= TOKENS_MAX:
        raise BadInputError(f"'{text}' is not a token length from 1 to {TOKENS_MAX:,}.", _SYNTAX)
    low, high = first if kind == "uniform" else 0, _KINDS[kind].spread_max
    if not low <= second <= high:
        raise BadInputError(f"'{text}' has a second number outside {low:,} to {high:,}.", _SYNTAX)
    return Distribution(kind, first, second)


Draw = Callable[[np.random.Generator, float, float, int], npt.NDArray[np.float64]]


def _fixed(_: np.random.Generator, tokens: float, __: float, n: int) -> npt.NDArray[np.float64]:
    return np.full(n, tokens)


def _uniform(rng: np.random.Generator, low: float, high: float, n: int) -> npt.NDArray[np.float64]:
    return rng.integers(int(low), int(high), n, endpoint=True).astype(np.float64)


def _normal(rng: np.random.Generator, mean: float, sd: float, n: int) -> npt.NDArray[np.float64]:
    return rng.normal(mean, sd, n)


def _lognormal(rng: np.random.Generator, mean: float, sigma: float, n: int) -> npt.NDArray[np.float64]:
    """`mean` is the mean of the lengths themselves: exp(µ + σ²/2) = mean."""
    return rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, n)


@dataclass(frozen=True, slots=True)
class _Kind:
    separator: str
    spread_max: int  # the largest second number
    draw: Draw


_KINDS = {
    "fixed": _Kind(",", 0, _fixed),
    "uniform": _Kind("-", TOKENS_MAX, _uniform),
    "normal": _Kind(",", TOKENS_MAX, _normal),
    "lognormal": _Kind(",", 5, _lognormal),
}
