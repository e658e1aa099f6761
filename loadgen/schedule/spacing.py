"""How arrivals are spread at unit rate: one per unit, before any rate curve says how long a unit lasts.

One number names the spacing, as in vLLM: burstiness, the shape of the gamma distribution that the gaps follow (mean 1).
1 is the exponential, so a Poisson process; below 1 bursts, above 1 evens out; infinity is a constant gap.

Where the process starts: with gamma gaps the first arrival comes one full gap after 0, with constant gaps half a gap
after 0 (so that t gaps hold t arrivals on average over where t ends). For Poisson that is already the stationary
process. A gamma process that starts with a full gap has on average (1/burstiness − 1)/2 arrivals more than t
(Cox, Renewal Theory, 1962, §4.2): 4.5 requests for burstiness 0.1, whatever the length of the run.

It must never know a length: gaps are drawn in blocks of a fixed size, so the same seed gives the same prefix.
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from loadgen import rng
from loadgen.errors import BadInputError

Float64s = npt.NDArray[np.float64]

BLOCK = 4096
BURSTINESS_MIN = 0.001  # below this nearly every gap is 0 and the process comes in blocks of thousands


def check_burstiness(burstiness: float) -> None:
    """Raise BadInputError for a shape that no spacing has."""
    if not burstiness >= BURSTINESS_MIN:
        raise BadInputError(
            f"The burstiness must be at least {BURSTINESS_MIN}, not {burstiness:g}.",
            "1 is Poisson, smaller is burstier, larger is more even, inf is a constant gap.",
        )


def spacing_name(burstiness: float) -> str:
    """`constant`, `poisson` or `gamma`."""
    if math.isinf(burstiness):
        return "constant"
    return "poisson" if burstiness == 1 else "gamma"


def unit_arrivals(burstiness: float, seed: int) -> Iterator[Float64s]:
    """Yield for ever the arrivals of a unit-rate process, ascending, float64[BLOCK] at a time. Raises BadInputError."""
    check_burstiness(burstiness)
    if math.isinf(burstiness):
        return _constant()
    return _gamma(burstiness, rng.generator(seed, "schedule.spacing"))


def _constant() -> Iterator[Float64s]:
    block: Float64s = np.arange(BLOCK, dtype=np.float64) + 0.5
    while True:
        yield block
        block = block + BLOCK


def _gamma(shape: float, generator: np.random.Generator) -> Iterator[Float64s]:
    last = 0.0
    while True:
        gaps: Float64s = generator.standard_gamma(shape, BLOCK) / shape
        block: Float64s = gaps.cumsum() + last
        yield block
        last = float(block[-1])
