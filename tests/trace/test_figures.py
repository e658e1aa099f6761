"""The figures of a trace against known truth: tiny traces by hand, the published ones to the digit."""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_traces import trace

from loadgen.trace.figures import find_tick_ns, inspect
from loadgen.trace.load import load_trace
from loadgen.trace.samples import samples

SHARED = Path(__file__).parents[2].parent / "shared" / "traces"
S = 1_000_000_000


def shared(name: str) -> dict[str, Any]:
    path = SHARED / name
    if not path.exists():
        pytest.skip("the whole public traces are not here")
    return inspect(load_trace(path))


def said(figures: dict[str, Any]) -> str:
    """mean p50/p90/p99/max as the reference writes them."""
    values = "/".join(f"{figures[key]:.1f}".removesuffix(".0") for key in ("p50", "p90"))
    return f"{figures['mean']:.1f} {values}/{figures['p99']:.0f}/{figures['max']}"


def test_azure_2023_agrees_to_the_digit() -> None:
    found = shared("azure2023/AzureLLMInferenceTrace_conv.csv")
    assert found["sha256"].startswith("2f1e5b66")
    assert (found["rows_read"], found["rows_kept"], found["dropped"]) == (19_366, 19_366, {})
    assert f"{found['span_s']:.1f} {found['mean_rate']:.2f} {found['iat_cv']:.2f}" == "3501.7 5.53 1.09"
    assert found["peaks"] == {"1s": 19, "60s": 522}
    assert said(found["input_tokens"]) == "1154.7 1020/2734.5/4142/14050"
    assert said(found["output_tokens"]) == "211.1 129/424/601/1000"
    assert found["resolution_ns"] == 1000  # seven digits, the last always 0
    assert found["prefix"] is None
    assert "419 prompts have exactly 181 tokens (2.2%)." in found["oddities"]
    assert "425 answers have exactly 396 tokens (2.2%)." in found["oddities"]


def test_mooncake_agrees_to_the_digit() -> None:
    found = shared("mooncake/conversation_trace.jsonl")
    assert found["rows_kept"] == 12_031
    assert f"{found['span_s']:.1f} {found['mean_rate']:.2f} {found['iat_cv']:.2f}" == "3537.0 3.40 3.03"
    assert found["peaks"] == {"1s": 28, "60s": 260}
    assert f"{found['input_tokens']['mean']:.0f}" == "12035"
    assert said(found["input_tokens"]).split()[1] == "6909/27367/85400/126195"
    assert said(found["output_tokens"]) in {"342.6 350/597/1118/2000", "342.6 350/597/1119/2000"}
    assert (found["prefix"]["blocks"], found["prefix"]["distinct_blocks"]) == (288_500, 182_790)
    assert f"{found['prefix']['hit_rate']:.4f}" == "0.3736"
    assert (found["tick_s"], found["distinct_stamps"]) == (3.0, 1_180)
    assert found["iat_cv_dequantized"] == pytest.approx(1.01, abs=0.01)
    assert any("--dequantize 3s" in each for each in found["oddities"])
    assert "Prompts that are exact duplicates of an earlier one, in length and blocks: 118." in found["oddities"]


def test_the_length_table_agrees_to_the_digit() -> None:
    found = shared("etalon/sharegpt_8k_filtered_stats_llama2_tokenizer.csv")
    assert found["rows_kept"] == 30_731
    assert f"{found['input_tokens']['mean']:.0f} {said(found['input_tokens']).split()[1]}" == "2340 1730/5696/7434/8141"
    assert said(found["output_tokens"]) == "438.7 415/834/998/1024"
    assert found["span_s"] is None
    assert found["mean_rate"] is None


@pytest.mark.parametrize("name", ["weka", "tracelab/round_trace.jsonl", "otel/simple_chain.json", "servegen/mm-image"])
def test_every_other_shared_sample_is_read(name: str) -> None:
    assert shared(name)["rows_kept"] > 0


def test_small_figures_by_hand() -> None:
    made = trace(
        [0, 1, 1.5, 5],
        input_tokens=[16, 40, 40, 10],
        output_tokens=[1, 0, -1, 3],
        session=[0, 0, -1, 1],
        parent=[-1, 0, -1, -1],
        edge=[0, 1, 0, 0],
        think_ns=[-1, S // 2, -1, -1],
        status=[200, 200, 500, 200],
        blocks=[[0], [0, 1, 2], [0, 1, 2], []],
    )
    found = inspect(made, context=41)
    assert found["mean_rate"] == 0.8
    assert found["peaks"] == {"1s": 2, "60s": 4}
    assert found["iat_cv"] == pytest.approx(np.std([1, 0.5, 3.5]) / np.mean([1, 0.5, 3.5]))
    assert found["dispersion"]["1s"] == pytest.approx(np.var([1, 2, 0, 0, 0]) / 0.6)
    assert found["longest_gap_s"] == 3.5
    assert found["input_tokens"] == {"known": 4, "sum": 106, "mean": 26.5, "p50": 28, "p90": 40, "p99": 40, "max": 40}
    assert found["output_tokens"]["known"] == 3
    assert found["sessions"] == {
        "number": 2,
        "requests": 3,
        "turns_mean": 1.5,
        "turns_max": 2,
        "think_p50_s": 0.5,
        "overlapping": 0,
        "joins": 0,
    }
    assert found["prefix"]["hit_tokens"] == 16 + 40  # the first block, then all of an equal prompt
    assert found["oddities"] == [
        "Prompts that are exact duplicates of an earlier one, in length and blocks: 1.",
        "Answers of unknown length: 1.",
        "Answers of 0 tokens: 1 (25.00%); failures, or nothing was generated.",
        "Requests with a status other than 200: 1 (25.00%).",
        "Requests longer than a context of 41 tokens: 0 (0.00%).",
    ]
    course = found["over_time"]
    assert sum(course["rate"]) * course["bin_s"] == pytest.approx(4)


@pytest.mark.parametrize("tick", [1.0, 3.0])
def test_a_tick_is_found_also_when_it_trembles(tick: float) -> None:
    rng = np.random.default_rng(0)
    exact = np.sort(rng.uniform(0, 1000, 2000))
    stamps = np.floor(exact / tick) * tick * S
    assert find_tick_ns(stamps.astype(np.int64)) == tick * S
    trembling = np.sort(stamps + np.repeat(rng.integers(-1, 2, 1), 2000) * 1_000_000)
    assert find_tick_ns(trembling.astype(np.int64)) == pytest.approx(tick * S, rel=0.01)


def test_a_fine_clock_has_no_tick() -> None:
    stamps = np.sort(np.random.default_rng(0).uniform(0, 1000, 2000) * 1000).astype(np.int64) * 1_000_000
    assert find_tick_ns(stamps) is None


def test_repeated_rows_and_cut_lengths_are_told() -> None:
    n = 200
    made = trace([float(k // 2) for k in range(n)], output_tokens=[k % 97 if k < 150 else 128 for k in range(n)])
    told = inspect(made)["oddities"]
    assert "50 answers have the most tokens there are (of 128): cut by a limit, it seems." in told
    assert "Rows that repeat another one in time, lengths, session and model: 25." in told


def test_samples_are_what_their_page_says() -> None:
    page = (Path(__file__).parents[2] / "traces" / "README.md").read_text()
    told = dict(re.findall(r"^\| `([\w.-]+)` \|.*\| `([0-9a-f]{64})` \|$", page, flags=re.MULTILINE))
    assert told == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in samples().values()}
    assert sum(path.stat().st_size for path in samples().values()) < 150_000


@pytest.mark.parametrize("name", sorted(samples()))
def test_samples_are_inspected_without_anything_else(name: str) -> None:
    found = inspect(load_trace(Path(name)))
    assert found["rows_kept"] == found["rows_read"] > 2
