"""The two clients under the same load: the C floor and `loadgen run`, each alone against a fresh server.

CPU is what the kernel charges to the client's processes, children included, read when they have ended (wait4). For
loadgen it is also sampled on the way, to tell apart the start, the load and the reports, and main and load process.
"""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from known import Int64s, KnownServer, Log, floor_log

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SAMPLE_S = 0.1
LOADGEN = Path(sys.executable).parent / "loadgen"
# With its modules compiled, as an installation has them: a shell that forbids that makes every start compile them anew.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True, slots=True)
class Row:
    """One load. `rate` 0: all requests at once."""

    name: str
    rate: int
    requests: int
    tokens: int
    itl_ms: float = 10.0
    warmup: str = "none"


@dataclass(slots=True)
class Taken:
    """What a client measured and what it cost: CPU s in all, and per process the (monotonic s, CPU s) sampled."""

    log: Log
    cpu_s: float
    samples: list[list[tuple[float, float]]] = field(default_factory=list)
    point: dict[str, Any] = field(default_factory=dict)

    def cpu_between(self, from_ns: int, to_ns: int) -> list[float]:
        """CPU s of each sampled process, main first, between two moments."""
        spans = []
        for samples in self.samples:
            at, cpu = np.array(samples).T
            start, end = np.interp([from_ns / 1e9, to_ns / 1e9], at, cpu)
            spans.append(float(end - start))
        return spans


def run_floor(row: Row, programs: Path, server: KnownServer) -> Taken:
    load = [server.port, row.rate, row.requests, row.tokens]
    files = [server.folder / "floor.log", server.folder / "floor.events"]
    _, cpu_s = _waited(subprocess.Popen(list(map(str, [programs / "floor_client", *load, *files]))))
    return Taken(floor_log(server.folder), cpu_s)


def command(row: Row, base_url: str, out: Path) -> list[str]:
    """The user's command line for a row."""
    load = ["--request-rate", str(row.rate)] if row.rate else ["--max-concurrency", str(row.requests)]
    words = [str(LOADGEN), "run", "--base-url", base_url, *load, "--num-prompts", str(row.requests)]
    words += ["--dataset", "random", "--input-len", "64", "--output-len", str(row.tokens), "--endpoint", "chat"]
    return [*words, "--seed", "1", "--warmup", row.warmup, "--quiet", "--out", str(out)]


def run_loadgen(row: Row, server: KnownServer) -> Taken:
    out = server.folder / "run"
    process = subprocess.Popen(command(row, server.base_url, out), stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    sampler = _Sampler(process.pid)
    sampler.start()
    code, cpu_s = _waited(process)
    sampler.over.set()
    sampler.join()
    if code not in (0, 3):  # 3: done, and the verdict is not VALID
        raise SystemExit(f"accuracy: loadgen run ended with exit code {code}.")
    point = json.loads((out / "summary.json").read_text())["points"][0]
    return Taken(_records(out), cpu_s, list(sampler.samples.values()), point)


def _records(out: Path) -> Log:
    """The run folder's records, in the order of the plan. Their clock begins at the run's start: differences only."""
    table = pq.read_table(out / "records.parquet", columns=["index", "due_ns", "sent_ns", "token_ns"]).sort_by("index")
    tokens = table["token_ns"].combine_chunks()
    ends = np.asarray(tokens.offsets)[1:-1]
    by_request: list[Int64s] = np.split(np.asarray(tokens.flatten()), ends - np.asarray(tokens.offsets)[0])
    return Log(table["sent_ns"].to_numpy(), table["due_ns"].to_numpy(), by_request)


def _waited(process: "subprocess.Popen[Any]") -> tuple[int, float]:
    """(exit code, CPU s of the process and of the children that it has waited for)."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


class _Sampler(threading.Thread):
    """Reads the CPU time of a process and its children from /proc, ten times a second: 0.1 % of a core."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.over = threading.Event()
        self.samples: dict[int, list[tuple[float, float]]] = {}  # by pid, the main process first

    def run(self) -> None:
        while not self.over.wait(_SAMPLE_S):
            try:
                children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
                for pid in (self._pid, *map(int, children)):
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
                    self.samples.setdefault(pid, []).append((time.monotonic(), cpu_s))
            except OSError:  # it has just ended
                continue
