"""The SLO: its grammar, the presets, and who met it. Judged from due; failed requests stay in the denominator.

ttft_p99=500ms,tpot_p99=50ms     a statistic of all requests (p50 … p99.9, median, mean); `<` and `<=` mean the same
e2el<2s@99%                      a limit for each request, and the share that must meet it (99 % when not said)
ttft:500                         vLLM's --goodput: a limit for each request, in ms
mlperf:llama2-70b                a preset
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadgen.analysis.data import Columns
from loadgen.analysis.metrics import METRICS, UNIT_NS, Pool, percentile_name, samples_min
from loadgen.analysis.sample import Bools, Floats, Sample
from loadgen.errors import BadInputError
from loadgen.units import NS_PER_MS, parse_duration_ns

ATTAINMENT = 0.99  # share of requests a per-request clause asks for when it does not say

# MLPerf Inference, Server and Interactive scenarios: p99 limits of TTFT and TPOT in ms.
MLPERF = {
    "llama2-70b": (2000, 200),
    "llama2-70b-interactive": (450, 40),
    "llama3.1-405b": (6000, 175),
    "llama3.1-405b-interactive": (4500, 80),
    "llama3.1-8b": (2000, 100),
    "llama3.1-8b-interactive": (500, 30),
    "mixtral-8x7b": (2000, 200),
    "deepseek-r1": (2000, 80),
    "deepseek-r1-interactive": (1500, 15),
    "gpt-oss-120b": (3000, 80),
    "gpt-oss-120b-interactive": (2000, 15),
}
_HINT = "Write clauses like ttft_p99=500ms, tpot_mean<50ms, e2el<2s@99% or ttft:500, with commas between them."
_CLAUSE = re.compile(r"([a-z0-9_]+?)(?:_(p[0-9]+(?:\.[0-9]+)?|median|mean))?(<=|<|=|:)([^@]+)(?:@(.+))?")
_HOW = {metric.name: metric.how for metric in METRICS}


@dataclass(frozen=True, slots=True)
class Clause:
    """`percentile` for a percentile of all requests; else `mean`; else a limit for each, met by `share` of them."""

    text: str
    metric: str
    limit_ns: float
    percentile: float | None = None
    mean: bool = False
    share: float = ATTAINMENT

    @property
    def statistic(self) -> str:
        return percentile_name(self.percentile) if self.percentile else "mean" if self.mean else "each"

    @property
    def key(self) -> str:
        """The key of the point that this clause limits; "" for a limit on each request."""
        return "" if self.statistic == "each" else f"{self.statistic}_{self.metric}_ms"


@dataclass(frozen=True, slots=True)
class Slo:
    """All clauses must hold."""

    text: str
    clauses: tuple[Clause, ...]

    def as_dict(self) -> dict[str, Any]:
        """For the head of `summary.json`."""
        return {"text": self.text, "clauses": [each.text for each in self.clauses]}


def slo_of(text: str | None) -> Slo | None:
    """None where none was asked for. Raises as `parse_slo`."""
    return parse_slo(text) if text else None


def parse_slo(text: str) -> Slo:
    """Reads the grammar above. Raises BadInputError."""
    pieces = re.split(r"[,\s]+", re.sub(r"\s*(<=|[<=:@])\s*", r"\1", text.strip()))
    clauses = [clause for piece in pieces if piece for clause in _parse(piece)]
    if not clauses:
        raise BadInputError("The SLO is empty.", _HINT)
    return Slo(text.strip(), tuple(clauses))


def _parse(piece: str) -> list[Clause]:
    if piece.lower().startswith("mlperf:"):
        return _preset(piece.lower().removeprefix("mlperf:"))
    match = _CLAUSE.fullmatch(piece.lower())
    if match is None:
        raise BadInputError(f"'{piece}' is not an SLO clause.", _HINT)
    metric, statistic, sign, limit, share = match.groups()
    if metric not in _HOW:
        raise BadInputError(f"There is no metric '{metric}' in '{piece}'.", f"Metrics are {', '.join(_HOW)}.")
    percentile = 50.0 if statistic == "median" else float(statistic[1:]) if statistic and statistic != "mean" else None
    if percentile is not None and not 0 < percentile < 100:
        raise BadInputError(f"'{statistic}' in '{piece}' is not a percentile.", "Between p1 and p99.9.")
    if statistic and (share or sign == ":"):
        raise BadInputError(
            f"'{piece}' limits both a statistic and each request.", f"Write {metric}_{statistic}=… or {metric}<…@99%."
        )
    limit_ns = _milliseconds_ns(limit, piece) if sign == ":" else _duration_ns(limit, piece)
    return [Clause(piece, metric, limit_ns, percentile, statistic == "mean", _share(share, piece))]


def _preset(name: str) -> list[Clause]:
    if name not in MLPERF:
        raise BadInputError(f"There is no preset 'mlperf:{name}'.", f"Presets are {', '.join(MLPERF)}.")
    limits = zip(("ttft", "tpot"), MLPERF[name], strict=True)
    return [Clause(f"{metric}_p99={ms}ms", metric, ms * NS_PER_MS, 99.0) for metric, ms in limits]


def _duration_ns(text: str, piece: str) -> float:
    if not re.search(r"[a-zµ]", text):
        raise BadInputError(f"'{piece}' has no unit.", f"Write {text}ms or {text}s; only vLLM's form ttft:500 is ms.")
    limit_ns = parse_duration_ns(text)
    if limit_ns <= 0:
        raise BadInputError(f"'{piece}' cannot be met.", "Give a limit above 0.")
    return limit_ns


def _milliseconds_ns(text: str, piece: str) -> float:
    try:
        limit_ns = float(text) * NS_PER_MS
    except ValueError:
        return _duration_ns(text, piece)
    if not 0 < limit_ns < np.inf:
        raise BadInputError(f"'{piece}' cannot be met.", "Give a limit above 0 ms.")
    return limit_ns


def _share(text: str | None, piece: str) -> float:
    if text is None:
        return ATTAINMENT
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", text)
    if match is None or not 0 < float(match[1]) <= 100:
        raise BadInputError(f"'@{text}' in '{piece}' is not a share of requests.", "Write a percentage: @99%.")
    return float(match[1]) / 100


def met_by_request(slo: Slo, columns: Columns, ended_well: Bools) -> Bools:
    """bool[n]: which requests meet every clause. A statistic's limit is applied to each request."""
    return np.asarray(np.logical_and.reduce([_within(clause, columns, ended_well) for clause in slo.clauses]), np.bool_)


def judge(
    slo: Slo, columns: Columns, rows: Bools, ended_well: Bools, unsent: int, samples: dict[str, Sample]
) -> dict[str, Any]:
    """point["slo"]: over the requests `rows` and the `unsent` ones. `met` is None when there are no requests."""
    asked = int(rows.sum()) + unsent
    verdicts = [_judge_clause(each, columns, rows, ended_well, unsent, samples) for each in slo.clauses]
    good = int((met_by_request(slo, columns, ended_well) & rows).sum())
    return {
        "text": slo.text,
        "met": all(each["met"] for each in verdicts) if asked else None,
        "attainment": good / asked if asked else None,
        "clauses": verdicts,
    }


def _judge_clause(
    clause: Clause, columns: Columns, rows: Bools, ended_well: Bools, unsent: int, samples: dict[str, Sample]
) -> dict[str, Any]:
    asked = int(rows.sum()) + unsent
    attainment = int((_within(clause, columns, ended_well) & rows).sum()) / asked if asked else None
    whole = samples[clause.metric]
    value_ns, met = None, False
    if clause.percentile is not None and asked:
        lost = int((rows & ~ended_well).sum()) + unsent  # a failure is a latency without end
        counts = np.ones(len(whole.values), np.int64) if whole.counts is None else whole.counts
        all_of_them = Sample(np.append(whole.values, np.inf), np.append(counts, lost))
        value_ns = all_of_them.quantile(clause.percentile / 100)
        met = value_ns is not None and value_ns <= clause.limit_ns
    elif clause.mean:
        value_ns = whole.mean()
        met = value_ns is not None and value_ns <= clause.limit_ns
    elif attainment is not None:
        met = attainment >= clause.share
    return {
        "text": clause.text,
        "metric": clause.metric,
        "statistic": clause.statistic,
        "limit_ms": clause.limit_ns / UNIT_NS,
        "value_ms": None if value_ns is None else value_ns / UNIT_NS,
        "attainment": attainment,
        "required": clause.share if clause.statistic == "each" else None,
        "enough_samples": clause.percentile is None or whole.n >= samples_min(clause.percentile),
        "met": met,
    }


def _within(clause: Clause, columns: Columns, ended_well: Bools) -> Bools:
    """bool[n]: ended well and within the limit; a value that does not exist (TPOT of one token) cannot be too large."""
    how = _HOW[clause.metric]
    if isinstance(how, Pool):
        how = _HOW["tpot"]  # of one request, gaps are judged by their mean
    assert not isinstance(how, Pool)
    values_ns: Floats = how(columns)
    return ended_well & (np.isnan(values_ns) | (values_ns <= clause.limit_ns))
