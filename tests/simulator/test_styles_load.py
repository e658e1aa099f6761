"""loadgen itself against every style, over sockets: every answer as long as planned, counted exactly, by both sides."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from loadgen.engines.launch import launch_simulator
from loadgen.errors import ExitCode
from loadgen.plan import load_plan
from loadgen.records.folder import read_records
from loadgen.simulator.styles import STYLES

SOURCE = {"llama-cpp-python": "asked", "mii": "asked"}  # those that say no usage in a stream; the rest do
LOAD = ["--dataset", "random", "--input-len", "uniform:20-60", "--output-len", "uniform:3-20", "--seed", "1"]


def loadgen(*arguments: str) -> None:
    """As a user types it; a run that hangs is a failure. So few samples need not be enough for a verdict."""
    command = [sys.executable, "-m", "loadgen", *arguments, "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (ExitCode.OK, ExitCode.NOT_VALID), done.stderr


# The endpoint at which each is stranger.
ENDPOINTS = {
    "vllm": "completions",
    "llama.cpp": "chat",
    "llama-cpp-python": "completions",
    "transformers": "chat",
    "mii": "chat",
    "tensorrt-llm": "chat",
}


@pytest.mark.parametrize("style", STYLES)
def test_every_answer_is_as_long_as_planned(tmp_path: Path, style: str) -> None:
    truth, folder = tmp_path / "truth.jsonl", tmp_path / "run"
    fixed = ["--ttft-ms", "3", "--itl-ms", "1", "--served-model-name", "m", "--eos-probability", "0.05"]
    with launch_simulator([*fixed, "--style", style, "--log", str(truth)], tmp_path / "engine.log") as server:
        load = [*LOAD, "--request-rate", "200", "--num-prompts", "60", "--warmup", "none", "--out", str(folder)]
        target = ["--base-url", server.base_url, "--model", "m", "--endpoint", ENDPOINTS[style]]
        loadgen("run", *target, *load)
    plan = load_plan(folder / "plan.arrow")
    records = pa.Table.from_batches(list(read_records(folder))).sort_by("index")
    assert set(records["outcome"].to_pylist()) == {"ok"}, set(records["detail"].to_pylist())
    assert set(records["token_source"].to_pylist()) == {SOURCE.get(style, "usage")}
    assert records["output_tokens"].to_pylist() == plan.output_tokens.tolist()
    served = [json.loads(line) for line in truth.read_text().splitlines()][-len(plan) :]
    lengths = sorted((row["input_tokens"], row["output_tokens"]) for row in served)
    assert lengths == sorted(zip(plan.input_tokens.tolist(), plan.output_tokens.tolist(), strict=True))


def test_a_sweep_goes_over_a_server_that_closes_its_connections(tmp_path: Path) -> None:
    """llama.cpp promises to keep them: whatever was sent on a dying one is sent again, and nothing is lost."""
    engine = "simulator --style llama.cpp --ttft-ms 3 --itl-ms 1"
    load = [*LOAD, "--rates", "60,90", "--duration", "500ms", "--warmup", "none", "--out", str(tmp_path / "sweep")]
    loadgen("sweep", "--engine", engine, *load)
    summary = json.loads((tmp_path / "sweep" / "summary.json").read_text())
    assert [point["failed"] for point in summary["points"]] == [0, 0]
    assert all(point["completed"] > 10 for point in summary["points"])
