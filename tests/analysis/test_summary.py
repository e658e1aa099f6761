"""A whole point: a golden run counted by hand, a queue of known theory, and runs in which nothing went well."""

import json
from typing import Any

import numpy as np
import pytest
from made import MS, poisson_s, queue, queue_run, record, run, telemetry

from loadgen.analysis.metrics import NAMES, PERCENTILES, percentile_name
from loadgen.analysis.slo import parse_slo
from loadgen.analysis.summary import summarise
from loadgen.analysis.timeline import BINS_MAX, bin_width_s

EMPTY_RUNS: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "one": [record(0, 5, tokens_ms=[10, 20, 30])],
    "one token": [record(0, 5, tokens_ms=[10])],
    "all failed": [record(k, 5 * k, outcome="timeout", done_ms=5 * k + 9) for k in range(20)],
    "all refused before sending": [
        record(k, 5 * k, outcome="connect_error", done_ms=5 * k, sent_ns=None, status=0) for k in range(20)
    ],
    "all censored": [record(k, 5 * k, outcome="censored") for k in range(20)],
    "never issued": [record(k, 5 * k, outcome="client_error", issued_ns=None) for k in range(20)],
    "the same moment": [record(k, 0, tokens_ms=[10, 20]) for k in range(20)],
}


@pytest.mark.parametrize("name", EMPTY_RUNS)
@pytest.mark.parametrize("warmup", ["auto", "none", 1])
def test_runs_in_which_little_happened_are_plain_json(name: str, warmup: Any) -> None:
    data = run(EMPTY_RUNS[name], {"warmup": warmup, "request_rate": 200.0})
    point = summarise(data, parse_slo("ttft_p99=1s,itl_mean=1s,e2el<1s"))
    assert json.loads(json.dumps(point, allow_nan=False)) == point
    assert point["verdict"] != "VALID" or name == "the same moment"
    assert point["whole_run"]["num_prompts"] == len(EMPTY_RUNS[name])


def test_the_keys_are_those_that_scripts_depend_on() -> None:
    point = summarise(run(EMPTY_RUNS["nothing"]))
    figures = ["mean", "median", "std", *(percentile_name(each) for each in PERCENTILES)]
    wanted = {f"{figure}_{name}_ms" for figure in figures for name in NAMES} | {
        *("request_rate", "offered_rate", "send_rate", "achieved_rate", "duration", "window", "num_prompts"),
        *("completed", "failed", "censored", "unsent", "errors", "request_throughput", "output_throughput"),
        *("total_token_throughput", "request_goodput", "confidence", "total_input_tokens", "total_output_tokens"),
        *("token_source", "client", "server", "efficiency", "verdict", "findings", "quantiles", "timeline", "slo"),
        *("whole_run", "effective_concurrency", "littles_law", "lengths", "indicative", "max_concurrency"),
        *("http", "http_statuses", "samples", "decoding"),
    }
    assert wanted == set(point)
    assert "p99.9_ttft_ms" in point


def test_an_m_d_1_queue_has_the_wait_of_the_theory() -> None:
    """Pollaczek and Khinchine: with load ρ and service s the mean wait is ρ·s / (2(1 − ρ)), here 0.6 · 100 / 0.8 ms."""
    rng = np.random.default_rng(8)
    due_s = poisson_s(rng, 6.0, (1, 20_000))
    data = queue_run(due_s[0], queue(due_s, np.full(due_s.shape, 0.1), 1)[0], tokens=2, tpot_ms=10)
    point = summarise(data)
    assert point["verdict"] == "VALID"
    assert point["mean_e2el_ms"] == pytest.approx(175, rel=0.04)
    low, high = point["confidence"]["mean_e2el_ms"]
    assert low < 175 < high
    assert point["mean_ttft_ms"] == pytest.approx(point["mean_e2el_ms"] - 10, rel=1e-6)
    assert point["achieved_rate"] == pytest.approx(6, rel=0.02)
    assert point["output_throughput"] == pytest.approx(12, rel=0.02)
    assert point["effective_concurrency"] == pytest.approx(6 * 0.175, rel=0.06)
    assert point["littles_law"]["ratio"] == pytest.approx(1, rel=0.01)
    assert point["client"]["dispersion"]["1s"] == pytest.approx(1, abs=0.1)


def golden() -> dict[str, Any]:
    """40 requests, one every 100 ms: TTFT 20 + k ms, four tokens 10 ms apart. Number 5 timed out, 39 was censored."""
    rows = []
    for k in range(40):
        due = 100.0 * k
        tokens = [due + 20 + k + 10 * j for j in range(4)]
        if k == 5:
            rows.append(record(k, due, outcome="timeout", done_ms=due + 50, detail="no answer"))
        elif k == 39:
            rows.append(record(k, due, outcome="censored", tokens_ms=tokens[:1]) | {"done_ns": round((due + 80) * MS)})
        else:
            rows.append(record(k, due, tokens_ms=tokens, input_tokens=7, planned_input_tokens=7))
    told = telemetry([(0.5 * k, "server", "vllm:num_requests_running", k % 2) for k in range(9)])
    return summarise(run(rows, {"request_rate": 10.0, "ended_ns": 3980 * MS}, telemetry=told))


def test_the_golden_run() -> None:
    point = golden()
    ttft = [20 + k for k in range(39) if k != 5]
    assert {key: point[key] for key in ("num_prompts", "completed", "failed", "censored", "unsent", "errors")} == {
        "num_prompts": 40,
        "completed": 38,
        "failed": 1,
        "censored": 1,
        "unsent": 0,
        "errors": {"timeout": 1},
    }
    assert point["mean_ttft_ms"] == pytest.approx(np.mean(ttft))
    assert point["p99_ttft_ms"] == pytest.approx(np.percentile(ttft, 99))
    assert point["std_ttft_ms"] == pytest.approx(np.std(ttft))
    assert point["quantiles"]["ttft_ms"] == pytest.approx(np.percentile(ttft, np.arange(101)))
    assert point["mean_itl_ms"] == point["median_tpot_ms"] == 10
    assert point["offered_rate"] == pytest.approx(10)
    assert (point["total_input_tokens"], point["total_output_tokens"]) == (7 * 38, 4 * 38)
    assert point["whole_run"]["output_throughput"] == pytest.approx((4 * 38 + 1) / 3.98)
    assert "p99_ttft_ms" in point["indicative"]
    assert "p50_ttft_ms" not in point["indicative"]
    assert point["verdict"] == "SERVER_ERRORS"
    assert [each["code"] for each in point["findings"]] == ["SERVER_ERRORS", "CENSORED", "FEW_SAMPLES"]


def test_the_timeline_of_the_golden_run() -> None:
    line = golden()["timeline"]
    bins = len(line["t"])
    assert (line["bin_s"], bins) == (0.02, 199)
    assert all(len(each) == bins for each in line.values() if isinstance(each, list))
    assert sum(line["due"]) == sum(line["issued"]) == 40
    assert (sum(line["done"]), sum(line["failed"])) == (38, 1)
    assert sum(line["output_tokens"]) == pytest.approx(4 * 38 + 1, abs=1e-3)
    assert line["due"][5] == 1
    assert line["ttft_p50_ms"][5] == 21
    assert line["ttft_p50_ms"][6] is None
    assert line["server_running"][25] == 1
    assert line["server_running"][26] is None
    assert line["server_waiting"] is None
    stays_s = sum(0.05 + 0.001 * k for k in range(39) if k != 5) + 0.05 + 0.08
    assert sum(line["in_flight"]) * line["bin_s"] == pytest.approx(stays_s, rel=1e-3)


@pytest.mark.parametrize(
    ("span_s", "width_s"), [(0.01, 0.01), (2.4, 0.01), (2.41, 0.02), (60, 0.5), (240, 1), (3600, 20), (1e6, 5000)]
)
def test_bins_are_round_and_at_most_240(span_s: float, width_s: float) -> None:
    assert bin_width_s(span_s) == width_s
    assert span_s / bin_width_s(span_s) <= BINS_MAX


def test_a_percentile_has_an_interval_only_when_both_ends_exist() -> None:
    rng = np.random.default_rng(1)
    due_s = np.cumsum(rng.exponential(0.1, 367))
    few = summarise(queue_run(due_s, due_s + rng.uniform(0.2, 0.4, 367), warmup="none"))["confidence"]
    due_s = np.cumsum(rng.exponential(0.1, 3000))
    many = summarise(queue_run(due_s, due_s + rng.uniform(0.2, 0.4, 3000), warmup="none"))["confidence"]
    assert few["p99_e2el_ms"] is None
    low, high = many["p99_e2el_ms"]
    assert low <= 398 <= high
    assert few["p50_e2el_ms"][0] < 300 < few["p50_e2el_ms"][1]
    assert many["level"] == 0.95


def test_who_counted_the_tokens() -> None:
    rows = [record(k, k, tokens_ms=[k + 5, k + 9], token_source=source) for k, source in enumerate(("usage", "events"))]
    assert summarise(run(rows[:1]))["token_source"] == "usage"
    assert summarise(run(rows))["token_source"] == "mixed"
    assert summarise(run([]))["token_source"] is None


def test_who_counted_how_many_answers_and_what_no_event_showed() -> None:
    """Of the completed: three as asked, 15 tokens of which 9 had an event (one of an older version, which wrote
    `events`); one by the server; one by its events."""
    counted = [
        *(("asked", 5, 2, "length"), ("asked", 5, 2, "length"), ("events", 5, 5, "length")),
        *(("usage", 9, 3, "length"), ("events", 3, 3, "stop")),
    ]
    rows = [
        record(
            k,
            k,
            tokens_ms=[k + 5 + at for at in range(events)],
            token_source=source,
            output_tokens=tokens,
            finish_reason=reason,
        )
        for k, (source, tokens, events, reason) in enumerate(counted)
    ]
    rows.append(record(5, 5, outcome="truncated", tokens_ms=[9], token_source="events", finish_reason=None))
    point = summarise(run(rows))
    assert point["token_source"] == "mixed"
    assert point["lengths"]["token_sources"] == {"asked": 3, "usage": 1, "events": 1}
    assert point["lengths"]["asked_unseen_share"] == 0.4
    assert summarise(run(rows[:0]))["lengths"]["asked_unseen_share"] is None
