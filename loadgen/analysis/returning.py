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
"""

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from loadgen.analysis.sample import Floats
from loadgen.analysis.sequential import DEFICIT_MAX, LOOK_ERROR, Interval

# Standard errors: the statistic's tail at LOOK_ERROR, from 24 stretches. Where only arrivals move the backlog it is
# nearly normal, where only the server does it is Dickey and Fuller's (Hansen's theorem 2); straight between, by the
# share of the standard deviation that the server gives.
CERTAIN, CERTAIN_ALONE = 3.4, 4.5
MEMORY_MAX = 0.95  # of a backlog, from stretch to stretch: beyond it nothing is known of its level
TURNS = 6.0  # answers, one after the other: so long a backlog has to return in
ENOUGH = 1 - 0.4 * DEFICIT_MAX  # of what was asked for: certainly completed where the backlog was highest
RISE_MAX = DEFICIT_MAX / 2  # of the arrivals, at the best guess
MERGED = 12  # the spread of what was completed is taken between so many parts of the time


@dataclass(frozen=True, slots=True)
class Stretches:
    """Successive equal stretches of time, 24 or a multiple; float64[n] each.

    luck      how many more requests of usual length would have been completed; 0 on average
    expected  arrivals per stretch at the rate asked
    turns     how many answers, one after the other, the whole lasts
    """

    arrivals: Floats
    served: Floats
    luck: Floats
    expected: float
    turns: float


def returns(seen: Stretches) -> bool:
    """Whether the backlog is certain to return to its level."""
    level = np.concatenate(([0.0], np.cumsum(seen.arrivals - seen.served)[:-1]))
    level = level - level.mean()
    asked = seen.arrivals - seen.expected
    design = np.column_stack((np.ones(len(level)), level, asked))
    if np.linalg.matrix_rank(design) < design.shape[1]:  # nothing came, or nothing varied
        return False
    (_, back, at_once), left, weights = _least_squares(design, seen.served)
    noise = float(left @ left) / (len(level) - design.shape[1])
    own = sqrt(noise / (noise + float(np.var((1 - at_once) * seen.arrivals)))) if noise else 0.0
    error = sqrt(noise * float(weights[1] @ weights[1]))
    rise = _trend(level, 1 - back).scaled(1 / seen.expected)
    unlucky = max(0.0, -float(asked.mean()) / float(seen.arrivals.mean()))
    if back > CERTAIN_ALONE * error and rise.value + rise.half(1 - 2 * LOOK_ERROR) + unlucky < DEFICIT_MAX:
        return True
    certain = CERTAIN + own * (CERTAIN_ALONE - CERTAIN)
    if back <= certain * error or seen.turns < TURNS or rise.value > RISE_MAX:
        return False
    highest = _completed_above(seen, level, asked)
    return highest.value - highest.half(1 - 2 * LOOK_ERROR) > ENOUGH * seen.expected


def _completed_above(seen: Stretches, level: Floats, asked: Floats) -> Interval:
    """Completed per stretch in the half of the stretches that began with most in the server, had as much arrived as was
    asked for, of usual lengths. Its error is also taken from longer parts of the time, since a server's speed wanders;
    the wider is kept.
    """
    above = level > np.median(level)
    columns = [~above, above, asked, seen.luck]
    design = np.column_stack([each for each in columns if each.any()]).astype(np.float64)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return Interval(0.0, inf, 1)
    slopes, left, weights = _least_squares(design, seen.served)
    value, n, freedom = float(slopes[1]), len(level), len(level) - design.shape[1]
    parts = (weights[1] * left).reshape(MERGED, -1).sum(axis=1)
    apart = float(left @ left) / freedom * float(weights[1] @ weights[1])
    merged = float(parts @ parts) * n / freedom * MERGED / (MERGED - 1)
    known = Interval(value, sqrt(apart), freedom), Interval(value, sqrt(merged), MERGED - 1)
    return max(known, key=Interval.half)


def _least_squares(design: Floats, target: Floats) -> tuple[Floats, Floats, Floats]:
    """Slopes, what is left, and float64[slopes, n]: how much each of the target counts for each slope."""
    weights = np.linalg.inv(design.T @ design) @ design.T
    slopes = weights @ target
    return slopes, target - design @ slopes, weights


def _trend(level: Floats, memory: float) -> Interval:
    """The rise per stretch of a level that forgets all but `memory` of where it was."""
    n = len(level)
    at = np.arange(n) - (n - 1) / 2
    slope = float(at @ level / (at @ at))
    left = level - slope * at
    memory = min(max(memory, 0.0), MEMORY_MAX)
    variance = float(left @ left) / (n - 2) / float(at @ at) * (1 + memory) / (1 - memory)
    return Interval(slope, variance**0.5, n - 2)
