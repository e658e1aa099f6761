"""What `loadgen capture` adds to every request and to every event of a stream, in one run, straight and
through the proxy in turn.

The server of known timing notes when each event left it, the C client when it came; both clocks are the machine's own,
so the time between is one way, event by event. The proxy is held to one core, as the promise says, server and client to
another. Exit code 1 when a bar is missed, and which.

    python benchmarks/capture.py [--rate 50] [--tokens 100] [--seconds 20] [--rounds 3] [--alone] [--json FILE]
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from clients import LOADGEN
from known import Int64s, KnownServer, compiled, floor_log, known_server

BARS = {
    "event_p50": 0.3,
    "event_p99": 2.0,
    "request_p50": 0.3,
    "request_p99": 2.0,
}  # ms more than straight
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
TTFT_NS = 20_000_000  # the server's own
_REST, _OURS = 0, 1  # cores: of server and client, of the proxy


def pinned(core: int, alone: bool) -> list[str]:
    """The beginning of a command that may use one core; nothing where there is only one, or no taskset. `alone`: before
    everything else that runs on the machine, which needs root."""
    first = ["chrt", "-f", "1"] if alone else []
    return [*first, "taskset", "-c", str(core)] if (os.cpu_count() or 1) > 1 and shutil.which("taskset") else first


@contextmanager
def proxy(upstream: str, folder: Path, alone: bool) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """(port, process); ended in order, so that its last line can be asked for."""
    command = [
        *pinned(_OURS, alone),
        LOADGEN,
        "capture",
        "--upstream",
        upstream,
        "--listen",
        "127.0.0.1:0",
        "--out",
        folder,
    ]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
        if found is None:
            raise SystemExit("capture: the proxy did not start.")
        yield int(found.group(1)), process
    finally:
        process.terminate()
        process.wait(timeout=30)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def load(programs: Path, server: KnownServer, port: int, options: argparse.Namespace) -> None:
    """The floor client against a port, to its end."""
    files = [server.folder / "floor.log", server.folder / "floor.events"]
    words = [programs / "floor_client", port, options.rate, options.rate * options.seconds, options.tokens, *files]
    subprocess.run([*pinned(_REST, options.alone), *map(str, words)], check=True)


def measured(programs: Path, through: bool, options: argparse.Namespace) -> dict[str, Any]:
    """One client run against fresh servers: one-way times in ms, and what the proxy cost and wrote."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, told = Path(scratch), {}
        with known_server(programs, folder, options.itl_ms, pinned(_REST, options.alone)) as server:
            front = (
                proxy(server.base_url, folder / "capture", options.alone)
                if through
                else nullcontext((server.port, None))
            )
            with front as (port, process):
                began_s = time.monotonic()
                before_s = cpu_s(process.pid) if process is not None else 0.0
                load(programs, server, port, options)
                if process is not None:
                    used_s = cpu_s(process.pid) - before_s
                    events = options.rate * options.seconds * options.tokens
                    told = {"cpu_us": used_s / events * 1e6, "core": used_s / (time.monotonic() - began_s)}
            if through:
                told |= json.loads((folder / "capture" / "capture.json").read_text())
        client, truth = floor_log(folder), server.log()
        if client.events != truth.events:
            raise SystemExit(f"capture: the client saw {client.events} events of {truth.events}.")
        sent, came = np.concatenate(truth.tokens_ns), np.concatenate(client.tokens_ns)
        figures: dict[str, Any] = {"through": through, "events": client.events}
        figures |= quantiles("event", came - sent) | quantiles("request", truth.start_ns - client.start_ns)
        figures |= quantiles("late", sent - due_ns(truth.start_ns, truth.tokens_ns, options.itl_ms))
        span_s = (came.max() - came.min()) / 1e9
        known = ("cpu_us", "core", "recorded", "missed")
        return figures | {"events_per_s": client.events / span_s} | {key: told[key] for key in known if key in told}


def due_ns(start_ns: Int64s, tokens_ns: list[Int64s], itl_ms: float) -> Int64s:
    """When the server meant to send each: how late it was says how busy the machine was."""
    pairs = zip(start_ns.tolist(), map(len, tokens_ns), strict=True)
    return np.concatenate([start + TTFT_NS + np.arange(n) * round(itl_ms * 1e6) for start, n in pairs])


def quantiles(name: str, ns: Int64s) -> dict[str, float]:
    return {f"{name}_p{p}": float(np.percentile(ns, p)) / 1e6 for p in (50, 99, 99.9)}


def added(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Median over the rounds of (through the proxy − mean of the two ways without it beside it)."""
    keys = [f"{what}_p{p}" for what in ("event", "request") for p in (50, 99)]
    found: dict[str, list[float]] = {key: [] for key in keys}
    for place in range(1, len(rows) - 1, 2):
        for key in keys:
            found[key].append(rows[place][key] - (rows[place - 1][key] + rows[place + 1][key]) / 2)
    return {key: float(np.median(values)) for key, values in found.items()}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    titles = (
        "way",
        "event p50 ms",
        "p99",
        "p99.9",
        "request p50 ms",
        "p99",
        "server late p99 ms",
        "proxy µs/event",
        "core",
    )
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    keys = ("event_p50", "event_p99", "event_p99.9", "request_p50", "request_p99", "late_p99", "cpu_us", "core")
    for row in rows:
        cells = [f"{row[key]:.3g}" if key in row else "" for key in keys]
        lines.append("| " + " | ".join(["proxy" if row["through"] else "straight", *cells]) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=50, help="requests/s")
    parser.add_argument("--tokens", type=int, default=100, help="events of each")
    parser.add_argument("--itl-ms", type=float, default=10.0)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="real-time priority for all three (root): a busy machine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything as JSON")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        programs = Path(folder)
        compiled(programs)
        for place in range(2 * options.rounds + 1):
            rows.append(measured(programs, place % 2 == 1, options))
            print(f"{place + 1} of {2 * options.rounds + 1}, load average {os.getloadavg()[0]:.1f}", file=sys.stderr)
    print(table(rows))
    found = added(rows)
    print("\nAdded: " + ", ".join(f"{key} {value:.3g} ms" for key, value in found.items()))
    recorded = [(row["recorded"], row["missed"]) for row in rows if row["through"]]
    print(f"Recorded of {options.rate * options.seconds} requests, and missed: {recorded}")
    print(f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "added": found}, indent=1))
    failed = [f"{key} is {found[key]:.3g}, above {bar}" for key, bar in BARS.items() if found[key] > bar]
    print("\n".join(f"MISSED: {each}" for each in failed) or "Every bar is met.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
