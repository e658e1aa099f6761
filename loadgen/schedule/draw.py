"""The plan builder: a rate, a spacing, a cap and lengths become the Plan, the table that says what should happen.

It decides once what is open and what is closed loop; the client knows neither word, it sees due times and a cap.
It must never look at a clock or a server.
"""

import math
from collections.abc import Callable

import numpy as np

from loadgen.errors import BadInputError
from loadgen.plan import Int64s, Plan
from loadgen.schedule.arrivals import draw_due_ns
from loadgen.schedule.rate import flat, parse_curve
from loadgen.schedule.spacing import check_burstiness, spacing_name
from loadgen.units import NS_PER_S

# input_tokens int64[n], output_tokens int64[n], label int64[n], the labels that label points into
Lengths = tuple[Int64s, Int64s, Int64s, tuple[str, ...]]

CLOSED_RATE_PER_SLOT = (
    200  # completions/s of one slot that no LLM server exceeds: bounds a closed loop of given duration
)
CLOSED_REQUESTS_MAX = 1_000_000


def draw_plan(
    *,
    lengths: Callable[[int], Lengths],
    rate: str | float | None = None,
    burstiness: float = 1.0,
    max_concurrency: int = 0,
    duration_ns: int = 0,
    count: int = 0,
    seed: int = 0,
    drain_ns: int = 0,
) -> Plan:
    """Draw a Plan. 0 stands for "not given" in `max_concurrency`, `duration_ns` and `count`. Raises BadInputError.

    A finite `rate` (a number or the text of a curve) is an open loop: the rate sets the pace, `stop_ns` stays 0 and
    nothing is dropped; with `max_concurrency` too, what the cap holds back is sent late. Without a rate, or with `inf`,
    everything is due at 0; `max_concurrency` then makes it a closed loop, where a duration alone is enough: the plan
    holds more than can be sent in that time, and `stop_ns` ends it.
    """
    check_burstiness(burstiness)
    for name, value in (("max_concurrency", max_concurrency), ("duration", duration_ns), ("num_prompts", count)):
        if value < 0:
            raise BadInputError(f"{name} must not be negative.", "Leave it out for no limit.")
    if rate is None and not max_concurrency:
        raise BadInputError("There is no load to plan.", "Give --request-rate, --max-concurrency, or both.")
    curve = flat(math.inf) if rate is None else parse_curve(rate) if isinstance(rate, str) else flat(rate)
    paced = math.isfinite(curve.last_rate)
    if not paced and max_concurrency and not count:
        count = _closed_loop_count(max_concurrency, duration_ns)
    due_ns = draw_due_ns(
        curve, burstiness, seed, duration_ns=duration_ns or None if paced else None, count=count or None
    )
    n = len(due_ns)
    input_tokens, output_tokens, label, labels = lengths(n)
    return Plan(
        due_ns=due_ns,
        after=np.full(n, -1, np.int64),
        think_ns=np.zeros(n, np.int64),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        label=label,
        labels=labels,
        in_flight_max=max_concurrency,
        stop_ns=0 if paced else duration_ns,
        drain_ns=drain_ns,
        seed=seed,
        shape={
            "loop": "open" if paced or not max_concurrency else "closed",
            "spacing": spacing_name(burstiness) if paced else "all at once",
            "burstiness": burstiness if math.isfinite(burstiness) else None,
            "curve": "inf" if rate is None else str(rate),
            "rate": curve.last_rate if paced and not curve.stretches else None,
        },
    )


def _closed_loop_count(max_concurrency: int, duration_ns: int) -> int:
    if not duration_ns:
        raise BadInputError("The closed loop has no end.", "Give --duration or --num-prompts.")
    most = math.ceil(max_concurrency * CLOSED_RATE_PER_SLOT * duration_ns / NS_PER_S)
    return min(most, CLOSED_REQUESTS_MAX)
