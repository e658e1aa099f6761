"""THE table of metrics: what is measured of a request, from which stamps. Adding a metric is adding a line.

Formulas as in `docs/metrics.md`, which is executed as a test. Only requests that ended well have latencies; failed and
censored ones stay in the counts. Two origins, always: `due`, when the request should have gone, and `sent`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from loadgen.analysis.data import Columns
from loadgen.analysis.sample import Floats
from loadgen.units import NS_PER_MS


class Pool(Enum):
    """Metrics with many values per request, pooled over all of them."""

    TOKENS = "between tokens"  # the tokens of one event share its stamp: gaps of 0
    EVENTS = "between events"


@dataclass(frozen=True, slots=True)
class Metric:
    """`how` gives float64[n] ns per record from the columns (latency is from their `due_ns`), or the gaps to pool."""

    name: str
    unit: str
    doc: str
    how: Callable[[Columns], Floats] | Pool


def _tpot_ns(columns: Columns) -> Floats:
    steps = np.where(columns["output_tokens"] > 1, columns["output_tokens"] - 1, np.nan)
    return np.asarray((columns["last_token_ns"] - columns["first_token_ns"]) / steps, np.float64)


def _ntpot_ns(columns: Columns) -> Floats:
    tokens = np.where(columns["output_tokens"] > 0, columns["output_tokens"], np.nan)
    return np.asarray((columns["last_token_ns"] - columns["due_ns"]) / tokens, np.float64)


METRICS = (
    Metric("ttft", "ms", "first event with output tokens − due", lambda c: c["first_token_ns"] - c["due_ns"]),
    Metric("ttft_send", "ms", "first event with output tokens − sent", lambda c: c["first_token_ns"] - c["sent_ns"]),
    Metric("tpot", "ms", "(last token − first token) / (output tokens − 1), per request", _tpot_ns),
    Metric("itl", "ms", "each gap between successive output tokens, of all requests", Pool.TOKENS),
    Metric("icl", "ms", "each gap between successive token events, of all requests", Pool.EVENTS),
    Metric("e2el", "ms", "last event with output tokens − due", lambda c: c["last_token_ns"] - c["due_ns"]),
    Metric("e2el_send", "ms", "last event with output tokens − sent", lambda c: c["last_token_ns"] - c["sent_ns"]),
    Metric("lag", "ms", "issued − due: our own lateness", lambda c: c["issued_ns"] - c["due_ns"]),
    Metric("ntpot", "ms", "E2EL / output tokens, per request", _ntpot_ns),
)
NAMES = tuple(metric.name for metric in METRICS)
UNIT_NS = NS_PER_MS  # of every unit above

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
QUANTILES_OF = ("ttft", "tpot", "itl", "e2el", "lag")  # p0 to p100 are kept of these, for plots

# Samples below which a percentile is only indicative: MLPerf's early stopping with no failure allowed.
SAMPLES_MIN = {50.0: 11, 75.0: 24, 90.0: 64, 95.0: 130, 97.0: 219, 99.0: 662, 99.9: 6636}


def samples_min(percentile: float) -> int:
    """How many samples this percentile needs; one that is not in MLPerf's table needs what the next higher one does."""
    return next((n for known, n in SAMPLES_MIN.items() if percentile <= known), 10 * SAMPLES_MIN[99.9])


def percentile_name(percentile: float) -> str:
    """`p99`, `p99.9`, as vLLM writes it."""
    return f"p{percentile:g}"
