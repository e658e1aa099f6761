"""The load process from its parent's side: whole runs against the simulator, and every way in which one may end."""

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from scripted import Server, Visit

from loadgen.engines.launch import launch_simulator
from loadgen.errors import EngineError
from loadgen.exchange import Body, Done, Ended, Job, Looked, Outcome, Part, Started, Tick
from loadgen.records.reads import times_of
from loadgen.workers.local import LocalWorker

MS = 1_000_000
TTFT_NS, ITL_NS, TOKENS = 10 * MS, 2 * MS, 8


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log: Path = tmp_path_factory.mktemp("simulator") / "log"
    with launch_simulator(["--ttft-ms", "10", "--itl-ms", "2"], log) as launched:
        yield launched.base_url


def job(url: str, due_ns: list[int], **changes: object) -> Job:
    parts = urlsplit(url + "/v1/completions")
    fields = {
        "due_ns": np.array(due_ns, np.int64).tobytes(),
        "in_flight_max": 0,
        "stop_ns": 0,
        "drain_ns": 5000 * MS,
        "transport": "socket",
        "url": parts.geturl(),
        "address": (int(socket.AF_INET), parts.hostname, parts.port),
        "proxy": "",
        "headers": {"Content-Type": "application/json"},
        "verify_tls": True,
        "timeout_ns": 10_000 * MS,
    }
    return Job(**(fields | changes))  # type: ignore[arg-type]


def bodies(n: int, tokens: int = TOKENS) -> Iterator[Body]:
    asked = {"prompt": "one two", "max_tokens": tokens, "ignore_eos": True, "stream": True}
    text = json.dumps(asked).encode()
    return (Body(index, text) for index in range(n))


@dataclass
class Heard:
    """What a run said, in order."""

    messages: list[object] = field(default_factory=list)
    ended: Ended | None = None
    during: Callable[["Heard"], None] = lambda _: None

    def of(self, kind: type) -> list:  # type: ignore[type-arg]
        return [message for message in self.messages if type(message) is kind]

    @property
    def done(self) -> dict[int, Done]:
        found = {one.index: one for one in self.of(Done)}
        assert len(found) == len(self.of(Done)), "an exchange ended twice"
        return found

    def body(self, index: int) -> bytes:
        return b"".join(part.body for part in self.of(Part) if part.index == index)

    def run(self, worker: LocalWorker, job: Job, bodies: Iterator[Body]) -> "Heard":
        self.ended = worker.run(job, bodies, self.messages.append, lambda: self.during(self))
        return self


@pytest.fixture(scope="module")
def worker() -> Iterator[LocalWorker]:
    with LocalWorker() as one:
        yield one


@pytest.mark.parametrize("transport", ["socket", "aiohttp"])
def test_a_whole_run(transport: str, worker: LocalWorker, simulator: str) -> None:
    due = [index * 3 * MS for index in range(40)]
    heard = Heard().run(worker, job(simulator, due, transport=transport), bodies(40))
    assert type(heard.messages[0]) is Started
    assert heard.of(Tick)
    assert heard.ended is not None
    assert heard.ended.failure == ""
    assert sorted(heard.done) == list(range(40))
    for index, done in heard.done.items():
        assert (done.outcome, done.status, done.due_ns) == (Outcome.OK, 200, due[index])
        assert due[index] <= done.issued_ns <= done.sent_ns < done.done_ns <= heard.ended.time_ns
        assert done.done_ns - done.issued_ns >= TTFT_NS + (TOKENS - 1) * ITL_NS
        assert heard.body(index).endswith(b"data: [DONE]\n\n")
    assert [one.index for one in sorted(heard.done.values(), key=lambda one: one.issued_ns)] == list(range(40))
    last = heard.of(Tick)[-1].readings
    assert (last["issued"], last["completed"], last["in_flight"]) == (40, 40, 0)
    for index in heard.done:
        part_at = [at for at, one in enumerate(heard.messages) if type(one) is Part and one.index == index]
        done_at = [at for at, one in enumerate(heard.messages) if type(one) is Done and one.index == index]
        assert part_at[-1] < done_at[0], "bytes after their exchange's end"


@pytest.mark.parametrize("transport", ["socket", "aiohttp"])
def test_a_look_brings_what_has_come_of_the_running_answers(
    transport: str, worker: LocalWorker, simulator: str
) -> None:
    looked_at: list[int] = []

    def during(heard: Heard) -> None:
        begun = heard.of(Started)
        if begun and not looked_at and time.monotonic_ns() - begun[0].start_ns > 100 * MS:
            looked_at.append(len(heard.messages))
            worker.look()

    heard = Heard(during=during).run(
        worker, job(simulator, [k * MS for k in range(40)], transport=transport), bodies(40, tokens=200)
    )
    (looked,) = heard.of(Looked)
    place = heard.messages.index(looked)
    running, issued_ns = np.frombuffer(looked.running, np.int64), np.frombuffer(looked.issued_ns, np.int64)
    assert running.tolist() == list(range(40))
    assert issued_ns.tolist() == [heard.done[index].issued_ns for index in range(40)]
    assert 100 * MS <= looked.time_ns < 300 * MS
    early = [one for one in heard.messages[:place] if type(one) is Part]
    told = [part.index for part in early]
    assert told, "after 100 ms the first ones have begun"
    assert len(set(told)) == len(told), "each has told once what it has"
    assert all(0 < len(times_of(part)[0]) < 200 for part in early)
    assert all(heard.body(index).endswith(b"data: [DONE]\n\n") for index in range(40)), "and then goes on"


def test_a_canary_sings_in_every_run_and_its_stamps_are_right(worker: LocalWorker, simulator: str) -> None:
    """With kernel stamps only; the second run must not hear what was written between the two."""
    for _ in range(2):
        heard = Heard().run(worker, job(simulator, [0], stop_ns=0), bodies(1, tokens=200))
        errors_ns = [one.readings["canary_error_ns"] for one in heard.of(Tick) if "canary_error_ns" in one.readings]
        assert errors_ns
        assert min(errors_ns) < 5 * MS
    aiohttp = Heard().run(worker, job(simulator, [0], transport="aiohttp"), bodies(1, tokens=200))
    assert not any("canary_error_ns" in one.readings for one in aiohttp.of(Tick))


def test_two_runs_over_one_worker_do_not_mix(worker: LocalWorker, simulator: str) -> None:
    first = Heard().run(worker, job(simulator, [0] * 10, in_flight_max=3), bodies(10))
    second = Heard().run(worker, job(simulator, [0] * 5), bodies(5, tokens=2))
    assert (sorted(first.done), sorted(second.done)) == (list(range(10)), list(range(5)))
    assert all(one.issued_ns >= 0 for one in second.done.values())
    assert max(len(second.body(index)) for index in range(5)) < min(len(first.body(index)) for index in range(10))


def test_a_closed_loop_never_has_more_in_flight(worker: LocalWorker, simulator: str) -> None:
    heard = Heard().run(worker, job(simulator, [0] * 12, in_flight_max=3), bodies(12))
    steps = [(one.issued_ns, 1) for one in heard.done.values()] + [(one.done_ns, -1) for one in heard.done.values()]
    most = now = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    assert most == 3
    assert len(heard.done) == 12


def test_a_plan_of_nothing_ends_at_once(worker: LocalWorker, simulator: str) -> None:
    heard = Heard().run(worker, job(simulator, []), bodies(0))
    assert heard.done == {}
    assert heard.ended is not None
    assert heard.ended.time_ns < 2000 * MS


def stop_after(worker: LocalWorker, completions: int, *, now: bool) -> Callable[[Heard], None]:
    told: list[bool] = []

    def during(heard: Heard) -> None:
        if not told and len(heard.of(Done)) >= completions:
            told.append(True)
            worker.stop(now=now)

    return during


def test_stop_lets_what_runs_end(worker: LocalWorker, simulator: str) -> None:
    due = [index * 5 * MS for index in range(4000)]
    heard = Heard(during=stop_after(worker, 5, now=False)).run(worker, job(simulator, due), bodies(4000))
    assert 5 <= len(heard.done) < 1000
    assert {one.outcome for one in heard.done.values()} == {Outcome.OK}
    assert sorted(heard.done) == list(range(len(heard.done)))


def test_stop_now_censors_what_runs(worker: LocalWorker, simulator: str) -> None:
    long = iter([*bodies(5), *(Body(index, body.body) for index, body in enumerate(bodies(7, 4000), 5))])
    began = time.monotonic()
    heard = Heard(during=stop_after(worker, 5, now=True)).run(worker, job(simulator, [0] * 12), long)
    assert time.monotonic() - began < 4
    assert [heard.done[index].outcome for index in range(12)] == [Outcome.OK] * 5 + [Outcome.CENSORED] * 7
    again = Heard().run(worker, job(simulator, [0, 0]), bodies(2))
    assert {one.outcome for one in again.done.values()} == {Outcome.OK}


def test_what_has_not_ended_when_the_drain_is_over_is_censored(worker: LocalWorker, simulator: str) -> None:
    heard = Heard().run(worker, job(simulator, [0] * 3, drain_ns=150 * MS), bodies(3, 4000))
    assert {one.outcome for one in heard.done.values()} == {Outcome.CENSORED}
    assert all(heard.body(index) for index in range(3))  # what had come is kept


def test_a_time_out_is_told_as_one(worker: LocalWorker, simulator: str) -> None:
    heard = Heard().run(worker, job(simulator, [0] * 3, timeout_ns=100 * MS), bodies(3, 4000))
    assert {one.outcome for one in heard.done.values()} == {Outcome.TIMEOUT}
    assert {one.detail for one in heard.done.values()} == {"no end of the answer after 0.1 s"}
    assert all(one.done_ns - one.issued_ns >= 100 * MS for one in heard.done.values())


def test_nothing_is_sent_from_stop_ns_on(worker: LocalWorker, simulator: str) -> None:
    wanted = job(simulator, [0] * 5000, in_flight_max=2, stop_ns=200 * MS)
    heard = Heard().run(worker, wanted, bodies(5000))
    assert 2 <= len(heard.done) <= 20
    assert max(one.issued_ns for one in heard.done.values()) < 200 * MS
    assert {one.outcome for one in heard.done.values()} == {Outcome.OK}


@pytest.mark.parametrize("built", [0, 3])
def test_what_building_a_body_raises_comes_out_and_the_worker_lives_on(
    built: int, worker: LocalWorker, simulator: str
) -> None:
    def broken() -> Iterator[Body]:
        yield from bodies(built)
        raise ZeroDivisionError("no such prompt")

    with pytest.raises(ZeroDivisionError, match="no such prompt"):
        Heard().run(worker, job(simulator, [0] * 100), broken())
    heard = Heard().run(worker, job(simulator, [0, 0]), bodies(2))
    assert {one.outcome for one in heard.done.values()} == {Outcome.OK}
    assert sorted(heard.done) == [0, 1]


def test_a_long_answer_travels_in_parts(worker: LocalWorker) -> None:
    """Memory follows the streams: what has come of an answer does not wait for its end. This one ends after that."""
    parted = threading.Event()
    events: list[bytes] = []

    def during(heard: Heard) -> None:
        if heard.of(Part):
            parted.set()

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while len(events) < 10_000 or not parted.is_set():
            events.append(b"data: %d\n\n" % len(events))
            await visit.write(b"%x\r\n%s\r\n" % (len(events[-1]), events[-1]))
            await asyncio.sleep(0)
        await visit.write(b"0\r\n\r\n")

    with Server(script) as server:
        heard = Heard(during=during).run(worker, job(server.url, [0]), bodies(1))
    assert heard.done[0].outcome is Outcome.OK
    assert heard.body(0) == b"".join(events)
    parts = heard.of(Part)
    assert len(parts) > 1
    stamps = [stamp for part in parts for stamp in times_of(part)[0].tolist()]
    assert stamps == sorted(stamps)
    for part in parts:
        assert np.frombuffer(part.ends, np.int32)[-1] == len(part.body)
        assert len(part.ends) // 4 == len(part.callbacks_ns) // 8 == len(part.kernel_stamps) // 48


def test_a_killed_worker_is_one_sentence(simulator: str) -> None:
    with LocalWorker() as worker:

        def during(heard: Heard) -> None:
            if len(heard.of(Done)) >= 3:
                worker._process.kill()

        due = [index * 5 * MS for index in range(4000)]
        with pytest.raises(EngineError, match=r"^The load process died: exit code -9\.$"):
            Heard(during=during).run(worker, job(simulator, due), bodies(4000))


def test_a_worker_that_is_dead_already_is_one_sentence(simulator: str) -> None:
    with LocalWorker() as worker:
        worker._process.kill()
        worker._process.wait()
        for _ in range(2):
            with pytest.raises(EngineError, match=r"^The load process died: exit code -9\.$"):
                Heard().run(worker, job(simulator, [0]), bodies(1))


_PARENT = """
import sys
sys.path[:0] = sys.argv[2:]
from test_local import Heard, bodies, job, MS
from loadgen.workers.local import LocalWorker
with LocalWorker() as worker:
    told = []
    def during(heard):
        if heard.done and not told:
            told.append(print(worker._process.pid, flush=True))
    Heard(during=during).run(worker, job(sys.argv[1], [at * 5 * MS for at in range(4000)]), bodies(4000))
"""


def test_a_killed_parent_leaves_no_worker(simulator: str) -> None:
    here = Path(__file__).parent
    command = [sys.executable, "-c", _PARENT, simulator, str(here), str(here.parent / "wire")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        line = parent.stdout.readline()
        watched = os.pidfd_open(int(line))
        parent.kill()
    try:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        assert poll.poll(5000), "an orphan"
    finally:
        os.close(watched)
    assert parent.returncode == -signal.SIGKILL
