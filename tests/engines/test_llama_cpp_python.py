"""llama_cpp.server, out of the package llama-cpp-python, where it is installed: by every command, lengths forced."""

import json
from pathlib import Path

import pytest
from real import finish_reasons, interpreter, loadgen

from loadgen.tinymodel.shape import find_shape
from loadgen.tinymodel.write import write_model

pytestmark = [pytest.mark.engine]


@pytest.mark.parametrize("command", ["batch", "saturate"])
def test_llama_cpp_server_by_every_command(command: str, models: Path, tmp_path: Path) -> None:
    """The package llama-cpp-python: one request at a time, no usage, no counters; it wants a UUID as a request's id."""
    engine = f"llama_cpp.server --python {interpreter('llama-cpp-python')} --model {models / 'model.gguf'}"
    words = {"batch": ("--batch-sizes", "1,3", "--num-prompts", "6"), "saturate": ("--budget", "15s")}[command]
    done = loadgen(
        *(command, "--engine", engine, *words, "--dataset", "random", "--input-len", "20", "--output-len", "6"),
        *("--seed", "1", "--out", "it", "--quiet"),
        cwd=tmp_path,
    )
    assert done.returncode in (0, 3), done.stderr
    summary = json.loads((tmp_path / "it" / "summary.json").read_text())
    assert summary["target"]["engine"] == "llama_cpp.server"
    assert summary["target"]["max_num_seqs"] == 1
    assert sum(point["failed"] for point in summary["points"]) == 0
    assert all(point["whole_run"]["completed"] >= 6 for point in summary["points"])
    log = (tmp_path / "it" / "engine.log").read_text()
    assert "200 OK" in log
    assert "400 Bad Request" not in log


def test_llama_cpp_server_forces_the_length(tmp_path: Path) -> None:
    """Of a model that wants to end at once, after prompts longer than the answers."""
    pytest.importorskip("gguf")
    python = interpreter("llama-cpp-python")
    write_model(tmp_path / "ends", find_shape("tiny", context=1024, eos_logit=10.0), gguf=True)
    done = loadgen(
        *("run", "--engine", f"llama_cpp.server --python {python} --model {tmp_path / 'ends' / 'model.gguf'}"),
        *("--request-rate", "5", "--num-prompts", "4", "--dataset", "random", "--input-len", "40"),
        *("--output-len", "8", "--warmup", "none", "--drain", "60s", "--seed", "1", "--out", "run", "--quiet"),
        cwd=tmp_path,
    )
    assert done.returncode in (0, 3), done.stderr
    assert finish_reasons(tmp_path / "run") == {"length"}
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["points"][0]["total_output_tokens"] == 4 * 8
