"""`make bench`: what loadgen adds to the truth, and what it costs, in one run beside the cheapest client there can be.

Every row runs the C floor client, `loadgen run`, and the floor again, each against a fresh server of known timing, and
compares their logs event by event. Timings mean something only within one run on one machine: the yardstick is the
mean of the two floors. Exit code 1 when a bar is missed, and which.

    python benchmarks/accuracy.py [--quick] [--json FILE]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from clients import ENVIRONMENT, LOADGEN, Row, command, run_floor, run_loadgen
from compare import figures
from known import compiled, known_server

ROWS = (
    Row("100 req/s × 256", 100, 2000, 256),
    Row("200 req/s × 256", 200, 2000, 256),
    Row("2,000 streams at once", 125, 5000, 64, itl_ms=250.0, warmup="17s"),
    Row("800 req/s × 256", 800, 4000, 256),
)
QUICK = (Row("100 req/s × 256", 100, 1000, 256),)
BARS = {  # of the first row
    "cpu_ratio": 3.0,
    "ttft_send_difference_p50": 0.15,
    "ttft_due_difference_p50": 0.15,
    "ttft_send_difference_p99": 1.0,
    "itl_difference_p99": 1.0,
}
COLUMNS = (
    ("cpu_us", "CPU µs/event"),
    ("cpu_ratio", "× floor"),
    ("load_ratio", "× floor, under load"),
    ("ttft_send_difference_p50", "TTFT error p50 ms"),
    ("ttft_send_difference_p99", "p99 ms"),
    ("ttft_due_difference_p99", "from due, p99 ms"),
    ("itl_difference_p99", "ITL error p99 ms"),
    ("rate_drawn", "rate drawn"),
    ("rate_got", "got"),
    ("cv_got", "gap CV"),
    ("dispersion_got", "dispersion 1 s"),
)


def measured(row: Row, programs: Path) -> list[dict[str, Any]]:
    """Floor, loadgen, floor. Closed rows have no floor: its client knows only the open loop."""
    rows = []
    for who in ("floor", "loadgen", "floor") if row.rate else ("loadgen",):
        with tempfile.TemporaryDirectory() as scratch:
            with known_server(programs, Path(scratch), row.itl_ms) as server:
                taken = run_floor(row, programs, server) if who == "floor" else run_loadgen(row, server)
            point = {name: taken.point.get(name) for name in ("verdict", "client", "findings", "achieved_rate")}
            try:
                rows.append({"row": row.name, "client": who, "point": point} | figures(taken, server.log()))
            except (ValueError, IndexError) as error:
                rows.append({"row": row.name, "client": who, "point": point, "failed": str(error)})
    floors = [each["cpu_us"] for each in rows if each["client"] == "floor" and "cpu_us" in each]
    for each in rows:
        if floors and "cpu_us" in each:
            each["cpu_ratio"] = each["cpu_us"] * len(floors) / sum(floors)
            if "cpu_load_us" in each:  # from the first request to the last token: without start-up and reports
                each["load_ratio"] = (each["cpu_main_us"] + each["cpu_load_us"]) * len(floors) / sum(floors)
    return rows


def start_up(programs: Path) -> dict[str, float]:
    """Seconds: `loadgen --help`, and from the command to its first request at the server; the best of three."""
    helps, firsts = [], []
    for _ in range(3):
        begun = time.monotonic()
        subprocess.run([LOADGEN, "--help"], stdout=subprocess.DEVNULL, check=True, env=ENVIRONMENT)
        helps.append(time.monotonic() - begun)
        with tempfile.TemporaryDirectory() as scratch:
            with known_server(programs, Path(scratch), 10.0) as server:
                words = command(Row("", 100, 20, 8), server.base_url, Path(scratch) / "run")
                begun = time.monotonic()
                subprocess.run(words, stdout=subprocess.DEVNULL, check=False, env=ENVIRONMENT)
            firsts.append(float(server.log().start_ns[0]) / 1e9 - begun)
    return {"help_s": min(helps), "first_request_s": min(firsts)}


def missed(rows: list[dict[str, Any]], started: dict[str, float]) -> list[str]:
    """The bars that were not reached, in words."""
    ours = [each for each in rows if each["client"] == "loadgen"]
    found = [f"{name} is {ours[0][name]:.3g}, above {bar}" for name, bar in BARS.items() if ours[0][name] > bar]
    if abs(ours[0]["rate_got"] / ours[0]["rate_drawn"] - 1) > 0.02:
        found.append("the rate got is more than 2 % off the rate drawn")
    found += [
        f"{each['row']} is {each['point']['verdict']}" for each in ours[:3] if each["point"]["verdict"] != "VALID"
    ]
    for name, bar in (("help_s", 0.3), ("first_request_s", 1.0)):
        if started[name] > bar:
            found.append(f"{name} is {started[name]:.2f}, above {bar}")
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| load | client | " + " | ".join(title for _, title in COLUMNS) + " | verdict |"]
    lines.append("|---" * (len(COLUMNS) + 3) + "|")
    for each in rows:
        cells = [f"{each[key]:.3g}" if each.get(key) is not None else "" for key, _ in COLUMNS]
        verdict = each.get("failed") or each["point"]["verdict"] or ""
        lines.append(f"| {each['row']} | {each['client']} | " + " | ".join(cells) + f" | {verdict} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the first row only, half as long")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything as JSON")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        programs = Path(folder)
        compiled(programs)
        started = start_up(programs)
        for row in QUICK if options.quick else ROWS:
            rows += measured(row, programs)
            print(f"{row.name}: done", file=sys.stderr)
    print(table(rows))
    print(f"\n`loadgen --help` {started['help_s']:.2f} s; first request after {started['first_request_s']:.2f} s")
    machine = {"python": platform.python_version(), "kernel": platform.release(), "cores": os.cpu_count()}
    print(f"Python {machine['python']}, Linux {machine['kernel']}, {machine['cores']} cores")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "start_up": started, "machine": machine}, indent=1))
    failed = missed(rows, started)
    print("\n".join(f"MISSED: {each}" for each in failed) or "Every bar is met.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
