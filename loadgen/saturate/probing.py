"""One probe against a server at rest: a run with its own folder, watched while it runs and stopped as soon as it is
decided. It judges nothing itself and knows no other probe but for the throughput seen so far.
"""

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadgen.endpoints.answer import Reading
from loadgen.engines.rest import LIMIT_NS as REST_LIMIT_NS
from loadgen.errors import TargetError
from loadgen.exchange import Done, Looked, Outcome
from loadgen.plan import Int64s, Plan
from loadgen.prepare import SetUp, lengths_of
from loadgen.progress import Observer
from loadgen.rng import generator
from loadgen.run import drive
from loadgen.schedule.draw import draw_plan
from loadgen.search import telling
from loadgen.search.journal import Entry
from loadgen.search.probe import Judged, Kind, Probe, Workload, is_enough, judge
from loadgen.search.sight import Sight
from loadgen.units import NS_PER_S, format_duration
from loadgen.workload.lengths import Lengths

_REQUESTS_MAX = 1_000_000  # of one plan: more than a probe needs, and 50 MB of table
_LEAP = 6  # times the throughput seen so far: no probe has more, since the next rung is at most 4 times as high
_FASTEST = 200.0  # requests/s of the first rung, one in flight, before anything has been seen
_GRACE_SHARE, _GRACE_NS_MIN = 0.1, NS_PER_S  # of a probe, for what is in flight at its end to end by itself
_DEAR = 0.2  # of what is left to spend: too much for a second try
_BUSY = 0.85  # of a core: a client that is that busy will be so again


class Overseer:
    """Looks when the search wants to, and says when it is enough."""

    def __init__(self, probe: Probe, plan: Plan, setup: SetUp, workload: Workload) -> None:
        self._probe, self._slo, self._workload = probe, setup.slo, workload
        self.sight = Sight(plan)
        self.next_look_ns = probe.next_look_ns(0)
        self.note = telling.note(probe, None)
        self.dropped = False
        self._judged: Judged | None = None

    def ended(self, done: Done, reading: Reading) -> None:
        """An exchange is over."""
        self.sight.ended(done, reading)
        self.dropped = self.dropped or reading.outcome is Outcome.CENSORED

    def look(self, looked: Looked, begun: dict[int, tuple[int, int]]) -> int | None:
        """None to go on, else how long what is in flight may take to end by itself, ns."""
        probe, seen = self._probe, self.sight.observed(looked, begun)
        # A server that writes shorter answers than asked has another workload: the one that it was seen to serve.
        output_tokens = self._workload.output_tokens * self.sight.obtained_ratio
        judged = judge(probe, seen, dataclasses.replace(self._workload, output_tokens=output_tokens), self._slo)
        self._judged, self.note = judged, telling.note(probe, judged)
        if is_enough(probe, judged) or seen.until_ns >= probe.at_most_ns:
            grows = judged.verdict == "unstable"  # what is in flight would only end later and later
            return 0 if grows else max(_GRACE_NS_MIN, round(_GRACE_SHARE * seen.until_ns))
        self.next_look_ns = probe.next_look_ns(seen.until_ns)
        return None

    def conclude(self) -> Judged:
        """The last judgement; of the whole, when the run ended before anybody looked."""
        return self._judged or judge(self._probe, self.sight.upto_end(), self._workload, self._slo)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all probes of a search share."""

    setup: SetUp
    folder: Path
    workload: Workload
    observer: Observer


def make(bench: Bench, number: int, probe: Probe, *, fastest: float, later_ns: float) -> Entry | None:
    """The run, on a server at rest, and its judgement; None when the user interrupted it.

    `fastest`: the highest throughput seen so far, requests/s, 0 for none; `later_ns`: what the search may spend after
    this probe. A run that a moment's want of CPU spoiled is made again, once, unless it was long. Raises TargetError
    when the server is gone, or does not come to rest after the probe before.
    """
    began_ns = time.monotonic_ns()
    discarded: dict[str, str] = {}
    while True:
        run = _free_name(bench.folder, f"{number:02d}-{probe.kind.value}-{probe.level:.4g}")
        done = _try(bench, number, probe, run, fastest, later_ns)
        if done is None:
            return None
        judged, point = done
        judged = dataclasses.replace(judged, duration_ns=float(time.monotonic_ns() - began_ns), problem=_problem(point))
        busy = (point["client"]["cpu_fraction_max"] or 0.0) > _BUSY
        dear = judged.duration_ns > _DEAR * later_ns
        if discarded or busy or dear or not judged.problem:
            return Entry(run, probe, judged, discarded)
        discarded[run] = judged.problem


def _try(
    bench: Bench, number: int, probe: Probe, run: str, fastest: float, later_ns: float
) -> tuple[Judged, dict[str, Any]] | None:
    """One run of the probe and its point."""
    setup = bench.setup
    rest = setup.know_rest()
    if unrest := rest.wait(REST_LIMIT_NS, setup.is_interrupted):
        waited = format_duration(unrest.waited_ns)
        raise TargetError(
            f"The server does not come to rest: {waited} after the load has gone, {unrest.seen}.",
            "Look at its log. When it is well again, the search can go on: loadgen saturate --resume FOLDER.",
        )
    if setup.is_interrupted():
        return None
    plan, lengths = _draw(setup, probe, run, fastest)
    prompt_seed = int(generator(setup.prompt_seed, f"saturate.prompts.{run}").integers(1 << 31))
    overseer = Overseer(probe, plan, setup, bench.workload)
    point = drive(
        setup,
        bench.folder / run,
        plan,
        setup.prompts(prompt_seed, lengths),
        rate=probe.level if probe.kind is Kind.OPEN else None,
        dataset=setup.settings.dataset,
        duration_ns=round(probe.at_most_ns),
        point=(number, 0),
        later_ns=round(later_ns),
        observer=bench.observer,
        overseer=overseer,
    )
    if setup.is_interrupted():
        return None
    if overseer.sight.all_failed:
        setup.asker.address()  # a server that is gone is said so; the search can go on when it is back
    if overseer.dropped:
        rest.disturb()
    return overseer.conclude(), point


def _draw(setup: SetUp, probe: Probe, run: str, fastest: float) -> tuple[Plan, Lengths]:
    """No more requests than the probe can need, with arrivals and lengths of its own."""
    settings = setup.settings
    seed = int(generator(settings.seed or 0, f"saturate.{run}").integers(1 << 31))
    drawn: list[Lengths] = []

    def lengths(n: int) -> tuple[Int64s, Int64s, Int64s, tuple[str, ...]]:
        drawn.append(lengths_of(dataclasses.replace(settings, seed=seed), settings.dataset, max(n, 1)))
        chosen = drawn[-1]
        return chosen.input_tokens[:n], chosen.output_tokens[:n], (chosen.input_tokens * 0)[:n], (chosen.label,)

    seconds, level = probe.at_most_ns / NS_PER_S, probe.level
    if probe.kind is Kind.CLOSED:
        count = min(_REQUESTS_MAX, math.ceil((_LEAP * fastest or _FASTEST) * seconds + level))
    else:
        count, seconds = 0, min(seconds, _REQUESTS_MAX / level)
    plan = draw_plan(
        lengths=lengths,
        rate=level if probe.kind is Kind.OPEN else None,
        burstiness=settings.burstiness,
        max_concurrency=int(level) if probe.kind is Kind.CLOSED else 0,
        duration_ns=round(seconds * NS_PER_S),
        count=count,
        seed=seed,
        drain_ns=settings.drain_ns,
    )
    return plan, drawn[0]


def _free_name(folder: Path, name: str) -> str:
    """A run that was cut by a crash keeps its folder; the probe is made again beside it."""
    tries = [name, *(f"{name}-{again}" for again in range(2, 1000))]
    return next(each for each in tries if not (folder / each).exists())


def _problem(point: dict[str, Any]) -> str:
    """Why the probe must not count: what the client did wrong, in the words of the finding."""
    if point["verdict"] != "CLIENT_LIMITED":
        return ""
    return next((str(each["seen"]) for each in point["findings"] if each["severity"] == "error"), "the client's fault")
