"""Does the backlog return to its level? How little it grew takes thousands of requests to tell from luck; whether the
server completes more while more is in it takes hundreds.

A server that falls behind completes what it can, whatever waits: its backlog is a random walk upward. One that keeps up
completes more after more has come. So what is completed in each stretch of time is regressed on the backlog that the
stretch began with and on what arrived in it: Dickey and Fuller's test for a random walk (1979) with the arrivals, which
are known and are most of the noise, as a covariate (Hansen 1995). Returning alone is not enough, since a server also
speeds up while its batch fills. One of two things more must be certain:

- the backlog has not risen, nor do the arrivals owe that to luck
- where the backlog was highest the server completed what was asked for (Foster's drift, 1953): it goes down from there.
  This is known sooner, since hardly any luck with arrivals is in what a server completes, and luck with lengths, which
  is, can be set off; but only once the backlog had time to return, and if it is not on its way up

Where an overload has shown that the server can do far more, luck does not explain a backlog that returns: less will do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from loadgen.analysis.sample import Floats
from loadgen.analysis.sequential import DEFICIT_MAX, LOOK_ERROR, Interval

# Standard errors: the statistic's tail at LOOK_ERROR, from 24 stretches. Where only arrivals move the backlog it is
# nearly normal, where only the server does it is Dickey and Fuller's (Hansen's theorem 2); straight between, by the
# share of the standard deviation that the server gives.
CERTAIN, CERTAIN_ALONE = 3.4, 4.5
MEMORY_MAX = 0.95  # of a backlog, from stretch to stretch: beyond it nothing is known of its level
# Answers, one after the other: so long a backlog has to return in; the share of what was asked for that is certainly
# completed where the backlog was highest. The second of each: where the server can do far more.
TURNS, TURNS_FAR = 8.0, 4.0
ENOUGH, ENOUGH_FAR = 1 - 0.2 * DEFICIT_MAX, 1 - 2 * DEFICIT_MAX
RISE_MAX = DEFICIT_MAX / 2  # of the arrivals, at the best guess
TINY = 1e-12
MERGED = 12  # the spread of what was completed is taken between so many parts of the time


@dataclass(frozen=True, slots=True)
class Stretches:
    """Successive equal stretches of time, 24 or a multiple; float64[n] each.

    luck      how many more requests of usual length would have been completed; 0 on average
    expected  arrivals per stretch at the rate asked
    turns     how many answers, one after the other, the whole lasts
    far       an overload completed far more than is asked here
    """

    arrivals: Floats
    served: Floats
    luck: Floats
    expected: float
    turns: float
    far: bool = False


def returns(seen: Stretches) -> bool:
    """Whether the backlog is certain to return to its level."""
    level = np.concatenate(([0.0], np.cumsum(seen.arrivals - seen.served)[:-1]))
    level = level - level.mean()
    asked = seen.arrivals - seen.expected
    ones = np.ones(len(level))
    plain = _fitted([level, ones, asked], seen.served)
    if plain is None:  # nothing came, or nothing varied
        return False
    back, error = float(plain.slopes[0]), plain.error(0)
    rise = _trend(level, 1 - back).scaled(1 / seen.expected)
    unlucky = max(0.0, -float(asked.mean()) / float(seen.arrivals.mean()))
    if back > CERTAIN_ALONE * error and rise.value + rise.half(1 - 2 * LOOK_ERROR) + unlucky < DEFICIT_MAX:
        return True
    if seen.turns < (TURNS_FAR if seen.far else TURNS) or rise.value > RISE_MAX:
        return False
    luck = [seen.luck] if seen.luck.any() else []
    fit = _fitted([level, ones, asked, *luck], seen.served)
    above = level > np.median(level)
    highest = _fitted([above, ~above, asked, *luck], seen.served)
    if fit is None or highest is None:
        return False
    own = fit.noise / np.hypot(fit.noise, np.std((1 - fit.slopes[2]) * seen.arrivals))
    if fit.slopes[0] <= (CERTAIN + own * (CERTAIN_ALONE - CERTAIN)) * fit.error(0):
        return False
    completed = highest.slope(0)
    enough = ENOUGH_FAR if seen.far else ENOUGH
    return completed.value - completed.half(1 - 2 * LOOK_ERROR) > enough * seen.expected


@dataclass(frozen=True, slots=True)
class _Fit:
    """Least squares. `weights`: float64[slopes, n], how much each of the target counts for each slope; `noise`: the
    standard deviation of what is left.
    """

    slopes: Floats
    left: Floats
    weights: Floats
    noise: float

    def error(self, column: int) -> float:
        return self.noise * float(np.sqrt(self.weights[column] @ self.weights[column]))

    def slope(self, column: int) -> Interval:
        """Its error is also taken from long parts of the time, since a server's speed wanders; the wider is kept."""
        value, n = float(self.slopes[column]), len(self.left)
        freedom = n - len(self.slopes)
        parts = (self.weights[column] * self.left).reshape(MERGED, -1).sum(axis=1)
        merged = float(np.sqrt(parts @ parts * n / freedom * MERGED / (MERGED - 1)))
        return max(Interval(value, self.error(column), freedom), Interval(value, merged, MERGED - 1), key=Interval.half)


def _fitted(columns: Sequence[npt.NDArray[Any]], target: Floats) -> _Fit | None:
    """None where the columns do not tell the slopes."""
    design = np.column_stack(columns).astype(np.float64)
    n, count = design.shape
    if np.linalg.matrix_rank(design) < count:
        return None
    weights = np.linalg.inv(design.T @ design) @ design.T
    slopes = weights @ target
    left = target - design @ slopes
    return _Fit(slopes, left, weights, max(float(np.sqrt(left @ left / (n - count))), TINY))


def _trend(level: Floats, memory: float) -> Interval:
    """The rise per stretch of a level that forgets all but `memory` of where it was."""
    n = len(level)
    at = np.arange(n) - (n - 1) / 2
    slope = float(at @ level / (at @ at))
    left = level - slope * at
    memory = min(max(memory, 0.0), MEMORY_MAX)
    variance = float(left @ left) / (n - 2) / float(at @ at) * (1 + memory) / (1 - memory)
    return Interval(slope, variance**0.5, n - 2)
