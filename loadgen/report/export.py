"""The flat file that `vllm bench serve --save-result --save-detailed` writes, key for key, made from our records.

The keys carry vLLM's own definitions, so that a file of ours beside one of theirs compares like with like: latencies
count from the SEND, over the whole run with its warm-up and drain. `queue_times` is send − due: add it to a latency and
it counts from the due time, as everywhere else in loadgen. Times are in seconds, statistics in ms, as theirs are.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loadgen.plan import Plan
from loadgen.report.reading import Point, at, mapping, number, words
from loadgen.units import NS_PER_S

Floats = npt.NDArray[np.float64]

PERCENTILES = (50, 90, 95, 99)
_STAMPS = ("index", "due_ns", "sent_ns", "first_token_ns", "last_token_ns", "done_ns")
_COUNTS = ("input_tokens", "planned_input_tokens", "output_tokens")
_BACKENDS = {"chat": "openai-chat", "completions": "openai"}  # our endpoint, and vLLM's name for its backend


def vllm_result(
    point: Point, records: Iterable[pa.RecordBatch], header: dict[str, Any] | None = None, plan: Plan | None = None
) -> dict[str, Any]:
    """The file as a dict that `json.dump` takes.

    `point` is the run's entry of `points`, `records` batches of `records/schema.RECORD` in any order, `header` the
    summary around the point (target, settings, start). Statistics are over the requests that succeeded; a figure of
    which there is no sample is 0.0, as in vLLM. Lists are in the order of the plan; a failed request has TTFT 0.0."""
    rows = _Rows(records)
    started_s, ok = rows.seconds["sent_ns"], rows.ok
    ttft_s = np.nan_to_num(np.where(ok, rows.seconds["first_token_ns"] - started_s, 0.0))
    latency_s = np.nan_to_num(np.where(ok, rows.seconds["last_token_ns"] - started_s, 0.0))
    output_tokens = np.where(ok, np.nan_to_num(rows.counts["output_tokens"]), 0.0)
    asked = rows.counts["input_tokens"]
    input_tokens = np.nan_to_num(np.where(np.isnan(asked), rows.counts["planned_input_tokens"], asked))
    several = ok & (output_tokens > 1)
    samples_s = {
        "ttft": ttft_s[ok],
        "tpot": (latency_s - ttft_s)[several] / (output_tokens[several] - 1),
        "itl": np.concatenate([np.empty(0), *(gaps for gaps, good in zip(rows.gaps_s, ok, strict=True) if good)]),
        "e2el": latency_s[ok],
    }
    duration_s = _span_s(started_s, rows.seconds["done_ns"])
    per_s = 1 / duration_s if duration_s else 0.0
    total_input, total_output = float(input_tokens[ok].sum()), float(output_tokens.sum())
    result = _setting_up(point, header or {}, plan, len(ok)) | {
        "duration": duration_s,
        "completed": int(ok.sum()),
        "failed": int((~ok).sum()),
        "total_input_tokens": int(total_input),
        "total_output_tokens": int(total_output),
        "request_throughput": float(ok.sum()) * per_s,
        "request_goodput": number(point, "whole_run", "request_goodput"),
        "output_throughput": total_output * per_s,
        "total_token_throughput": (total_input + total_output) * per_s,
        "input_lens": input_tokens.astype(np.int64).tolist(),
        "output_lens": output_tokens.astype(np.int64).tolist(),
        "ttfts": ttft_s.tolist(),
        "itls": [gaps.tolist() if good else [] for gaps, good in zip(rows.gaps_s, ok, strict=True)],
        "latencies": latency_s.tolist(),
        "start_times": np.nan_to_num(started_s).tolist(),
        "queue_times": np.nan_to_num(started_s - rows.seconds["due_ns"]).tolist(),
        "generated_texts": [""] * len(ok),
        "errors": rows.errors,
        "max_output_tokens_per_s": _peak_per_s(rows, started_s),
        "max_concurrent_requests": _peak_in_flight(started_s[ok], (started_s + latency_s)[ok]),
    }
    for name, sample_s in samples_s.items():
        result |= _statistics(name, sample_s)
    return result


class _Rows:
    """The records as columns in the order of the plan: times in s with NaN for null, gaps between token events in s."""

    def __init__(self, records: Iterable[pa.RecordBatch]) -> None:
        columns: dict[str, list[Floats]] = {name: [np.empty(0)] for name in (*_STAMPS, *_COUNTS)}
        outcomes: list[str] = []
        details: list[str] = []
        tokens: list[tuple[Floats, Floats]] = []  # stamps in s, tokens at each
        for batch in records:
            for name, parts in columns.items():
                parts.append(batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False))
            outcomes += [outcome or "" for outcome in batch.column("outcome").to_pylist()]
            details += [detail or "" for detail in batch.column("detail").to_pylist()]
            for stamps, counts in zip(
                _lists(batch.column("token_ns")), _lists(batch.column("token_counts")), strict=True
            ):
                tokens.append((stamps / NS_PER_S, counts if len(counts) == len(stamps) else np.ones(len(stamps))))
        whole = {name: np.concatenate(parts) for name, parts in columns.items()}
        order = np.argsort(whole["index"], kind="stable")
        self.seconds = {name: whole[name][order] / NS_PER_S for name in _STAMPS[1:]}
        self.counts = {name: whole[name][order] for name in _COUNTS}
        self.tokens = [tokens[k] for k in order]
        self.gaps_s = [np.diff(stamps_s) for stamps_s, _ in self.tokens]
        self.ok = np.array([outcomes[k] == "ok" for k in order], bool)
        self.errors = [
            "" if outcomes[k] == "ok" else ": ".join(part for part in (outcomes[k], details[k]) if part) for k in order
        ]


def _lists(column: pa.ListArray) -> list[Floats]:
    """Each row of a list column as float64, a null as an empty one."""
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    values = column.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.split(values, np.cumsum(lengths)[:-1]) if len(lengths) else []


def _setting_up(point: Point, header: dict[str, Any], plan: Plan | None, recorded: int) -> dict[str, Any]:
    """The keys that say what was asked, in vLLM's order."""
    backend = _BACKENDS.get(words(_setting(header, "endpoint")), "openai-chat")
    model = words(header, "target", "model")
    caps = (number(point, "max_concurrency"), number(_setting(header, "max-concurrency")), plan and plan.in_flight_max)
    burstiness = number(_setting(header, "burstiness"))
    rate = number(point, "request_rate")
    started = "".join(letter for letter in words(header, "started") if letter.isdigit())
    return {
        "date": f"{started[:8]}-{started[8:14]}" if len(started) >= 14 else "",
        "endpoint_type": backend,
        "backend": backend,
        "label": words(_setting(header, "label")) or None,
        "model_id": model,
        "tokenizer_id": words(_setting(header, "tokenizer")) or model,
        "num_prompts": len(plan) if plan else recorded,
        "request_rate": "inf" if rate is None else rate,
        "burstiness": 1.0 if burstiness is None else burstiness,
        "max_concurrency": next((int(cap) for cap in caps if cap), None),
    }


def _setting(header: dict[str, Any], name: str) -> Any:
    """An option by its flag, written with its dashes or as a keyword."""
    settings = mapping(header, "settings")
    found = [at(settings, key) for key in (f"--{name}", name, name.replace("-", "_"))]
    return next((value for value in found if value is not None), None)


def _span_s(started_s: Floats, done_s: Floats) -> float:
    known = bool(np.any(~np.isnan(started_s))) and bool(np.any(~np.isnan(done_s)))
    return float(np.nanmax(done_s) - np.nanmin(started_s)) if known else 0.0


def _peak_per_s(rows: _Rows, started_s: Floats) -> float:
    """The most output tokens in one of the seconds counted from the first send."""
    stamps = [stamps_s for (stamps_s, _), good in zip(rows.tokens, rows.ok, strict=True) if good]
    counts = [each for (_, each), good in zip(rows.tokens, rows.ok, strict=True) if good]
    if not any(map(len, stamps)):
        return 0.0
    seconds = (np.concatenate(stamps) - np.nanmin(started_s[rows.ok])).clip(0).astype(np.int64)
    return float(np.bincount(seconds, np.concatenate(counts)).max())


def _peak_in_flight(started_s: Floats, ended_s: Floats) -> int:
    """The most requests at one moment; one that ends as another starts does not overlap it."""
    if not len(started_s):
        return 0
    changes = np.concatenate((np.ones(len(started_s)), -np.ones(len(ended_s))))
    order = np.lexsort((changes, np.concatenate((started_s, ended_s))))
    return int(np.cumsum(changes[order]).max())


def _statistics(name: str, sample_s: Sequence[float] | Floats) -> dict[str, float]:
    sample_ms = 1000 * np.asarray(sample_s) if len(sample_s) else np.zeros(1)
    figures = {
        f"mean_{name}_ms": float(np.mean(sample_ms)),
        f"median_{name}_ms": float(np.median(sample_ms)),
        f"std_{name}_ms": float(np.std(sample_ms)),
    }
    return figures | {f"p{p}_{name}_ms": float(np.percentile(sample_ms, p)) for p in PERCENTILES}
