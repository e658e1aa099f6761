"""ServeGen: no trace but a folder of clients, each a renewal process with lengths of its own; traffic is drawn from it.

chunk-i-trace.csv: windows of (start s, rate, CV, Gamma | Weibull, shape, scale); chunk-i-dataset.json: distributions
of lengths as text, read by a strict parser and never evaluated. Clients are never pooled; lengths are drawn
independently; nothing is rescaled to fill a window. The seed and the window are the caller's choice.
"""

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from loadgen.errors import BadInputError
from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.reading import TOKENS_MAX, Head, refuse
from loadgen.trace.table import UNKNOWN, Int64s, Survey, Trace, column
from loadgen.units import NS_PER_S, ns_to_s

DURATION_NS_DEFAULT = 600 * NS_PER_S
REQUESTS_MAX = 50_000_000
_TRACE = re.compile(r"chunk-(\d+)-trace\.csv")
_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"
_PAIR = re.compile(rf"\s*([0-9]+)\s*:\s*({_NUMBER})\s*", re.IGNORECASE)
_FIELDS = re.compile(rf"({_NUMBER}),({_NUMBER}),({_NUMBER})?,(Gamma|Weibull|),({_NUMBER}),({_NUMBER})", re.IGNORECASE)
_INPUTS = ("input_tokens", "text_tokens", "image_tokens", "audio_tokens", "video_tokens")


@dataclass(frozen=True, slots=True)
class Window:
    """From start_s to end_s a client sends `rate` requests a second, spaced like the named distribution."""

    start_s: float
    end_s: float
    rate: float
    name: str
    shape: float


@dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution over numbers of tokens."""

    tokens: Int64s
    shares: np.ndarray[tuple[int], np.dtype[np.float64]]


def matches(head: Head) -> bool:
    return any(_TRACE.fullmatch(name) for name in head.names)


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """The traffic of all clients within the window, drawn anew with each seed. Raises BadInputError."""
    numbers = sorted(int(match[1]) for name in head.names if (match := _TRACE.fullmatch(name)))
    start_s = ns_to_s(choices.start_ns)
    end_s = start_s + ns_to_s(DURATION_NS_DEFAULT if choices.duration_ns is None else choices.duration_ns)
    at_ns, clients, inputs, outputs = [], [], [], []
    silent = 0
    for number in numbers:
        rng = np.random.default_rng([choices.seed, number])
        windows = _windows(head.path / f"chunk-{number}-trace.csv")
        if sum(max(0.0, min(w.end_s, end_s) - max(w.start_s, start_s)) * w.rate for w in windows) > REQUESTS_MAX:
            raise BadInputError(f"{head.path}: client {number} alone would send too many requests.", "Take less time.")
        times_s = arrivals_s(windows, start_s, end_s, rng)
        lengths = _lengths(head.path / f"chunk-{number}-dataset.json")
        drawn = [_draw(lengths, times_s, part, rng) for part in (True, False)]
        known = (drawn[0] >= 0) & (drawn[1] >= 0)
        silent += int(np.count_nonzero(~known))
        at_ns.append(np.rint(times_s[known] * NS_PER_S).astype(np.int64))
        clients.append(column(int(known.sum()), number))
        inputs.append(drawn[0][known])
        outputs.append(drawn[1][known])
    times = np.concatenate(at_ns)
    order = np.argsort(times, kind="stable")
    survey.rows_read = len(times) + silent
    if silent:
        survey.dropped["the client has no lengths for that time"] = silent
    survey.oddities.append(
        f"Drawn, not recorded: {len(numbers):,} clients from {start_s:,.0f} s to {end_s:,.0f} s of the day, "
        f"seed {choices.seed}. Tokens of pictures and sound count as text."
    )
    draft = Draft(
        times[order], np.concatenate(clients)[order], np.concatenate(inputs)[order], np.concatenate(outputs)[order]
    )
    return assemble(draft, survey, choices)


def arrivals_s(
    windows: list[Window], start_s: float, end_s: float, rng: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Arrivals of one client: a renewal process of mean 1 in operational time, which runs as fast as the rate.

    A gap that a window's end cuts goes on in the next one at its rate, so nothing is lost or squeezed in there."""
    found = []
    left: float | None = None  # of the gap that runs, in operational time
    for window in windows:
        low, high = max(window.start_s, start_s), min(window.end_s, end_s)
        if high <= low or window.rate <= 0:
            continue
        if left is None:
            left = float(_gaps(window, 1, rng)[0] * rng.random())  # the process has been running for long
        area = (high - low) * window.rate
        if left >= area:
            left -= area
            continue
        places = [left]
        while places[-1] < area:
            gaps = _gaps(window, max(16, math.ceil((area - places[-1]) * 1.1)), rng)
            places += (places[-1] + np.cumsum(gaps)).tolist()
        inside = np.array(places)
        found.append(low + inside[inside < area] / window.rate)
        left = float(inside[inside >= area][0] - area)
    return np.concatenate(found) if found else np.zeros(0)


def _gaps(window: Window, n: int, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """n gaps of mean 1; without a shape they are exponential."""
    if window.name == "gamma" and window.shape > 0:
        return rng.gamma(window.shape, 1 / window.shape, n)
    if window.name == "weibull" and window.shape > 0:
        return rng.weibull(window.shape, n) / math.gamma(1 + 1 / window.shape)
    return rng.exponential(1.0, n)


def _windows(path: Path) -> list[Window]:
    lines = _text(path).splitlines()
    parts: list[tuple[float, float, str, float]] = []
    for place, line in enumerate(lines, 1):
        match = _FIELDS.fullmatch(line.strip())
        if match is None:
            refuse(path, place, f"'{line[:60]}' is no window of six fields")
        start, rate, shape = float(match[1]), float(match[2]), float(match[5])
        if parts and start <= parts[-1][0]:
            refuse(path, place, "the window does not begin after the one before it")
        if not (start < 1e9 and rate < 1e6 and shape < 1e6) or (0 < shape < 0.01):
            refuse(path, place, "start, rate or shape is out of range")
        parts.append((start, rate, match[4].lower(), shape))
    if not parts:
        refuse(path, 1, "it is empty")
    widths = [b[0] - a[0] for a, b in pairwise(parts)]
    widths.append(widths[-1] if widths else 600.0)
    return [Window(a, a + width, b, c, d) for (a, b, c, d), width in zip(parts, widths, strict=True)]


def _lengths(path: Path) -> list[tuple[float, list[Lengths], Lengths | None]]:
    """(from second, distributions whose sum is the prompt, the answer's) in the order of time."""
    try:
        held = msgspec.json.decode(_text(path), type=dict[str, dict[str, str | float | None]])
        found = sorted((float(key), fields) for key, fields in held.items() if re.fullmatch(_NUMBER, key))
    except (msgspec.DecodeError, OverflowError) as error:
        refuse(path, 1, f"no table of lengths ({error})")
    parsed = []
    for start, fields in found:
        inputs = [parse_lengths(path, fields[name]) for name in _INPUTS if name in fields]
        output = parse_lengths(path, fields.get("output_tokens"))
        parsed.append((start, [each for each in inputs if each] if all(inputs) else [], output))
    return parsed


def parse_lengths(path: Path, text: str | float | None) -> Lengths | None:
    """`{45: 0.25, 46: 0.75}` and nothing else; None where it is empty. Raises BadInputError."""
    if not isinstance(text, str) or not (text.startswith("{") and text.endswith("}")):
        refuse(path, 1, f"'{str(text)[:40]}' is no distribution")
    if not text[1:-1].strip():
        return None
    tokens, shares = [], []
    for part in text[1:-1].split(","):
        match = _PAIR.fullmatch(part)
        if match is None or len(match[1]) > 9 or int(match[1]) > TOKENS_MAX:
            refuse(path, 1, f"'{part.strip()[:40]}' is no length with its share")
        tokens.append(int(match[1]))
        shares.append(float(match[2]))
    total = sum(shares)
    if not abs(total - 1) < 1e-6:
        refuse(path, 1, f"the shares of a distribution sum to {total:.6f}, not to 1")
    return Lengths(np.array(tokens, np.int64), np.array(shares) / total)


def _draw(
    lengths: list[tuple[float, list[Lengths], Lengths | None]],
    times_s: np.ndarray[tuple[int], np.dtype[np.float64]],
    prompt: bool,
    rng: np.random.Generator,
) -> Int64s:
    """A length for each time, −1 where the client has none then."""
    found = column(len(times_s))
    starts = np.array([start for start, _, _ in lengths])
    part = np.searchsorted(starts, times_s, "right") - 1
    for k, (_, inputs, output) in enumerate(lengths):
        here = np.flatnonzero(part == k)
        chosen = inputs if prompt else [output] if output else []
        if chosen:
            found[here] = sum(rng.choice(each.tokens, len(here), p=each.shares) for each in chosen)
    return np.maximum(found, UNKNOWN)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInputError(f"{path} is missing beside its other half.", "A client has two files.") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} is no UTF-8 text.", "Fetch it again.") from error
