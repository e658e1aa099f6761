"""The words of every report: what a metric means, what a verdict means, which columns a table of points has.

Tables only; adding a column or a verdict is adding a line. The formulas are those of `docs/metrics.md`.
"""

from dataclasses import dataclass

DEFINITIONS = (
    ("Request rate", "How many requests per second we asked the server to take, whether or not it keeps up."),
    ("TTFT", "Time to first token: from the moment a request was due until its first output token arrived."),
    ("TPOT", "Time per output token: the average gap between one request's output tokens after the first."),
    ("ITL", "Inter-token latency: every single gap between two successive output tokens, not averaged."),
    ("E2EL", "End-to-end latency: from the moment a request was due until its last output token arrived."),
    ("p50, p99", "Half of the requests were at least as fast as p50; 99 of 100 were at least as fast as p99."),
    ("Throughput", "Work finished per second: requests (req/s) or output tokens (tok/s)."),
    ("Goodput", "Requests per second that were answered within every limit of the SLO, the promise to users."),
    ("Saturation", "The request rate above which the queue grows without end: the server cannot keep up."),
    ("Lag", "Our own lateness in sending. It is part of every latency above, so it must stay small."),
)

TTFT, TPOT, ITL, E2EL = "ttft", "tpot", "itl", "e2el"
LATENCIES = (
    (TTFT, "TTFT", "time to first token"),
    (TPOT, "TPOT", "time per output token"),
    (ITL, "ITL", "gap between two output tokens"),
    (E2EL, "E2EL", "end-to-end latency"),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a verdict looks and what it means. `tone` is good, warn or bad."""

    words: str
    tone: str
    sign: str
    meaning: str


VERDICTS = {
    "VALID": Verdict("valid", "good", "✓", "The server was steady and the client kept up: the numbers can be trusted."),
    "NOT_STEADY": Verdict(
        "not steady", "warn", "≈", "The server never settled, so the numbers depend on how long the run lasted."
    ),
    "TOO_FEW_SAMPLES": Verdict(
        "too few samples",
        "warn",
        "…",
        "Too few requests to know: for a percentile, or whether the server keeps up. Run longer.",
    ),
    "SERVER_ERRORS": Verdict("server errors", "bad", "✕", "Too many requests failed; the rest may look faster for it."),
    "CLIENT_LIMITED": Verdict(
        "client-limited", "bad", "!", "This machine could not send or read fast enough; the server may be better."
    ),
}


def verdict_of(code: str) -> Verdict:
    """The verdict of that code; a code that is not in the table is shown as it is."""
    return VERDICTS.get(code) or Verdict(code.replace("_", " ").lower() or "no verdict", "warn", "?", "")


SEVERITIES = {"critical": 0, "error": 0, "warning": 1, "warn": 1, "notice": 2, "info": 2, "note": 2}
TONES = ("bad", "warn", "info")


def severity_of(word: str) -> int:
    """0 for the gravest; what is not in the table counts as a warning."""
    return SEVERITIES.get(word.lower(), 1)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table of points. `rank` 0 is kept longest when the terminal is narrow."""

    key: str
    head: str
    unit: str
    rank: int = 0


COLUMNS = (
    Column("request_rate", "asked", "req/s"),
    Column("achieved_rate", "achieved", "req/s", 3),
    Column("output_throughput", "output", "tok/s", 1),
    Column("request_goodput", "goodput", "req/s", 2),
    Column("mean_batch_latency_ms", "batch latency", "ms", 1),
    Column("p50_ttft_ms", "TTFT p50", "ms", 2),
    Column("p99_ttft_ms", "TTFT p99", "ms"),
    Column("p50_tpot_ms", "TPOT p50", "ms", 4),
    Column("p99_tpot_ms", "TPOT p99", "ms", 1),
    Column("p50_e2el_ms", "E2EL p50", "ms", 5),
    Column("failed", "failed", "", 3),
)
