"""The server of known timing: compiled, started, stopped, and what it wrote down read back.

It is the truth of every figure here, so it is C, small, and shares no line with what it judges. Linux only, as the
clients' kernel stamps are.
"""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).parent
Int64s = npt.NDArray[np.int64]


@dataclass(slots=True)
class Log:
    """What one side saw of the requests 0 … n−1, CLOCK_MONOTONIC ns: a column a field, a row a request.

    start_ns   the server: request complete; a client: request sent
    due_ns     when a client should have sent it; the server's log has none and repeats start_ns
    tokens_ns  the time of each token
    """

    start_ns: Int64s
    due_ns: Int64s
    tokens_ns: list[Int64s]

    @property
    def first_ns(self) -> Int64s:
        return np.array([tokens[0] for tokens in self.tokens_ns])

    @property
    def events(self) -> int:
        return sum(map(len, self.tokens_ns))


def compiled(folder: Path) -> None:
    """Both C programs, into `folder`. A warning is an error: they are short enough to be clean."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("accuracy: no C compiler found (cc).")
    for name in ("known_server", "floor_client"):
        source, program = HERE / f"{name}.c", folder / name
        subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source, "-lm"], check=True)


@dataclass(slots=True)
class KnownServer:
    """A running one. `log` may be asked for after it has ended."""

    folder: Path
    port: int

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> Log:
        """Requests with an id, in its order (the number at its end); probes have none."""
        rows = [row for row in _rows(self.folder / "server.log") if row[0] != "-"]
        rows.sort(key=lambda row: int(row[0].rpartition("-")[2]))
        every = np.fromfile(self.folder / "server.events", np.int64)
        start = np.array([int(row[1]) for row in rows], np.int64)
        return Log(start, start, [every[int(row[6]) : int(row[6]) + int(row[4])] for row in rows])


@contextmanager
def known_server(programs: Path, folder: Path, itl_ms: float, before: Sequence[str] = ()) -> Iterator[KnownServer]:
    """One for one client run, on a free port, ended and its files complete at the end of the block. `before` the
    command may stand `taskset`."""
    command = [*before, programs / "known_server", "0", folder / "server.log", "--itl-ms", str(itl_ms)]
    process = subprocess.Popen([*command, "--events", folder / "server.events"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield KnownServer(folder, int(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait(timeout=10)


def floor_log(folder: Path) -> Log:
    """What floor_client wrote."""
    rows = _rows(folder / "floor.log")
    every = np.fromfile(folder / "floor.events", np.int64)
    due, sent = (np.array([int(row[k]) for row in rows], np.int64) for k in (1, 2))
    return Log(sent, due, [every[int(row[6]) : int(row[6]) + int(row[5])] for row in rows])


def _rows(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()]
