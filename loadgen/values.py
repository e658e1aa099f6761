"""The text of one option → its value, or a BadInputError that says what was expected.

Apart from the table of options because these know one text each and nothing of each other.
"""

import json
from collections.abc import Callable
from typing import Any

from loadgen.errors import BadInputError
from loadgen.units import parse_count, parse_duration_ns

# How rows of a trace that cannot be sent as they are may be treated; the first of each is the default.
ROWS = {
    "zero": ("skip", "one"),  # no output token: leave it out, or ask for a single one
    "overflow": ("skip", "clamp", "send"),  # longer than the server's context: leave out, cut, let the server refuse
    "failed": ("skip", "send"),  # the recorded request failed
}


def choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise BadInputError(f"'{text}' is not one of {', '.join(allowed)}.")
        return text

    return parse


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadInputError(f"'{text}' is not a number.") from None


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadInputError(f"'{text}' is not a whole number.") from None


def positive(text: str) -> float:
    value = number(text)
    if not 0 < value < float("inf"):
        raise BadInputError(f"{text} is not above 0.", "Write 2, or 0.5 for half.")
    return value


def window(text: str) -> tuple[int, int]:
    first, dots, last = text.partition("..")
    if not dots:
        raise BadInputError(f"'{text}' is not a window.", "Write 10m..20m.")
    start_ns, end_ns = (parse_duration_ns(each) if each.strip() != "0" else 0 for each in (first, last))
    if start_ns >= end_ns:
        raise BadInputError(f"The window {text} is empty.", "Write the earlier time first: 10m..20m.")
    return start_ns, end_ns


def rows(text: str) -> dict[str, str]:
    policy = {}
    for part in text.split(","):
        name, _, choice = (each.strip() for each in part.partition("="))
        if choice not in ROWS.get(name, ()):
            raise BadInputError(
                f"'{part}' is no policy for rows.",
                "Write " + ", ".join(f"{name}={'|'.join(choices)}" for name, choices in ROWS.items()) + ".",
            )
        policy[name] = choice
    return policy


def header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or any(c in text for c in "\r\n"):
        raise BadInputError(f"'{name}' is not a header.", "Write it as 'Name: value'.")
    return name.strip(), value.strip()


def json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BadInputError(f"'{text}' is not JSON: {error}.", """Write it as '{"temperature": 0}'.""") from None
    if not isinstance(value, dict):
        raise BadInputError(f"'{text}' is not a JSON object.", """Write it as '{"temperature": 0}'.""")
    return value


def warmup(text: str) -> str:
    if text not in ("auto", "none"):
        parse_duration_ns(text)
    return text


def precision(text: str) -> float:
    """`3%` or 0.03."""
    digits, percent, rest = text.partition("%")
    value = number(digits) / (100 if percent else 1)
    if rest or not 0.001 <= value <= 0.5:
        raise BadInputError(f"'{text}' is not a precision.", "Write a percentage between 0.1% and 50%: 3%.")
    return value


def share(text: str) -> float:
    """`10%` or 0.1, up to all."""
    digits, percent, rest = text.partition("%")
    value = number(digits) / (100 if percent else 1)
    if rest or not 0 < value <= 1:
        raise BadInputError(f"'{text}' is not a share.", "Write a percentage up to 100%: 10%.")
    return value


def some(text: str) -> int:
    """A count of at least one: 0 would be taken for "not given"."""
    count = parse_count(text)
    if count < 1:
        raise BadInputError(f"{text} is too few.", "Leave it out, or write 1 or more.")
    return count


def positive_duration(text: str) -> int:
    duration_ns = parse_duration_ns(text)
    if duration_ns <= 0:
        raise BadInputError(f"A duration of {text} is too short.", "Write 30s or 2m.")
    return duration_ns
