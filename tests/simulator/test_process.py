"""`python -m loadgen.simulator` as a process: what it prints, and how it ends."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from loadgen.errors import BadInputError
from loadgen.simulator.options import build_engine, parse_options

COMMAND = [sys.executable, "-m", "loadgen.simulator"]


@contextmanager
def simulator(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([*COMMAND, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_when_it_is_ready_serves_and_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "truth.jsonl"
    with simulator("--ttft-ms", "5", "--itl-ms", "1", "--log", str(log)) as (process, ready):
        assert (ready["model"], ready["gpu"]) == ("llama-2-7b", None)
        body = json.dumps({"prompt": "a b", "max_tokens": 3, "stream": True}).encode()
        with urllib.request.urlopen(ready["ready"] + "/v1/completions", body, timeout=5) as response:
            assert response.read().endswith(b"data: [DONE]\n\n")
        process.send_signal(number)
        rest, complaints = process.communicate(timeout=5)
        assert (process.returncode, rest, complaints) == (0, "", "")
    row = json.loads(log.read_text())
    assert row["due_ns"][0] - row["received_ns"] == 5_000_000


def test_it_ends_with_stdin_even_while_it_answers(tmp_path: Path) -> None:
    log = tmp_path / "truth.jsonl"
    with simulator("--exit-with-stdin", "--log", str(log)) as (process, ready):
        assert ready == {"ready": ready["ready"], "model": "llama-2-7b", "gpu": "L4", "max_num_seqs": 32}
        body = json.dumps({"prompt": "a b", "max_tokens": 1000, "stream": True}).encode()
        with urllib.request.urlopen(ready["ready"] + "/v1/completions", body, timeout=5) as response:
            assert response.readline().startswith(b"data: ")
            _, complaints = process.communicate(timeout=5)
        assert (process.returncode, complaints) == (0, "")
    row = json.loads(log.read_text())
    assert row["end"] == "abort"
    assert row["output_tokens"] == len(row["due_ns"]) < 1000


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([*COMMAND, "--port", str(port)], capture_output=True, text=True, timeout=5, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Cannot listen on 127.0.0.1:{port}: address already in use.")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "llama-2-13b"], "no room"),
        (["--max-model-len", "20000"], "does not fit"),
        (["--max-num-batched-tokens", "16"], "less than"),
        (["--kv-cache-tokens", "15"], "no room"),
    ],
)
def test_a_deployment_that_cannot_be_is_explained(arguments: list[str], says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        build_engine(parse_options(arguments))


def test_the_cache_may_be_given_in_tokens_or_gib() -> None:
    assert build_engine(parse_options(["--kv-cache-tokens", "1600"]))[2] == 1600
    assert build_engine(parse_options(["--kv-cache-gib", "1"]))[2] == 2048
    assert build_engine(parse_options(["--gpu", "h200", "--model", "llama-3.1-8b"]))[2] == 131_072
