"""How surely a probe is within an SLO: each clause as one number that is 0 at the limit, with its standard error.

A percentile clause asks for a share of requests: its number is the log odds of exceeding the limit, less the log odds
allowed. A clause on the mean: log(mean / limit). Below 0 is within. Failures exceed every limit. On this scale the
latencies of a queue move almost in a straight line with the load, so that a crossing lies between two probes.
"""

from dataclasses import dataclass
from math import log, sqrt

import numpy as np

from loadgen.analysis.observed import Observed
from loadgen.analysis.sample import Bools, Floats
from loadgen.analysis.sequential import FINE, LOOK_ERROR, batch_mean
from loadgen.analysis.slo import Clause, Slo
from loadgen.analysis.student import t_quantile

_DECIDE = t_quantile(1 - 2 * LOOK_ERROR, 16)
TIE = 1e-3
_MERGES = (1, 2, 3, 4)  # of the fine batches: 24, 12, 8 and 6; excursions of a queue may outlast short ones
_HALF = 0.5  # Haldane's correction: no odds of 0


@dataclass(frozen=True, slots=True)
class Attainment:
    """`excess` ± `error` of one clause.

    share      of the requests within the limit, and `allowed` to exceed it; None for a mean
    n          requests judged; `effective`: as many independent ones would say as much
    """

    text: str
    excess: float
    error: float
    share: float | None
    n: int
    allowed: float | None = None
    effective: float = 0.0

    @property
    def verdict(self) -> str:
        reach = _DECIDE * self.error
        return "missed" if self.excess - reach > 0 else "met" if self.excess + reach < 0 else "unresolved"

    def as_dict(self) -> dict[str, float | str | int | None]:
        return {
            "text": self.text,
            "verdict": self.verdict,
            "excess": self.excess,
            "error": self.error,
            "share": self.share,
            "n": self.n,
            "effective_n": self.effective or None,
        }


def attainments(slo: Slo, seen: Observed, rows: Bools) -> tuple[Attainment, ...]:
    """One per clause, over the requests `rows` whose fate is known: ended, or running beyond the limit already."""
    return tuple(found for clause in slo.clauses if (found := _attainment(clause, seen, rows)) is not None)


def _attainment(clause: Clause, seen: Observed, rows: Bools) -> Attainment | None:
    values_ns = _values_ns(clause.metric, seen)
    known = rows & (seen.failed | ~np.isnan(seen.last_ns) | (values_ns > clause.limit_ns))
    values_ns = np.where(seen.failed, np.inf, values_ns)[known]
    n = len(values_ns)
    if n < FINE:
        return None
    if clause.mean:
        finite = values_ns[np.isfinite(values_ns)]
        if len(finite) < FINE:
            return None
        mean = batch_mean(_batched(finite))
        return Attainment(clause.text, log(mean.value / clause.limit_ns), mean.error / mean.value, None, n)
    allowed = 1 - (clause.percentile / 100 if clause.percentile is not None else clause.share)
    over = np.nan_to_num(values_ns, nan=0.0) > clause.limit_ns
    finite_ns = np.nan_to_num(values_ns, nan=0.0, posinf=1e18)
    tail = finite_ns > np.quantile(finite_ns, 0.9) * (1 + TIE)  # many that are equal are no tail
    effective = n / max(1.0, _inflation(over), _inflation(tail))
    odds = (over.mean() * effective + _HALF) / ((1 - over.mean()) * effective + _HALF)
    share = odds / (1 + odds)
    target = max(allowed, 1e-4)
    error = sqrt(1 / ((effective + 1) * share * (1 - share)))
    excess = log(odds) - log(target / (1 - target))
    return Attainment(clause.text, excess, error, 1 - float(over.mean()), n, target, effective)


def _values_ns(metric: str, seen: Observed) -> Floats:
    """float64[n]: the metric of each request; for one that still runs, what it has come to already."""
    now_ns = seen.until_ns
    first_ns = np.where(np.isnan(seen.first_ns), now_ns, seen.first_ns)
    last_ns = np.where(np.isnan(seen.last_ns), now_ns, seen.last_ns)
    if metric in ("ttft", "ttft_send"):
        return first_ns - seen.start_ns
    steps = np.where(seen.output_tokens > 1, seen.output_tokens - 1, np.nan)
    if metric in ("tpot", "itl", "icl"):
        return (last_ns - first_ns) / steps
    if metric == "ntpot":
        return (last_ns - seen.start_ns) / seen.output_tokens
    return np.asarray(last_ns - seen.start_ns, np.float64) if metric != "lag" else np.zeros(len(seen))


def _batched(values: Floats) -> Floats:
    usable = len(values) // FINE * FINE
    return np.asarray(values[:usable].reshape(FINE, -1).mean(axis=1), np.float64)


def _inflation(over: Bools) -> float:
    """How many times more the share varies from batch to batch than it would if requests were independent."""
    p = float(over.mean())
    if not 0 < p < 1:
        return 1.0
    fine = _batched(over.astype(np.float64))
    variances = [float(fine.reshape(-1, merge).mean(axis=1).var(ddof=1)) * merge / FINE for merge in _MERGES]
    return max(variances) / (p * (1 - p) / len(over))
