"""Due times: unit-rate arrivals sent through the inverse of the area under the rate curve, due = Λ⁻¹(arrival).

They are what the spacing gave: never rescaled to fill a duration or to reach a count, never clipped, never re-anchored.
So the span of n Poisson arrivals differs from seed to seed, as it must (vLLM rescales it to n/rate: not Poisson).
"""

import math

import numpy as np

from loadgen.errors import BadInputError
from loadgen.plan import Int64s
from loadgen.schedule.rate import Curve
from loadgen.schedule.spacing import unit_arrivals

REQUESTS_MAX = 10_000_000  # a plan of this size is 480 MB; a larger one is a slip of the pen
_YEAR_NS = 365 * 86_400 * 1_000_000_000


def draw_due_ns(
    curve: Curve, burstiness: float, seed: int, *, duration_ns: int | None = None, count: int | None = None
) -> Int64s:
    """Due times, ascending, int64[n] ns: all before `duration_ns`, or exactly `count`; or, with both, the fewer.

    The same curve, burstiness and seed give the same prefix whatever the duration or count. Raises BadInputError when
    neither is given, when there would be more than REQUESTS_MAX, or when the curve ends at rate 0 before the last one.
    """
    if math.isinf(curve.last_rate):
        if count is None:
            raise BadInputError("A request rate of inf has no end.", "Say how many requests: --num-prompts 1000.")
        _check_size(count)
        return np.zeros(count, np.int64)
    wanted = math.inf if count is None else count
    area = math.inf if duration_ns is None else float(curve.area(duration_ns))
    if math.isinf(min(wanted, area)):
        raise BadInputError("The plan has no end.", "Give --duration or --num-prompts.")
    _check_size(min(wanted, area))
    blocks, drawn, reached = [], 0, 0.0
    for block in unit_arrivals(burstiness, seed):
        if drawn >= wanted or reached > area:
            break
        blocks.append(block)
        drawn, reached = drawn + len(block), float(block[-1])
    arrivals = np.concatenate(blocks) if blocks else np.empty(0)
    # On a ramp two arrivals a rounding error apart may swap by one ulp: the running maximum undoes just that.
    due = np.maximum.accumulate(curve.time_ns(arrivals[:count]))
    if duration_ns is not None:
        due = due[due < duration_ns]
    elif len(due) and due[-1] > 100 * _YEAR_NS:
        raise BadInputError(
            f"At these request rates {count:,} requests would take more than a hundred years.",
            "Raise the last rate of the curve, or ask for fewer requests.",
        )
    return due.astype(np.int64)


def _check_size(requests: float) -> None:
    if requests > REQUESTS_MAX:
        raise BadInputError(
            f"The plan would hold {requests:,.0f} requests; the most is {REQUESTS_MAX:,}.",
            "Shorten the duration, lower the rate, or ask for fewer requests.",
        )
