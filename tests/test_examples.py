"""The examples run, each shortened to a second or two, so that none of them rots; and examples/README.md lists them."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
FAST = ("--engine", "simulator --ttft-ms 5 --itl-ms 1")
Words = Callable[..., "subprocess.CompletedProcess[str]"]
JUDGED = (0, 3)  # a dozen requests may be too few to judge


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Words:
    """Run words as a shell would, with our `loadgen` first on the PATH, elsewhere than in the repository."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "loadgen").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m loadgen "$@"\n')
    (programs / "loadgen").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def words(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    return words


def command_in(name: str) -> list[str]:
    """The command in the first line of a TOML file, with the file's own place."""
    first = (EXAMPLES / name).read_text().splitlines()[0].removeprefix("# ")
    return [word.replace("examples/", f"{EXAMPLES}/") for word in shlex.split(first)]


def simulator(tmp_path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "loadgen.simulator", "--exit-with-stdin", *shlex.split(FAST[1])[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )


def test_sweep_toml(run: Words, tmp_path: Path) -> None:
    # A TOML file may say `duration` and a flag `num_prompts`, which exclude each other: the file is cut instead.
    text = (EXAMPLES / "sweep.toml").read_text()
    (tmp_path / "short.toml").write_text(re.sub(r'duration = "\w+"', "num_prompts = 12", text))
    command = [str(tmp_path / "short.toml") if word.endswith(".toml") else word for word in command_in("sweep.toml")]
    done = run(*command, *FAST, "--rates", "20,40", "--output-len", "4", "--warmup", "none", "--out", "out", "--quiet")
    assert done.returncode in JUDGED, done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [point["completed"] for point in summary["points"]] == [12, 12]
    assert summary["points"][0]["slo"] is not None


def test_server_toml(run: Words, tmp_path: Path) -> None:
    with simulator(tmp_path) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["ready"]
        command = [url if word.startswith("http") else word for word in command_in("server.toml")]
        done = run(
            *command,
            *("--rates", "40", "--duration", "500ms", "--warmup", "none", "--input-len", "20", "--output-len", "4"),
            *("--out", "out", "--quiet"),
        )
        server.kill()
    assert done.returncode in JUDGED, done.stderr
    (point,) = json.loads((tmp_path / "out" / "summary.json").read_text())["points"]
    assert point["completed"] > 0


@pytest.mark.parametrize(("limit", "code", "said"), [("1s", 0, "gate: open"), ("1ms", 1, "gate: shut")])
def test_slo_gate(limit: str, code: int, said: str, run: Words) -> None:
    lengths = ("--request-rate", "60", "--duration", "1500ms", "--output-len", "3", "--warmup", "none")
    done = run(str(EXAMPLES / "slo_gate.sh"), *lengths, "--slo", f"ttft_p50={limit}")
    if done.returncode == 3:
        pytest.skip("this machine was too busy for a valid measurement")
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr


def test_slo_gate_of_a_server_that_is_not_there(run: Words) -> None:
    done = run(str(EXAMPLES / "slo_gate.sh"), "http://127.0.0.1:1")
    assert done.returncode == 2
    assert "gate: no answer" in done.stdout


def test_chunked_prefill(run: Words) -> None:
    done = run(
        str(EXAMPLES / "chunked_prefill.sh"),
        *(
            "--request-rate",
            "20",
            "--duration",
            "500ms",
            "--output-len",
            "4",
            "--input-len",
            "50",
            "--dataset",
            "random",
        ),
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^continuous +[\d.]+ ms +[\d.]+ ms +[\d.]+ ms\nchunked +[\d.]+ ms", done.stdout, re.MULTILINE)


def test_the_page_lists_what_there_is() -> None:
    text = (EXAMPLES / "README.md").read_text()
    assert not [path.name for path in EXAMPLES.glob("*.toml") if f"({path.name})" not in text]
    assert not [path.name for path in EXAMPLES.glob("*.sh") if path.name not in text]
