"""DeepSpeed-MII, where it is installed, without a GPU: its HTTP layer and all behind it but the engine on the GPU."""

import itertools
import json
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from real import finish_reasons, interpreter, loadgen

from loadgen.engines.launch import launch_simulator

pytestmark = [pytest.mark.engine]


@pytest.fixture
def mii(models: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """(the text of --engine for its HTTP layer, what stands behind it): MII without its GPU engine."""
    python = interpreter("deepspeed-mii")
    with ExitStack() as free:
        ports = [str(free.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]) for _ in range(2)]
    with subprocess.Popen(
        [python, "-u", "-W", "ignore", str(Path(__file__).with_name("mii_backend.py")), str(models), *ports],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as backend:
        assert backend.stdout is not None
        started = 0
        while started < 2:  # its load balancer, and what that balances
            line = backend.stdout.readline()
            assert line, "it ended while it was starting"
            started += line.count("Started")  # two threads say so, perhaps on one line
        try:
            words = f"--model {models} --max-model-len 1024 --ready-timeout 180s"
            yield f"deepspeed-mii --python {python} {words} --load-balancer 127.0.0.1:{ports[0]}", backend
        finally:
            backend.kill()


def test_the_http_layer_of_deepspeed_mii(mii: tuple[str, "subprocess.Popen[str]"], tmp_path: Path) -> None:
    """Lengths are forced though the engine wants to end after three tokens and the prompts are longer than the answers:
    MII counts the prompt among its min_tokens. More requests are in flight than it works on at once."""
    prompts, tokens = 280, 30
    done = loadgen(
        *("run", "--engine", mii[0], "--max-concurrency", str(prompts), "--num-prompts", str(prompts)),
        *("--dataset", "random", "--input-len", "40", "--output-len", str(tokens), "--seed", "1"),
        *("--warmup", "none", "--timeout", "200s", "--drain", "200s", "--out", "run", "--quiet"),
        cwd=tmp_path,
    )
    assert done.returncode in (0, 3), done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    point, target = summary["points"][0], summary["target"]
    assert (point["completed"], point["failed"]) == (prompts, 0)
    assert point["total_output_tokens"] == prompts * tokens
    assert point["token_source"] == "asked"
    assert finish_reasons(tmp_path / "run") == {"length"}
    assert (target["engine"], target["endpoint"], target["prompts"]) == ("deepspeed_mii", "completions", "text")
    said, _ = mii[1].communicate("", timeout=60)
    assert target["max_num_seqs"] == 256
    assert int(said.split("at once: ")[1]) == 256


@contextmanager
def serving(engine: str, log: Path) -> Iterator[str]:
    """Its address, as `loadgen serve` prints it."""
    with subprocess.Popen(
        [sys.executable, "-m", "loadgen", "serve", *engine.split(), "--port", "0", "--log", str(log)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def test_deepspeed_mii_that_somebody_else_started(mii: tuple[str, "subprocess.Popen[str]"], tmp_path: Path) -> None:
    """By its address alone, on its chat path too: it says who it is, and its lengths are forced."""
    with serving(mii[0], tmp_path / "log") as url:
        for endpoint in ("completions", "chat"):
            done = loadgen(
                *("run", "--base-url", url, "--endpoint", endpoint, "--request-rate", "8", "--num-prompts", "6"),
                *("--dataset", "random", "--input-len", "60", "--output-len", "9", "--seed", "1"),
                *("--warmup", "none", "--drain", "60s", "--out", endpoint, "--quiet"),
                cwd=tmp_path,
            )
            assert done.returncode in (0, 3), done.stderr
            summary = json.loads((tmp_path / endpoint / "summary.json").read_text())
            assert summary["target"]["engine"] == "deepspeed-mii"
            assert summary["points"][0]["total_output_tokens"] == 6 * 9
            assert finish_reasons(tmp_path / endpoint) == {"length"}


def test_the_simulators_style_ends_its_streams_as_it_does(
    mii: tuple[str, "subprocess.Popen[str]"], models: Path, tmp_path: Path
) -> None:
    """Byte for byte but for ids, texts and how many tokens there are: by length, and by a stop of its own."""
    said = []
    with serving(mii[0], tmp_path / "log") as url:
        said.append([streamed(url, path, body | {"model": str(models)}) for path, body in ASKED])
    simulator = ["--style", "mii", "--served-model-name", str(models), "--ttft-ms", "1", "--itl-ms", "1"]
    with launch_simulator([*simulator, "--eos-probability", "1"], tmp_path / "simulator.log") as server:
        said.append([streamed(server.base_url, path, body | {"model": str(models)}) for path, body in ASKED])
    assert said[0] == said[1]
    assert all(len(events) > 2 for events in said[0])


ASKED: list[tuple[str, dict[str, Any]]] = [
    (path, prompt | {"max_tokens": 9, "stream": True} | forced)
    for path, prompt in (
        ("/v1/completions", {"prompt": "import os"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "import os"}]}),
    )
    for forced in ({"min_tokens": 1_000_000}, {})
]


def streamed(url: str, path: str, body: dict[str, Any]) -> list[str]:
    """The lines of an answer; of equal ones in a row, one."""
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        lines = response.read().decode().split("\n")
    rubbed = [re.sub(r'("(?:text|content|id)":)"[^"]+"', r'\1"W"', line) for line in lines]
    return [line for line, _ in itertools.groupby(filter(None, rubbed))]
