"""kill -9 and a full disk: what was measured before is safe and can be reported; nothing is left running."""

import errno
import os
import resource
import select
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pyarrow.parquet as pq
import pytest

from loadgen.errors import ExitCode

from .conftest import PATIENCE_S, HeldServer, Started

Command = Callable[..., tuple[int, str, str]]
LOSS_S_MAX = 1.5  # records go to disk once a second; the rest is for a slow machine


def wait_until_gone(pids: list[int]) -> None:
    """Sleep until these processes, which are not ours, have ended."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        with os.fdopen(handle):
            assert select.select([handle], [], [], PATIENCE_S)[0], f"process {pid} is still there"


def test_killed_in_the_middle(
    held: HeldServer, start: Callable[..., Started], command: Command, elsewhere: Path
) -> None:
    started = start(
        *("run", "--base-url", held.url, "--request-rate", "50", "--duration", "1h"),
        *("--output-len", "5", "--warmup", "none", "--out", "one"),
    )
    held.wait_for(finished=120)
    children = started.children()
    started.process.kill()
    killed_at = monotonic()
    assert len(children) >= 1
    wait_until_gone(children)

    code, out, err = command("report", "one")
    assert (code, err) == (0, "")
    assert "Interrupted: this is what was measured until then." in out
    kept = pq.read_table(elsewhere / "one" / "records.parquet").num_rows
    assert kept >= sum(at < killed_at - LOSS_S_MAX for at in held.finished) > 0


def test_no_simulator_is_left_behind(start: Callable[..., Started]) -> None:
    started = start("run", "--duration", "1h", "--out", "one", "--engine", "simulator --ttft-ms 1 --itl-ms 1")
    assert started.process.stderr is not None
    started.process.stderr.readline()  # it says that it uses the simulator, so that runs
    children = started.children()
    assert len(children) >= 2
    started.process.kill()
    wait_until_gone(children)


@pytest.mark.parametrize("bytes_max", [4_000, 30_000])
def test_a_full_disk(
    bytes_max: int, held: HeldServer, start: Callable[..., Started], command: Command, elsewhere: Path
) -> None:
    """A limit on the size of files stands for it: the same error at the same calls, without a disk to fill."""
    started = start(
        *("run", "--base-url", held.url, "--request-rate", "200", "--num-prompts", "1000", "--output-len", "5"),
        *("--out", "one"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max)),
    )
    code, out, err = started.end()
    assert code == ExitCode.USAGE
    assert out == ""
    assert os.strerror(errno.EFBIG) in err
    assert "What was written before is safe" in err
    assert len(err.splitlines()) == 2
    if (elsewhere / "one" / "records").exists():
        assert command("report", "one")[0] == 0


def test_no_file_descriptors(held: HeldServer, start: Callable[..., Started], elsewhere: Path) -> None:
    """The run ends, and says that this machine was the limit."""
    held.gate.clear()
    started = start(
        *("run", "--base-url", held.url, "--request-rate", "inf", "--num-prompts", "60", "--output-len", "5"),
        *("--out", "one", "--drain", "1s"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)),
    )
    code, out, err = started.end()
    assert (code, err) == (ExitCode.NOT_VALID, "")
    assert "client-limited" in out
    assert "ulimit -n" in out
