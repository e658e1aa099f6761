"""The highest rate within an SLO, from all probes at once: where each clause's excess crosses 0, and how surely.

Near its limit an excess (analysis/attainment.py) is nearly straight in the logarithm of the rate: slope · log(rate /
crossing). Both unknowns are put on a grid and every probe says how likely each pair is, by its own error and by what
the line may be wrong, which grows with the distance: far probes say on which side the crossing lies, near ones where.
A probe that fell behind says that the crossing is below it. There is always an interval, however few the probes; a
value is only told where they say more than that.
"""

from math import log, sqrt

import numpy as np

from loadgen.analysis.attainment import Attainment
from loadgen.analysis.sample import Floats
from loadgen.search.estimates import Pairs, Rate
from loadgen.search.probe import Kind

BEND = 0.25  # the line is taken to be wrong by this share of the excess that it predicts
FREEDOM = 8.0  # of the t that errors follow: they are estimated themselves
SLOPES = np.geomspace(0.5, 200.0, 48)
CROSSINGS = 500
CAUTION = 4.0  # an effective number is known badly from few excursions, and too high when none was seen
UNLIKELY = 1e-6  # of any probe: one odd probe does not rule out what all others say
FEW = 0.05  # of the capacity: where hardly anybody waits; what is missed there is missed everywhere
WIDE = 25.0  # times: where the upper end is so far above the lower one, what lies between is no estimate
LOWEST = 1 / 300  # of the capacity
QUANTILES = (0.025, 0.5, 0.975)


def goodput(made: Pairs, found: Rate) -> Rate | None:
    """The lowest crossing of any clause; the capacity `found` bounds it. None when no probe says anything."""
    opened = [(p, j) for p, j in made if p.kind is Kind.OPEN and j.counts]
    texts = list(dict.fromkeys(each.text for _, j in opened for each in j.slo))
    if not texts or not found.value:
        return None
    top = found.high if found.high is not None else np.inf
    hopeless = [p.level for p, j in opened if p.level <= 1.2 * FEW * found.value and j.slo_verdict == "missed"]
    if hopeless:
        return Rate(0.0, 0.0, min(hopeless), "missed at the lowest rate tried")
    crossings = np.geomspace(LOWEST * found.value, 1.5 * found.value, CROSSINGS)
    behind = min((p.level for p, j in opened if j.verdict == "unstable"), default=np.inf)
    if not seen(made):
        ceiling = min(behind, top)
        high_end = float(ceiling) if np.isfinite(ceiling) else None
        return Rate(0.0, 0.0, high_end, "no probe below it was judged", settled=False)
    ends = []
    for text in texts:
        said = [(p.level, c) for p, j in opened if j.verdict != "unstable" for c in j.slo if c.text == text]
        likely = np.where(crossings[:, None] > behind, -np.inf, 0.0) + np.zeros(len(SLOPES))
        for level, clause in said:
            likely = likely + _said(clause, SLOPES * np.log(level / crossings)[:, None])
        weights = np.exp(likely - likely.max()).sum(axis=1)
        ends.append(np.interp(QUANTILES, np.cumsum(weights) / weights.sum(), crossings))
    low, value, high = np.min(ends, axis=0).tolist()
    return Rate(
        min(value, found.value),
        min(low, found.value if found.low is None else found.low),
        min(high, top) if np.isfinite(min(high, top)) else None,
        "crossing of the SLO's excess, all probes at once",
        settled=high <= WIDE * low,
    )


def seen(made: Pairs) -> bool:
    """Whether any open loop that did not fall behind says how far it was within the SLO or beyond it."""
    return any(p.kind is Kind.OPEN and j.counts and j.verdict != "unstable" and bool(j.slo) for p, j in made)


def _said(clause: Attainment, predicted: Floats) -> Floats:
    """The log likelihood of what a probe saw of a clause, for each predicted excess."""
    if clause.allowed is None or clause.share is None:
        variance = clause.error**2 + (BEND * predicted) ** 2
        squared = (clause.excess - predicted) ** 2 / variance
        return np.asarray(-(FREEDOM + 1) / 2 * np.log1p(squared / FREEDOM) - np.log(variance) / 2, np.float64)
    n = clause.effective / CAUTION
    allowed, over = log(clause.allowed / (1 - clause.allowed)), 1 - clause.share
    likely = np.zeros_like(predicted)
    for bend, weight in ((-sqrt(3) * BEND, 1 / 6), (0.0, 2 / 3), (sqrt(3) * BEND, 1 / 6)):  # Gauss and Hermite's points
        odds = allowed + predicted * (1 + bend)
        # over·log(p) + (1 − over)·log(1 − p), against the best that any p gives
        logs = -over * np.logaddexp(0, -odds) - (1 - over) * np.logaddexp(0, odds)
        likely += weight * np.exp(n * (logs + _entropy(over)))
    return np.asarray(np.log(likely + UNLIKELY), np.float64)


def _entropy(share: float) -> float:
    return -sum(each * log(each) for each in (share, 1 - share) if each > 0)
