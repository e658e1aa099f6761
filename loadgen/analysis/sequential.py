"""Is a probe decided yet? Rates from batches of time with an interval, and a verdict that waits until it is certain.

What is estimated is a difference of counts: what arrived and what was completed. Neighbouring stretches of a queue
resemble each other, so the spread is taken between long batches, for three lengths of batch, and the widest interval is
kept. A probe is looked at again and again while it runs: each look must then err far less often than a single one.

At capacity a backlog grows like √t by chance, above it like t. Measured from an empty queue the chance growth is that
of |Brownian motion|, so a one-sided test at LOOK_ERROR errs at most twice that: no slope is looked at. It needs no idea
of a server, and thousands of requests to find one stable; `returning.py` needs hundreds.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from loadgen.analysis.sample import Floats
from loadgen.analysis.student import t_quantile

FINE = 24  # batches into which a window is cut; they are merged to 12 and 8
_MERGES = (1, 2, 3)
MEMORY_MAX = 0.9  # of a batch for the one before: beyond it a window has seen nothing of the spread
LEVEL = 0.95
LOOK_ERROR = 0.002  # one-sided, of a single look; a probe is looked at about ten times
DEFICIT_MAX = 0.05  # stable: it is certain that less than this share of what arrives is left behind


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its standard error and the degrees of freedom behind that."""

    value: float
    error: float
    freedom: float

    def half(self, level: float = LEVEL) -> float:
        return t_quantile((1 + level) / 2, max(1, int(self.freedom))) * self.error

    @property
    def low(self) -> float:
        return self.value - self.half()

    @property
    def high(self) -> float:
        return self.value + self.half()

    def scaled(self, factor: float) -> "Interval":
        return Interval(self.value * factor, self.error * abs(factor), self.freedom)

    def as_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def batch_mean(fine: Floats, controls: Floats | None = None, *, wanders: bool = False) -> Interval:
    """The mean of `fine` (float64[FINE], successive equal stretches of time) with an honest error.

    controls   float64[FINE, k], of known mean 0: what they explain is taken out (Lavenberg and Welch 1981). Their
               coefficients are those of the finest batches, and each costs a degree of freedom.
    wanders    what it is the mean of may stay high or low for longer than a batch: the error says so, as far as the
               window shows it
    """
    freedom_lost = 0
    if controls is not None and controls.shape[1]:
        varied = controls[:, controls.std(axis=0) > 0]
        design = np.column_stack((np.ones(len(fine)), varied - varied.mean(axis=0)))
        slopes = np.linalg.lstsq(design, fine, rcond=None)[0][1:]
        fine = fine - varied @ slopes
        freedom_lost = varied.shape[1]
    value = float(fine.mean())
    known: list[Interval] = []
    for merge in _MERGES:
        batches = fine.reshape(-1, merge).mean(axis=1)
        freedom = len(batches) - 1 - freedom_lost
        error = float(np.sqrt(((batches - value) ** 2).sum() / freedom / len(batches)))
        known.append(Interval(value, error, freedom))
    if wanders:
        known.append(_remembering(fine - value, known[0]))
    return max(known, key=Interval.half)


def _remembering(left: Floats, naive: Interval) -> Interval:
    """The mean of what resembles what came before (AR(1)), with as many independent values as it is worth."""
    memory = float(left[1:] @ left[:-1]) / max(float(left @ left), 1e-300)
    memory += (1 + 3 * memory) / len(left)  # from few values it seems less than it is (Kendall 1954)
    memory = min(max(memory, 0.0), MEMORY_MAX)
    longer = (1 + memory) / (1 - memory)
    freedom = max(2.0, len(left) / longer - (len(left) - naive.freedom))
    return Interval(naive.value, naive.error * sqrt(longer), freedom)


def pooled(parts: list[Interval], weights: list[float]) -> Interval:
    """Σ weight·value / Σ weight of independent estimates of one thing; degrees of freedom by Welch and Satterthwaite.

    The weights must not come from the errors: whoever looks precise by chance would count most.
    """
    total = sum(weights)
    shares = [weight / total for weight in weights]
    variances = [(share * part.error) ** 2 for share, part in zip(shares, parts, strict=True)]
    variance = sum(variances)
    value = sum(share * part.value for share, part in zip(shares, parts, strict=True))
    spread = sum(each**2 / part.freedom for each, part in zip(variances, parts, strict=True))
    return Interval(value, sqrt(variance), variance**2 / spread if spread > 0 else max(p.freedom for p in parts))


def stability(deficit: Interval) -> str:
    """`unstable`, `stable` or `unresolved`, from the share of the arrivals that is left behind."""
    reach = deficit.half(1 - 2 * LOOK_ERROR)
    if deficit.value - reach > 0:
        return "unstable"
    return "stable" if deficit.value + reach < DEFICIT_MAX else "unresolved"
