"""What the tests of the search share: servers whose capacity is known to the digit, and the command."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from loadgen.cli.main import run_command
from loadgen.engines.launch import launch_simulator

SLOTS, TTFT_MS, ITL_MS, TOKENS = 4, 12.0, 2.0, 5
CAPACITY = SLOTS / (TTFT_MS + (TOKENS - 1) * ITL_MS) * 1000  # req/s: 200
LOAD = ("--dataset", "random", "--input-len", "8", "--output-len", str(TOKENS), "--seed", "1", "--quiet")
TIMING = ("--ttft-ms", str(TTFT_MS), "--itl-ms", str(ITL_MS))
# A search in a hurry: with a server this fast a probe of 0.6 s has seen 100 requests and more.
QUICK = """
import dataclasses, sys
from loadgen.saturate import conducting
limits_of = conducting.limits_of
conducting.limits_of = lambda settings: dataclasses.replace(limits_of(settings), shortest_ns=0.6e9)
from loadgen.cli.main import run_command
sys.exit(run_command(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test stands in a folder of its own and has no key from outside."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[str]:
    """Its base URL; capacity CAPACITY."""
    with launch_simulator([*TIMING, "--max-num-seqs", str(SLOTS)], tmp_path / "simulator.log") as launched:
        yield launched.base_url


@pytest.fixture
def known_server(tmp_path: Path) -> Iterator[str]:
    """The server in C, which shares no line with us; its base URL, capacity CAPACITY."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler for the server of known timing")
    source = Path(__file__).parents[2] / "benchmarks" / "known_server.c"
    program = tmp_path / "known_server"
    subprocess.run([compiler, "-O2", "-o", program, source], check=True)
    command = [program, "0", tmp_path / "known.log", *TIMING, "--slots", str(SLOTS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.terminate()


@dataclass
class Searching:
    """The command as a process of its own, which is read line by line."""

    process: "subprocess.Popen[str]"

    def until_probe(self, number: int) -> None:
        """Wait until it has said that this probe is judged."""
        assert self.process.stdout is not None
        while not (line := self.process.stdout.readline()).startswith(f"probe {number}:"):
            assert line, f"it ended before probe {number}"

    def rest(self) -> tuple[int, str]:
        """(exit code, what it said from here on)."""
        assert self.process.stdout is not None
        said = self.process.stdout.read()
        return self.process.wait(timeout=60), said


@pytest.fixture
def search() -> Iterator[Callable[..., Searching]]:
    """Start `loadgen saturate`, in a hurry; what is left of it when the test ends is killed."""
    with ExitStack() as stack:

        def begin(*arguments: str) -> Searching:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", QUICK, "saturate", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    start_new_session=True,
                    env=os.environ | {"CI": "1"},
                )
            )
            stack.callback(process.kill)
            return Searching(process)

        yield begin


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = run_command(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return run
