"""A simulator driven past its limit on virtual time, and the point that a client would have made of it.

The engine's read-outs are what a scraper would see each second; nothing here decides anything.
"""

from typing import Any

import numpy as np
from made import S, batch, plan, record, telemetry

from loadgen.analysis.data import run_data
from loadgen.analysis.efficiency import efficiency, find_hardware
from loadgen.analysis.summary import summarise
from loadgen.simulator.options import build_engine, parse_options
from loadgen.simulator.sequence import Sequence, State
from loadgen.simulator.virtual import drive

GAUGES = (
    ("vllm:num_requests_running", "running"),
    ("vllm:num_requests_waiting", "waiting"),
    ("vllm:kv_cache_usage_perc", "kv_usage"),
    ("vllm:num_preemptions_total", "preemptions"),
)


def provoked(
    options: str,
    rate: float,
    input_tokens: int,
    output_tokens: int,
    seconds: float = 20.0,
    seed: int = 0,
    gpu: bool = True,
) -> dict[str, Any]:
    """The point of an open loop of `rate` requests/s, cut off at its end; `gpu`: whether its roofline is known."""
    parsed = parse_options(options.split())
    engine, cap, _ = build_engine(parsed)
    due_s = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, round(rate * seconds)))
    stamps: dict[Sequence, list[int]] = {}

    def sink(_: int) -> None:
        """Tokens are taken from what `drive` tells."""

    sequences = [Sequence(round(at * S), input_tokens, output_tokens, sink) for at in due_s]
    rows: list[tuple[float, str, str, float]] = []
    end_ns = round(due_s[-1] * S)

    def watch(due_ns: int, emitted: list[Sequence]) -> None:
        if due_ns > end_ns:
            return
        for sequence in emitted:
            stamps.setdefault(sequence, []).append(due_ns)
        if len(rows) // (len(GAUGES) + 1) < due_ns // S:
            seen = [(due_ns / S, "server", name, float(getattr(engine, what))) for name, what in GAUGES]
            rows.extend([*seen, (due_ns / S, "server", "simulator:max_num_seqs", float(cap))])

    drive(engine, sequences, watch)
    records = []
    for index, sequence in enumerate(sequences):
        tokens_ms = [each / 1e6 for each in stamps.get(sequence, [])]
        whole = sequence.state is State.FINISHED and len(tokens_ms) == output_tokens
        told: dict[str, Any] = {"tokens_ms": tokens_ms} if tokens_ms else {}
        ending = {} if whole else {"outcome": "censored", "done_ms": end_ns / 1e6}
        records.append(
            record(
                index,
                due_s[index] * 1e3,
                planned_input_tokens=input_tokens,
                planned_output_tokens=output_tokens,
                input_tokens=input_tokens if whole else None,
                **told,
                **ending,
            )
        )
    manifest = {"warmup": "auto", "request_rate": rate, "ended_ns": end_ns}
    point = summarise(run_data([batch(records)], plan((due_s * S).astype(np.int64)), telemetry(rows), manifest))
    if gpu:
        point["efficiency"] = efficiency(point, find_hardware(f"{parsed.gpu}:{parsed.model}", ""))
    return point
