"""`loadgen calibrate`: what this client can do on this machine, measured against a server that does nothing but answer.

Three ladders, each climbed until something gives way: output tokens/s over a few hundred streams, requests/s of one
token, streams at once. Then the error of the stamps, against the times that the server wrote into its own events.
The whole client is measured, as a run uses it: the load process and the process that decodes and writes. What gave way
is told: the client, or the null server, which says how late and how busy it was; then the client's own ceiling is
higher than the figure. A rung that fails is tried once more, since a shared machine hiccups.
"""

import json
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from loadgen.analysis.lag import LATE_NS
from loadgen.analysis.verdict import LIMITS
from loadgen.ceiling import machine
from loadgen.engines.asking import Asker
from loadgen.errors import EngineError
from loadgen.exchange import Body, Done, Job, Outcome, Part, Started, Tick
from loadgen.plan import Int64s, Plan
from loadgen.records import folder as run_folder
from loadgen.records.recorder import Recorder
from loadgen.target import parse_target
from loadgen.units import NS_PER_MS, NS_PER_S, format_duration, format_number
from loadgen.workers.local import LocalWorker

RUNG_S = 1.5  # of load on each rung
GAP_MS = 10.0  # between the events of a stream
RAMP_S = 0.3  # over which the streams of a rung begin
EVENT_RUNGS = (4_000, 8_000, 16_000, 32_000, 64_000, 128_000)
REQUEST_RUNGS = (500, 1_000, 2_000, 4_000, 8_000, 16_000)
STREAM_RUNGS = (1_000, 4_000)
STAMP_STREAMS = 20
SERVER_BUSY = 0.9  # of a core: the null server has nothing to spare
LATE_OF_GAP = 0.2  # the null server's own lateness, of the time between two events
LATE_END_NS = NS_PER_S // 2  # answers that end so much later than they were written for: something is behind
_WRITTEN = re.compile(rb"\d{20}")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rung:
    """`requests` answers of `tokens` events `gap_ms` apart, begun evenly over `over_s`."""

    requests: int
    tokens: int
    gap_ms: float
    over_s: float

    @property
    def lasts_s(self) -> float:
        return self.over_s + (self.tokens - 1) * self.gap_ms / 1000


@dataclass(slots=True)
class Heard:
    """What came of one rung. `bodies` are kept only where the stamps are looked at."""

    keep_bodies: bool = False
    start_ns: int = 0
    due_ns: list[int] = field(default_factory=list)
    lags_ns: list[int] = field(default_factory=list)
    last_done_ns: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    cpu: list[float] = field(default_factory=list)
    delays_ns: list[float] = field(default_factory=list)
    bodies: dict[int, bytearray] = field(default_factory=dict)
    parent_cpu: float = 0.0
    server: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Bench:
    """A null server, a load process and a scratch folder."""

    worker: LocalWorker
    asker: Asker
    address: tuple[int, str, int]
    scratch: Path
    rungs: int = 0

    def run(self, rung: Rung, keep_bodies: bool = False) -> tuple[Heard, Path]:
        """Climb one rung with the whole client; (what was heard, the folder of its records)."""
        self.rungs += 1
        folder = self.scratch / str(self.rungs)
        run_folder.create(folder)
        due_ns = np.linspace(0, rung.over_s * NS_PER_S, rung.requests, endpoint=False).astype(np.int64)
        plan = _plan(due_ns, rung.tokens)
        recorder = Recorder(folder, plan, stream=True)
        heard = Heard(keep_bodies)

        def take(message: object) -> None:
            _take(heard, recorder, message)

        request = json.dumps({"prompt": "x", "max_tokens": rung.tokens, "itl_ms": rung.gap_ms, "stream": True}).encode()
        bodies = (Body(index, request) for index in range(rung.requests))
        self._stats()
        began, cpu = time.monotonic(), time.process_time()
        ended = self.worker.run(self._job(due_ns), bodies, take, lambda: None)
        heard.parent_cpu = (time.process_time() - cpu) / (time.monotonic() - began)
        heard.server = self._stats()
        recorder.close(ended.time_ns)
        return heard, folder

    def _job(self, due_ns: Int64s) -> Job:
        return Job(
            due_ns=due_ns.tobytes(),
            in_flight_max=0,
            stop_ns=0,
            drain_ns=3 * NS_PER_S,
            transport="socket",
            url=self.asker.target.url("/v1/completions"),
            address=self.address,
            proxy="",
            headers={"Content-Type": "application/json"},
            verify_tls=True,
            timeout_ns=30 * NS_PER_S,
        )

    def _stats(self) -> dict[str, float]:
        _, body = self.asker.ask("/stats", timeout_s=5.0)
        found: dict[str, float] = json.loads(body)
        return found


def _plan(due_ns: Int64s, tokens: int) -> Plan:
    n = len(due_ns)
    zeros, nobody = np.zeros(n, np.int64), np.full(n, -1, np.int64)
    return Plan(due_ns, nobody, zeros, zeros + 1, zeros + tokens, zeros)


def _take(heard: Heard, recorder: Recorder, message: object) -> None:
    if isinstance(message, Part):
        recorder.part(message)
        if heard.keep_bodies:
            heard.bodies.setdefault(message.index, bytearray()).extend(message.body)
    elif isinstance(message, Done):
        recorder.done(message)
        heard.due_ns.append(message.due_ns)
        heard.lags_ns.append(message.issued_ns - message.due_ns)
        heard.last_done_ns = max(heard.last_done_ns, message.done_ns)
        heard.outcomes[message.outcome] = heard.outcomes.get(message.outcome, 0) + 1
    elif isinstance(message, Tick):
        recorder.tick(message)
        heard.cpu.append(message.readings["cpu_fraction"])
    elif isinstance(message, Started):
        heard.start_ns = message.start_ns


def gave_way(rung: Rung, heard: Heard) -> tuple[str, str] | None:
    """("client" or "server", what was seen) when this rung was too high; None when everything held."""
    server, late_ns = heard.server, heard.server["late_p50_ns"]
    busy = _busy(heard)
    lag_p99_ns = _lag_p99_ns(heard)
    bad = rung.requests - heard.outcomes.get(Outcome.OK, 0)
    if busy > LIMITS["cpu"]:
        return "client", f"its load process used {_percent(busy)} of a core"
    if heard.parent_cpu > SERVER_BUSY:
        return "client", f"its decoding process used {_percent(heard.parent_cpu)} of a core"
    if server["cpu_fraction"] > SERVER_BUSY:
        return "server", f"the null server used {_percent(server['cpu_fraction'])} of a core"
    if late_ns > max(LATE_NS, LATE_OF_GAP * rung.gap_ms * NS_PER_MS):
        return "server", f"the null server wrote {format_duration(late_ns)} late in the median"
    if bad:
        return "client", f"{bad} of {rung.requests} requests did not end well"
    if lag_p99_ns > LATE_NS:
        return "client", f"requests left up to {format_duration(lag_p99_ns)} late (p99)"
    if heard.last_done_ns > rung.lasts_s * NS_PER_S + LATE_END_NS:
        behind_ns = heard.last_done_ns - rung.lasts_s * NS_PER_S
        return "client", f"answers ended {format_duration(behind_ns)} late"
    return None


def _percent(share: float) -> str:
    return f"{format_number(100 * share)} %"


def climb(bench: Bench, values: tuple[int, ...], rung_of: Callable[[int], Rung], say: Say) -> dict[str, Any]:
    """The highest rung that held, and what gave way above it (None where nothing did).

    A rung has failed when it did twice; the ladder ends when two rungs in a row have, or where a core was used up: on
    a shared machine somebody else's work makes anything late, and the next rung shows that.
    """
    best, cost_us = 0, None
    tried: list[dict[str, Any]] = []
    for value in values:
        rung = rung_of(value)
        heard = bench.run(rung)[0]
        failed = gave_way(rung, heard)
        if failed is not None and not _is_spent(heard):
            heard = bench.run(rung)[0]
            failed = gave_way(rung, heard)
        who, seen = failed or (None, None)
        tried.append({"asked": value, "held": failed is None, "limited_by": who, "seen": seen})
        say(f"{format_number(value)}: {seen or 'held'}")
        if failed is None:
            best = value
            cost_us = _busy(heard) / value * 1e6
        elif _is_spent(heard) or (len(tried) > 1 and not tried[-2]["held"]):
            break
    above = next((each for each in tried if each["asked"] > best), {"limited_by": None, "seen": None})
    told = {"value": best, "limited_by": above["limited_by"], "seen": above["seen"], "load_process_us": cost_us}
    return told | {"tried": tried}


def _busy(heard: Heard) -> float:
    """The load process's share of a core; the ramp at both ends is cheaper and left out."""
    return float(np.mean(heard.cpu[2:-1])) if len(heard.cpu) > 3 else max(heard.cpu, default=0.0)


def _lag_p99_ns(heard: Heard) -> float:
    """Without what was due during the longest stop: the operating system may take one, as in a run."""
    due, lags = np.array(heard.due_ns), np.array(heard.lags_ns)
    if not len(lags):
        return 0.0
    worst = int(lags.argmax())
    kept = lags[(due < due[worst]) | (due > due[worst] + lags[worst])]
    return float(np.quantile(kept, 0.99)) if len(kept) else 0.0


def _is_spent(heard: Heard) -> bool:
    """A core of somebody is used up: no rung above will do better."""
    return max(_busy(heard), heard.parent_cpu, heard.server["cpu_fraction"]) > LIMITS["cpu"]


def stamp_errors(bench: Bench) -> dict[str, float | None]:
    """How far the stamps are from the times that the server wrote into its events, in ms: median, p99, largest."""
    heard, folder = bench.run(Rung(STAMP_STREAMS, round(2 * RUNG_S * 1000 / GAP_MS), GAP_MS, RAMP_S), keep_bodies=True)
    errors = []
    for batch in run_folder.read_records(folder):
        for row in batch.select(["index", "token_ns"]).to_pylist():
            written = [int(each) for each in _WRITTEN.findall(bytes(heard.bodies[row["index"]]))]
            stamps = row["token_ns"] or []
            if len(written) == len(stamps):
                errors += [stamp + heard.start_ns - at for stamp, at in zip(stamps, written, strict=True)]
    if not errors:
        return {"p50_ms": None, "p99_ms": None, "max_ms": None, "events": 0}
    off = np.abs(np.array(errors)) / NS_PER_MS
    p50, p99 = (float(each) for each in np.quantile(off, (0.5, 0.99)))
    return {"p50_ms": p50, "p99_ms": p99, "max_ms": float(off.max()), "events": len(errors)}


def calibrate(say: Callable[[str, str], None] = lambda _ladder, _text: None) -> dict[str, Any]:
    """Everything, in about half a minute. `say(ladder, what happened on a rung)`.

    {schema, kind, measured, machine, requests_per_s, events_per_s, streams, stamp_error, seconds}; each ladder has the
    `value` that held, `limited_by` (client, server, or None when nothing gave way), `seen`, and the rungs `tried`.
    """
    began = time.monotonic()
    found: dict[str, Any] = {"schema": 1, "kind": "calibration", "machine": machine()}
    found["measured"] = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    with bench_of_this_machine() as bench:
        bench.run(Rung(20, 2, GAP_MS, RAMP_S))  # what is imported and opened once
        for name, values, rung_of in LADDERS:
            found[name] = climb(bench, values, rung_of, lambda text, name=name: say(name, text))  # type: ignore[misc]
        found["stamp_error"] = stamp_errors(bench)
    return found | {"seconds": time.monotonic() - began}


def _events(per_s: int) -> Rung:
    return Rung(max(1, round(per_s * GAP_MS / 1000)), round(RUNG_S * 1000 / GAP_MS), GAP_MS, RAMP_S)


def _requests(per_s: int) -> Rung:
    return Rung(round(per_s * RUNG_S), 1, 0.0, RUNG_S)


def _streams(at_once: int) -> Rung:
    """Slow streams, all open together at the end of the ramp."""
    return Rung(at_once, 3, 1000 * RUNG_S / 2, RUNG_S)


LADDERS: tuple[tuple[str, tuple[int, ...], Callable[[int], Rung]], ...] = (
    ("events_per_s", EVENT_RUNGS, _events),
    ("requests_per_s", REQUEST_RUNGS, _requests),
    ("streams", STREAM_RUNGS, _streams),
)


@contextmanager
def bench_of_this_machine() -> Iterator[Bench]:
    """Start the null server and the load process; stop both."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loadgen-calibrate-")))
        worker = stack.enter_context(LocalWorker())
        command = [sys.executable, "-m", "loadgen.simulator.null"]
        process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        )
        stack.callback(process.kill)
        assert process.stdout is not None
        line = process.stdout.readline() if select.select([process.stdout], [], [], 20.0)[0] else b""
        if not line:
            raise EngineError("The null server did not start.", "Please report this as a bug.")
        asker = Asker(parse_target(json.loads(line)["ready"]), {})
        yield Bench(worker, asker, asker.address(), scratch)
