"""Does the backlog return to its level? How little it grew takes thousands of requests to tell from luck; whether the
server completes more while more is in it takes hundreds.

A server that falls behind completes what it can, whatever waits: its backlog is a random walk upward. One that keeps up
completes more after more has come. So what is completed in each stretch of time is regressed on the backlog that the
stretch began with and on what arrived in it: Dickey and Fuller's test for a random walk (1979) with the arrivals, which
are known and are most of the noise, as a covariate (Hansen 1995). Returning alone is not enough, since a server also
speeds up while its batch fills: the backlog must not have risen either, nor may the arrivals owe that to luck.
"""

import numpy as np

from loadgen.analysis.sample import Floats
from loadgen.analysis.sequential import DEFICIT_MAX, LOOK_ERROR, Interval

CERTAIN = 4.5  # standard errors: the statistic's tail is Dickey and Fuller's at worst, −4.4 at LOOK_ERROR with 24
MEMORY_MAX = 0.95  # of a backlog, from stretch to stretch: beyond it nothing is known of its level


def returns(arrivals: Floats, served: Floats, expected: float) -> bool:
    """float64[n] each, successive equal stretches of time; `expected`: arrivals per stretch at the rate asked."""
    n = len(arrivals)
    level = np.concatenate(([0.0], np.cumsum(arrivals - served)[:-1]))
    level = level - level.mean()
    design = np.column_stack((np.ones(n), level, arrivals - arrivals.mean()))
    if np.linalg.matrix_rank(design) < design.shape[1]:  # nothing came, or nothing varied
        return False
    inverse = np.linalg.inv(design.T @ design)
    slope = inverse @ design.T @ served
    left = served - design @ slope
    back = float(slope[1])
    error = float(np.sqrt(inverse[1, 1] * (left @ left) / (n - design.shape[1])))
    if back <= CERTAIN * error:
        return False
    unlucky = max(0.0, expected * n / float(arrivals.sum()) - 1)
    rise = _trend(level, 1 - back).scaled(1 / expected)
    return rise.value + rise.half(1 - 2 * LOOK_ERROR) + unlucky < DEFICIT_MAX


def _trend(level: Floats, memory: float) -> Interval:
    """The rise per stretch of a level that forgets all but `memory` of where it was."""
    n = len(level)
    at = np.arange(n) - (n - 1) / 2
    slope = float(at @ level / (at @ at))
    left = level - slope * at
    memory = min(max(memory, 0.0), MEMORY_MAX)
    variance = float(left @ left) / (n - 2) / float(at @ at) * (1 + memory) / (1 - memory)
    return Interval(slope, variance**0.5, n - 2)
