"""Rate curves: how many requests per second are asked for at each moment, as straight stretches.

What counts is the area under the curve, Λ(t) = ∫₀ᵗ rate: the k-th arrival of a unit-rate process falls due at Λ⁻¹(k).
Flat, ramp and steps are all made of stretches on which the rate is a straight line, so one exact formula and its exact
inverse serve them all, and every curve works with every spacing. After its last stretch a curve keeps its last rate.

It must never draw a random number and never round: times here are ns as float64, exact to well below 1 ns for a day.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadgen.errors import BadInputError
from loadgen.units import NS_PER_S, parse_duration_ns

Float64s = npt.NDArray[np.float64]

RATE_MIN, RATE_MAX = 1e-9, 1e9  # requests/s; beyond these lie slips of the pen and the ends of float64

_HINT = "Write 8, inf, ramp:1..32/60s or steps:1@30s,8@30s,64@30s (requests per second)."


@dataclass(frozen=True, slots=True)
class Stretch:
    """The rate goes in a straight line from `begin` to `end`, requests/s, in `duration_ns`."""

    duration_ns: int
    begin: float
    end: float

    @property
    def slope(self) -> float:
        """Change of the rate, requests/s per s."""
        return (self.end - self.begin) * NS_PER_S / self.duration_ns

    @property
    def area(self) -> float:
        """Requests under this stretch."""
        return (self.begin + self.end) / 2 * self.duration_ns / NS_PER_S


@dataclass(frozen=True, slots=True)
class Curve:
    """Stretches one after the other, then `last_rate` for ever. A flat curve has no stretch; `inf` is all at once."""

    stretches: tuple[Stretch, ...]
    last_rate: float

    def area(self, time_ns: npt.ArrayLike) -> Float64s:
        """Λ: requests asked for from 0 to each time >= 0, float64[n]. Only for finite rates."""
        starts, areas, begins, slopes = self._columns()
        time = np.asarray(time_ns, np.float64)
        at = np.searchsorted(starts, time, "right") - 1
        inside = (time - starts[at]) / NS_PER_S
        return areas[at] + inside * (begins[at] + slopes[at] * inside / 2)

    def time_ns(self, area: npt.ArrayLike) -> Float64s:
        """Λ⁻¹: the first time at which each area >= 0 is reached, float64[n], ascending with it; inf where it never is.

        With rate b + a·u the area y is reached at u = 2y / (b + √(b² + 2ay)), which loses no digits for a → 0.
        """
        starts, areas, begins, slopes = self._columns()
        wanted = np.asarray(area, np.float64)
        at = np.maximum(np.searchsorted(areas, wanted, "left") - 1, 0)
        rest, begin = wanted - areas[at], begins[at]
        below = begin + np.sqrt(np.maximum(begin**2 + 2 * slopes[at] * rest, 0))
        inside: Float64s = np.where(rest > 0, np.inf, 0.0)  # what stays of it where the rate is 0
        np.divide(2 * rest, below, out=inside, where=below > 0)
        return starts[at] + inside * NS_PER_S

    def _columns(self) -> tuple[Float64s, Float64s, Float64s, Float64s]:
        """Start (ns), area before it, rate at its begin and slope of each stretch, the endless last one included."""
        starts = np.cumsum([0.0, *(stretch.duration_ns for stretch in self.stretches)])
        areas = np.cumsum([0.0, *(stretch.area for stretch in self.stretches)])
        begins = np.array([*(stretch.begin for stretch in self.stretches), self.last_rate])
        slopes = np.array([*(stretch.slope for stretch in self.stretches), 0.0])
        return starts, areas, begins, slopes


def check_rate(rate: float) -> None:
    """Raise BadInputError unless the rate is a finite number that a server could be asked for."""
    if not rate > 0:
        raise BadInputError(f"A request rate must be above 0, not {rate:g}.", _HINT)
    if not RATE_MIN <= rate <= RATE_MAX:
        raise BadInputError(
            f"A request rate of {rate:g} is out of reach.", f"Take one from {RATE_MIN:g} to {RATE_MAX:g}."
        )


def flat(rate: float) -> Curve:
    """The same rate for ever; `math.inf` puts every arrival at 0. Raises BadInputError."""
    if rate != math.inf:
        check_rate(rate)
    return Curve((), rate)


def ramp(begin: float, end: float, duration_ns: int) -> Curve:
    """A straight line from one rate to another, rising or falling, then `end` for ever. Raises BadInputError."""
    return _curve((Stretch(duration_ns, begin, end),))


def steps(plateaus: Sequence[tuple[float, int]]) -> Curve:
    """Plateaus of (rate, duration_ns), a rate of 0 being a pause; then the last rate for ever. Raises BadInputError."""
    return _curve(tuple(Stretch(duration_ns, rate, rate) for rate, duration_ns in plateaus))


def _curve(stretches: tuple[Stretch, ...]) -> Curve:
    rates = [rate for stretch in stretches for rate in (stretch.begin, stretch.end)]
    if not any(rates):
        raise BadInputError("A rate curve that stays at 0 asks for nothing.", _HINT)
    for rate in filter(None, rates):
        check_rate(rate)
    if any(stretch.duration_ns <= 0 for stretch in stretches):
        raise BadInputError("Each part of a rate curve must last longer than 0.", _HINT)
    return Curve(stretches, stretches[-1].end)


def parse_curve(text: str) -> Curve:
    """Turn `8`, `inf`, `ramp:1..32/60s` or `steps:1@30s,8@30s,64@30s` into a Curve. Raises BadInputError."""
    kind, colon, rest = text.strip().partition(":")
    if not colon:
        return flat(_number(kind, text))
    if kind == "ramp":
        rates, slash, duration = rest.partition("/")
        begin, dots, end = rates.partition("..")
        if not slash or not dots:
            raise BadInputError(f"'{text}' is not a ramp.", _HINT)
        if _number(end, text) < _number(begin, text):
            raise BadInputError(f"'{text}' runs backward.", "Write a falling load as steps: steps:32@30s,8@30s.")
        return ramp(_number(begin, text), _number(end, text), parse_duration_ns(duration))
    if kind == "steps":
        pairs = [part.partition("@") for part in rest.split(",")]
        return steps([(_number(rate, text), parse_duration_ns(duration)) for rate, _, duration in pairs])
    raise BadInputError(f"'{kind}' is not a kind of rate curve.", _HINT)


def _number(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise BadInputError(f"'{whole}' is not a request rate.", _HINT)
    return value
