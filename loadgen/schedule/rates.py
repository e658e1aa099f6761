"""The text of `--rates`: which request rates a sweep visits, in the order in which they were written.

Apart from rate.py because a sweep is many runs, each with a flat curve of its own.
"""

import math
import re

from loadgen.errors import BadInputError
from loadgen.schedule.rate import check_rate

RATES_MAX = 1000

_RANGE = re.compile(r"(.*?)\.\.([^/+]*)(?:([/+])(.*))?")
_HINT = "Write 1..64 (doubling), 1..64/12 (12 log-spaced), 1..64+8 (steps of 8), 1,4,9 or inf, in requests per second."


def parse_rates(text: str) -> tuple[float, ...]:
    """Turn `1..64`, `1..64/12`, `1..64+8`, `1,4,9`, `inf` and mixtures into rates, each once. Raises BadInputError."""
    rates: dict[float, None] = {}
    for part in text.split(","):
        rates |= dict.fromkeys(_expand(part.strip(), text))
        _check_number_of(len(rates), text)
    return tuple(rates)


def _expand(part: str, text: str) -> list[float]:
    match = _RANGE.fullmatch(part)
    if match is None:
        rate = _number(part, text)
        if rate != math.inf:
            check_rate(rate)
        return [rate]
    begin, end, sign, by = match.groups()
    first, last = _number(begin, text), _number(end, text)
    check_rate(first)
    check_rate(last)
    if first > last:
        raise BadInputError(f"'{part}' runs backward.", f"Write the smaller rate first: {end}..{begin}.")
    if sign == "/":
        return _log_spaced(first, last, _number(by, text), text)
    if sign == "+":
        return _stepped(first, last, _number(by, text), text)
    doubled = (first * 2.0**k for k in range(math.ceil(math.log2(last / first)) + 1))
    return [*(rate for rate in doubled if rate < last), last]


def _stepped(first: float, last: float, step: float, text: str) -> list[float]:
    if not 0 < step < math.inf:
        raise BadInputError(f"The step after + must be above 0: '{text}'.", _HINT)
    _check_number_of((last - first) / step + 1, text)
    return [_neat(first + k * step) for k in range(math.floor((last - first) / step + 1e-9) + 1)]


def _log_spaced(first: float, last: float, points: float, text: str) -> list[float]:
    _check_number_of(points, text)
    if points < 2 or points != int(points):
        raise BadInputError(f"The number of rates after / must be whole and at least 2: '{text}'.", _HINT)
    inner = (_neat(first * (last / first) ** (k / (points - 1))) for k in range(1, int(points) - 1))
    return [first, *inner, last]


def _check_number_of(rates: float, text: str) -> None:
    if rates > RATES_MAX:
        raise BadInputError(f"'{text}' asks for more than {RATES_MAX:,} rates.", "Take a larger step or fewer points.")


def _neat(rate: float) -> float:
    """0.1 + 2 × 0.1 is 0.3 to the reader: keep 12 digits."""
    return float(f"{rate:.12g}")


def _number(word: str, text: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise BadInputError(f"'{text}' is not a list of request rates.", _HINT)
    return value
