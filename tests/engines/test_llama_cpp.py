"""llama.cpp, a real engine on the CPU, driven as any server: counts, lengths and usage are what was asked for.

It is started by a plain script of a few lines, not by ours: what is tested is the client against a server that is not.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from loadgen.cli.main import run_command
from loadgen.tinymodel.shape import find_shape
from loadgen.tinymodel.write import GGUF_NAME, write_model

pytest.importorskip("xllamacpp", reason="xllamacpp is not installed: pip install 'loadgen[llama-cpp]'")
pytest.importorskip("gguf", reason="gguf is not installed: pip install 'loadgen[llama-cpp]'")
pytestmark = pytest.mark.engine

REQUESTS, INPUT, OUTPUT = 12, 24, 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a generated model: model.gguf and its tokenizer.json."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    write_model(folder, find_shape("tiny"), weights=False, gguf=True)
    return folder


@pytest.fixture(scope="module")
def address(model: Path) -> Iterator[str]:
    """Where it is served until the tests of this file are over."""
    script = Path(__file__).with_name("llama_server.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(model / GGUF_NAME)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        yield next(line.strip() for line in server.stdout if line.startswith("http"))
        server.kill()


def load(address: str, folder: Path, command: str, *arguments: str) -> dict[str, Any]:
    lengths = ("--dataset", "random", "--input-len", str(INPUT), "--output-len", str(OUTPUT))
    code = run_command(
        [
            command,
            "--base-url",
            address,
            *lengths,
            "--num-prompts",
            str(REQUESTS),
            *arguments,
            "--warmup",
            "none",
            "--quiet",
            "--out",
            str(folder),
        ]
    )
    assert code in (0, 3)  # a dozen requests may be too few to judge, and this machine may be busy
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_every_request_gets_what_it_asked_for(
    endpoint: str, stream: bool, address: str, model: Path, tmp_path: Path
) -> None:
    body = ("--endpoint", endpoint, "--extra-body", json.dumps({"stream": stream}))
    if endpoint == "chat":  # its template makes text of the prompt, whose tokens only the tokenizer can count
        pytest.importorskip("tokenizers")
        body += ("--tokenizer", str(model))
    summary = load(address, tmp_path / "run", "run", "--request-rate", "60", *body)
    (point,) = summary["points"]
    assert summary["target"]["model"] == "tiny"
    assert summary["target"]["warnings"] == []
    assert (point["completed"], point["failed"], point["censored"]) == (REQUESTS, 0, 0)
    assert point["token_source"] == "usage"
    assert point["total_output_tokens"] == REQUESTS * OUTPUT
    assert point["total_input_tokens"] == REQUESTS * INPUT
    records = pq.read_table(tmp_path / "run" / "records.parquet").to_pylist()
    assert {each["finish_reason"] for each in records} == {"length"}
    assert {each["input_tokens"] for each in records} == {INPUT}
    assert {each["output_tokens"] for each in records} == {OUTPUT}
    for each in records:
        assert len(each["token_ns"]) == (OUTPUT if stream else 0)
        assert each["issued_ns"] <= each["first_event_ns"] <= each["done_ns"]
    assert (point["median_tpot_ms"] is not None) is stream


def test_a_sweep_has_its_points(address: str, tmp_path: Path) -> None:
    summary = load(address, tmp_path / "sweep", "sweep", "--rates", "20,40")
    assert [point["request_rate"] for point in summary["points"]] == [20.0, 40.0]
    assert [point["completed"] for point in summary["points"]] == [REQUESTS, REQUESTS]
    assert all(point["total_output_tokens"] == REQUESTS * OUTPUT for point in summary["points"])
    assert (tmp_path / "sweep" / "report.html").stat().st_size > 10_000


def test_a_closed_loop_fills_both_slots(address: str, tmp_path: Path) -> None:
    (point,) = load(address, tmp_path / "closed", "run", "--max-concurrency", "2")["points"]
    assert point["completed"] == REQUESTS
    assert 1 < point["effective_concurrency"] <= 2
